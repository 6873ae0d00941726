"""Models of a folder of images: cross-validated, or fine-tuned and compared."""

import os
import sys
import time

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    StratifiedShuffleSplit,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    PretrainedFeatureTransformer,
    TrainingHistoryDisplay,
    clear_cache,
    compare_backbones,
)
from sktransfer._cli.models import save
from sktransfer._cli.tables import Table
from sktransfer._cli.tasks import TASKS, Classes

BACKBONE = PretrainedFeatureTransformer().backbone
DIGITS = {"backbone": "tiny", "image_shape": (8, 8), "input_range": (0, 16)}
HELD_OUT = 0.25  # of a folder's images, to compare on …
TRAINED_ON = 100  # … and so many of the digits to train on
FEWEST_TO_HOLD_OUT, FEWEST_FOR_FOLDS = 4, 2  # images of a class


def compare(options):
    """Cross-validate a classifier of frozen features, of a folder or of digits."""
    started = _begin(options)
    if options.folder:
        pipeline, names = _cross_validated(options)
    else:
        pipeline, names = _shown_on_digits(), None
    if options.output:
        save(pipeline, options.output, names)
        print(f"\nfitted on all images and saved: {options.output}")
    return _end(started)


def fine_tune(options):
    """Compare a fine-tuned network with frozen features, and save the better one."""
    started = _begin(options)
    if options.folder:
        X, y, task = _images(options, FEWEST_TO_HOLD_OUT)
        network = {"backbone": options.backbone, **network_parameters(options)}
        pipeline = _pipeline(network, task, pooling="avg")
        size = {"test_size": HELD_OUT}
    else:
        X, y = _digits()
        network, pipeline, task = DIGITS, _digits_pipeline(), Classes(None)
        size = {"train_size": TRAINED_ON}
    task.print_counts(y)
    X, y, rows = _with_features(pipeline[0], X, y)  # bad images show before any training
    task.check(y, FEWEST_TO_HOLD_OUT)
    some = train_test_split(
        X, rows, y, stratify=task.strata(y), random_state=options.seed, **size
    )
    X_train, X_test, rows_train, rows_test, y_train, y_test = some
    tuner = task.tuned(
        **network,
        pooling=_word(options.pooling),
        unfreeze=options.unfreeze,
        random_state=options.seed,
        verbose=1,
    )
    print(
        f"\n{task.measure} on {len(y_test)} held-out images, after training on {len(y_train)}:"
    )
    frozen = pipeline[1:].fit(rows_train, y_train).score(rows_test, y_test)
    print(f"  {'frozen features':20}  {frozen:.4f}", flush=True)
    tuned = tuner.fit(X_train, y_train).score(X_test, y_test)
    print(f"  {'fine-tuned':20}  {tuned:.4f}", flush=True)
    stages = dict(zip(*map(tuner.history_.get, ("stage", "kept")), strict=True))
    words = {True: "kept", False: "rolled back"}
    print("\n" + "\n".join(f"stage {n}: {words[kept]}" for n, kept in stages.items() if n))
    print("\nof the fine-tuned:")
    task.print_result(y_test, tuner.predict(X_test))
    if tuned > frozen:
        winner, name = clone(tuner), "fine-tuned network"
    else:
        winner, name = pipeline, "pipeline of frozen features"
    save(winner.fit(X, y), options.output, task.names)
    print(f"\nsaved the {name}, trained on all {len(y)} images: {options.output}")
    _draw_curves(tuner, os.path.splitext(options.output)[0] + "-curves.png")
    return _end(started)


def _begin(options):
    if options.clear_cache:
        clear_cache()
    return time.perf_counter()


def _end(started):
    print(f"\n{time.perf_counter() - started:.1f} s")
    return 0


def _with_features(transformer, X, y):
    """The images that can be read, their labels, and their features."""
    rows = transformer.fit_transform(X)
    readable = np.isfinite(rows).all(axis=1)
    return X[readable], y[readable], rows[readable]


def _draw_curves(tuner, path):
    try:
        display = TrainingHistoryDisplay.from_estimator(tuner)
    except ImportError as error:
        print(f"sktransfer: no curves: {error}", file=sys.stderr)
        return
    display.figure_.savefig(path, dpi=150)
    print(f"its curves: {path}")


