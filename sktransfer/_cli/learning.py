"""Models of a folder of images: cross-validated, or fine-tuned and compared."""

import os
import sys
import time
from collections import Counter

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import (
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    FineTunedConvNetClassifier,
    PretrainedFeatureTransformer,
    TrainingHistoryDisplay,
    clear_cache,
    load_image_folder,
)
from sktransfer._cli.models import save

DIGITS = {"backbone": "tiny", "image_shape": (8, 8), "input_range": (0, 16)}
HELD_OUT = 0.25  # of a folder's images, to compare on …
TRAINED_ON = 100  # … and so many of the digits to train on
FEWEST_TO_HOLD_OUT, FEWEST_FOR_FOLDS = 4, 2  # images of a class


def compare(options):
    """Cross-validate a classifier of frozen features, of a folder or of digits."""
    started = _begin(options)
    pipeline = _cross_validated(options) if options.folder else _shown_on_digits()
    if options.output:
        save(pipeline, options.output)
        print(f"\nfitted on all images and saved: {options.output}")
    return _end(started)


def fine_tune(options):
    """Compare a fine-tuned network with frozen features, and save the better one."""
    started = _begin(options)
    if options.folder:
        X, y = _images(options.folder, FEWEST_TO_HOLD_OUT)
        network, pipeline = _network(options), _pipeline(options, pooling="avg")
        size = {"test_size": HELD_OUT}
    else:
        X, y = _digits()
        network, pipeline = DIGITS, _digits_pipeline()
        size = {"train_size": TRAINED_ON}
    _print_counts(y)
    X, y, rows = _with_features(pipeline[0], X, y)  # bad images show before any training
    _check_counts(y, FEWEST_TO_HOLD_OUT)
    some = train_test_split(X, rows, y, stratify=y, random_state=options.seed, **size)
    X_train, X_test, rows_train, rows_test, y_train, y_test = some
    classifier = FineTunedConvNetClassifier(
        **network,
        pooling=_word(options.pooling),
        unfreeze=options.unfreeze,
        random_state=options.seed,
        verbose=1,
    )
    print(f"\naccuracy on {len(y_test)} held-out images, after training on {len(y_train)}:")
    frozen = pipeline[1:].fit(rows_train, y_train).score(rows_test, y_test)
    print(f"  {'frozen features':20}  {frozen:.4f}", flush=True)
    tuned = classifier.fit(X_train, y_train).score(X_test, y_test)
    print(f"  {'fine-tuned':20}  {tuned:.4f}", flush=True)
    stages = dict(zip(*map(classifier.history_.get, ("stage", "kept")), strict=True))
    words = {True: "kept", False: "rolled back"}
    print("\n" + "\n".join(f"stage {n}: {words[kept]}" for n, kept in stages.items() if n))
    print("\nof the fine-tuned:")
    _print_confusion(y_test, classifier.predict(X_test))
    if tuned > frozen:
        winner, name = clone(classifier), "fine-tuned network"
    else:
        winner, name = pipeline, "pipeline of frozen features"
    save(winner.fit(X, y), options.output)
    print(f"\nsaved the {name}, trained on all {len(y)} images: {options.output}")
    _draw_curves(classifier, os.path.splitext(options.output)[0] + "-curves.png")
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


def _draw_curves(classifier, path):
    try:
        display = TrainingHistoryDisplay.from_estimator(classifier)
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
    _print_counts(y)
    print("\naccuracy from 10 images a class, mean ± spread over 10 draws:")
    splits = StratifiedShuffleSplit(10, train_size=50, random_state=0)
    for name, pipeline in pipelines.items():
        scores = cross_val_score(pipeline, X, y, cv=splits)
        print(f"  {name:20}  {scores.mean():.3f} ± {scores.std():.3f}")
    train, test = next(splits.split(X, y))
    pipeline.fit(X[train], y[train])
    print("\nof the last, for the first draw:")
    _print_confusion(y[test], pipeline.predict(X[test]))
    return pipeline.fit(X, y)


def _digits():
    """Flattened images of the digits 5 to 9, which the embedded network has not seen."""
    X, y = load_digits(return_X_y=True)
    return X[y >= 5], y[y >= 5]


def _digits_pipeline():
    return make_pipeline(
        PretrainedFeatureTransformer(**DIGITS), LogisticRegression(max_iter=5000)
    )


def _images(folder, fewest):
    """Paths of FOLDER/class/image, and their classes."""
    files = load_image_folder(folder)
    if "filenames" not in files:
        raise ValueError(f"{folder} has the parts {list(files)}: name one of them")
    X, y = files.filenames, np.array(files.target_names)[files.target]
    _check_counts(y, fewest)
    return X, y


def _check_counts(y, fewest):
    counts = Counter(y.tolist())
    if len(counts) < 2 or min(counts.values()) < fewest:
        raise ValueError(
            f"two or more sub-folders are needed, one for each class, of {fewest} or more "
            f"images each that can be read; there are {dict(counts)}"
        )


def _network(options):
    """Parameters that both estimators share."""
    return {
        "backbone": options.backbone,
        "weights": options.weights,
        "preprocessing": _word(options.preprocessing),
        "backbone_params": options.backbone_params,
        "input_size": options.input_size,
        "on_error": options.on_error,
        "n_jobs": options.n_jobs,
    }


def _word(option):
    return None if option == "none" else option


def _pipeline(options, pooling, layer=None):
    return make_pipeline(
        PretrainedFeatureTransformer(
            **_network(options), layer=layer, pooling=pooling, verbose=1
        ),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1000),
    )


def _cross_validated(options):
    """Cross-validate a classifier of the images in FOLDER/class/image."""
    X, y = _images(options.folder, FEWEST_FOR_FOLDS)
    pipeline = _pipeline(options, _word(options.pooling), options.layer)
    _print_counts(y)
    X, y, features = _with_features(pipeline[0], X, y)  # one bar, and then never again
    _check_counts(y, FEWEST_FOR_FOLDS)
    n_folds = min(5, min(Counter(y).values()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=options.seed)
    predicted = cross_val_predict(pipeline[1:], features, y, cv=folds)
    right = [np.mean(predicted[test] == y[test]) for _, test in folds.split(X, y)]
    print(f"\naccuracy over {len(right)} folds: {np.mean(right):.4f} ± {np.std(right):.4f}")
    print()
    _print_confusion(y, predicted)
    pipeline[1:].fit(features, y)
    return pipeline


def _print_counts(y):
    counts = ", ".join(f"{n} {label}" for label, n in sorted(Counter(y).items()))
    print("images:", counts, flush=True)


def _print_confusion(y, predicted):
    labels = sorted(set(y))
    names = [str(label) for label in labels]
    width = max(map(len, [*names, "10000"])) + 2
    print("true \\ predicted".ljust(18) + "".join(name.rjust(width) for name in names))
    for name, row in zip(names, confusion_matrix(y, predicted, labels=labels), strict=True):
        print(name.ljust(18) + "".join(str(n).rjust(width) for n in row))