def _shown_on_digits():
    """Digits 5 to 9 from 10 images of each, by pixels and by features."""
    X, y = _digits()
    pipelines = {
        "raw pixels": make_pipeline(LogisticRegression(max_iter=5000)),
        "transferred features": _digits_pipeline(),
    }
    task = Classes(None)
    task.print_counts(y)
    print("\naccuracy from 10 images a class, mean ± spread over 10 draws:")
    splits = StratifiedShuffleSplit(10, train_size=50, random_state=0)
    for name, pipeline in pipelines.items():
        scores = cross_val_score(pipeline, X, y, cv=splits)
        print(f"  {name:20}  {scores.mean():.3f} ± {scores.std():.3f}")
    train, test = next(splits.split(X, y))
    pipeline.fit(X[train], y[train])
    print("\nof the last, for the first draw:")
    task.print_result(y[test], pipeline.predict(X[test]))
    return pipeline.fit(X, y)


def _digits():
    """Flattened images of the digits 5 to 9, which the embedded network has not seen."""
    X, y = load_digits(return_X_y=True)
    return X[y >= 5], y[y >= 5]


def _digits_pipeline():
    return make_pipeline(
        PretrainedFeatureTransformer(**DIGITS), LogisticRegression(max_iter=5000)
    )


def _images(options, fewest):
    """Paths of images, what is known of them, and what task that is."""
    table = Table.of(options.folder)
    word = options.task or table.guessed_task()
    if not (options.task or os.path.isdir(options.folder)):
        print(f"task: {word}, by the values in the table; --task says otherwise")
    task = TASKS[word](table.names)
    y = task.encoded(table.values)
    task.check(y, fewest)
    return table.files, y, task


def network_parameters(options):
    """Parameters of any network that both estimators share."""
    return {
        "weights": options.weights,
        "preprocessing": _word(options.preprocessing),
        "backbone_params": options.backbone_params,
        "input_size": options.input_size,
        "on_error": options.on_error,
        "n_jobs": options.n_jobs,
    }


def _word(option):
    return None if option == "none" else option


def _pipeline(network, task, pooling, layer=None):
    return make_pipeline(
        PretrainedFeatureTransformer(**network, layer=layer, pooling=pooling, verbose=1),
        StandardScaler(),
        task.frozen(),
    )


def _cross_validated(options):
    """Cross-validate a model of frozen features; return it, and the names of its columns.

    Of several networks, the best one on the same folds.
    """
    X, y, task = _images(options, FEWEST_FOR_FOLDS)
    backbones = options.backbone or [BACKBONE]
    network = {"backbone": backbones[0], **network_parameters(options)}
    pipeline = _pipeline(network, task, _word(options.pooling), options.layer)
    task.print_counts(y)
    X, y, features = _with_features(pipeline[0], X, y)  # one bar, and then never again
    task.check(y, FEWEST_FOR_FOLDS)
    folds = task.folds(y, options.seed)
    if len(backbones) > 1:
        pipeline[0].backbone = _best(backbones, pipeline, X, y, folds, task.measure)
        features = pipeline[0].fit_transform(X)
    predicted = cross_val_predict(pipeline[1:], features, y, cv=folds)
    scores = [task.score(y[test], predicted[test]) for _, test in folds.split(X, y)]
    mean, spread = np.mean(scores), np.std(scores)
    print(f"\n{task.measure} over {len(scores)} folds: {mean:.4f} ± {spread:.4f}")
    print()
    task.print_result(y, predicted)
    pipeline[1:].fit(features, y)
    return pipeline, task.names


def _best(backbones, pipeline, X, y, folds, measure):
    """Print what each of several networks brings; return the one with the best score."""
    tried = compare_backbones(
        X, y, backbones, transformer=pipeline[0], estimator=pipeline[1:], cv=folds
    )
    width = max(len(one.backbone) for one in tried)
    print(f"\n{'':{width}}  {measure:17}  ms/image  features    MB")
    for one in tried:
        score = f"{one.mean_score:.4f} ± {one.std_score:.4f}"
        size = 4 * one.n_parameters / 1e6
        print(
            f"{one.backbone:{width}}  {score:17}  {one.ms_per_image:8.1f}  "
            f"{one.n_features:8}  {size:4.0f}"
        )
    best = max(tried, key=lambda one: one.mean_score).backbone
    print(f"\nthe best, {best}:")
    return best
