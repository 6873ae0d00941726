"""Accuracy of what a user gets by default: ``python -m benchmarks.accuracy [WHAT]``.

Means over seeds, the spread, and the paired difference to logistic regression on frozen
features. Settings were chosen on other images: training images of the first split of
photographs and of the domains of `benchmarks.recipes`, and one half of the digits.

Without an argument: cats and dogs, MobileNet (alpha 0.75, 224 px, ImageNet), 500 images a
class to train on and the other 1,002 to test, one split for each of three seeds: the defaults
of `FineTunedConvNetClassifier` and the three heads of the tutorials.

``few``: the same with 25 and 100 a class, five draws from the training images of the first
split, and frozen features of larger images; and 500 a class on that split alone: all three
tested on its 1,002 test images, by which nothing was chosen.

``digits``: 5 to 9 on the embedded network, which knows 0 to 4, from 10 images of each; five
and twenty draws from the half of the digits by which nothing was chosen.

``limit``: heads of all strengths on the same draws, with views and without: what could be had
if the strength were chosen by the very images that are tested on.

``frozen``: frozen features alone. How far they are from plain Keras', how much of a cold
cross-validation two processes compute twice, what a grid search computes, and the accuracy of
Pipelines, pooled (5-fold, all photographs; in bfloat16 too) and flattened (1,000 / 1,002,
five seeds).

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data; the digits
need none.
"""

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedShuffleSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._timing import photographs
from benchmarks.extraction import MOBILENET
from sktransfer import (
    FineTunedConvNetClassifier,
    ImageAugmentation,
    PretrainedFeatureTransformer,
)

TINY = {"backbone": "tiny", "image_shape": (8, 8), "input_range": (0, 16)}
TUTORIALS = {
    "dense head": {"pooling": None, "hidden_units": (256,), "dropout": 0.5},
    "convolution in the head": {
        "pooling": None,
        "hidden_units": (256,),
        "dropout": 0.5,
        "conv_filters": (32,),
    },
    "pooled dense head": {"pooling": "avg", "hidden_units": (1024,)},
}


def regression(network):
    """What a user of frozen features would write: the baseline."""
    if network["backbone"] == "tiny":
        steps = [PretrainedFeatureTransformer(**network)]
        return make_pipeline(*steps, LogisticRegression(max_iter=5000))
    steps = [PretrainedFeatureTransformer(**network, pooling="avg"), StandardScaler()]
    return make_pipeline(*steps, LogisticRegression(C=0.01))


def digits(half):
    """Half of the digits 5 to 9: "development", where settings were chosen, or "test"."""
    X, y = load_digits(return_X_y=True)
    X, y = X[y >= 5], y[y >= 5]
    parts = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=0)
    chosen = parts[half == "test"]
    return X[chosen], y[chosen]


def pets(seed):
    """Training images, test images, and labels of both: 1,000 and 1,002 photographs."""
    X, y = photographs()
    return train_test_split(np.array(X), y, train_size=1000, stratify=y, random_state=seed)


def compare(candidates, splits):
    """Print what each candidate makes of the splits, and how it compares with the first."""
    baseline = None
    for name, candidate in candidates.items():
        started, scores = time.perf_counter(), []
        for seed, (X, X_test, y, y_test) in enumerate(splits):
            fitted = clone(candidate)
            if "random_state" in fitted.get_params():
                fitted.set_params(random_state=seed)
            scores.append(fitted.fit(X, y).score(X_test, y_test))
        scores = np.array(scores)
        baseline = scores if baseline is None else baseline
        won, elapsed = scores - baseline, time.perf_counter() - started
        print(
            f"| {name} | {scores.mean():.4f} ± {scores.std():.4f} | {won.mean():+.4f} ± "
            f"{won.std():.4f} | {elapsed / len(splits):.0f} s a fit |",
            flush=True,
        )


def defaults_and_regression(network):
    return {
        "frozen features, logistic regression": regression(network),
        "fine-tuned, defaults": FineTunedConvNetClassifier(**network),
    }


def draws_of_digits(n):
    """Draws of 10 digits a class to train on, from the half by which nothing was chosen."""
    X, y = digits("test")
    splitter = StratifiedShuffleSplit(n, train_size=50, random_state=0)
    return [(X[train], X[test], y[train], y[test]) for train, test in splitter.split(X, y)]


def draws_of_pets(images):
    """Five draws of so many images a class of the first split, and its test images."""
    X, X_test, y, y_test = pets(0)
    splitter = StratifiedShuffleSplit(5, train_size=2 * images, random_state=0)
    return [(X[train], X_test, y[train], y_test) for train, _ in splitter.split(X, y)]


def on_digits():
    """From 10 digits a class."""
    candidates = defaults_and_regression(TINY)
    candidates["head alone"] = FineTunedConvNetClassifier(**TINY, unfreeze=0)
    candidates["half fine-tuned, not judged"] = FineTunedConvNetClassifier(
        **TINY, early_stopping=False
    )
    for draws in (5, 20):
        print(f"digits, 10 a class, {draws} draws")
        compare(candidates, draws_of_digits(draws))


def on_few_pets():
    """From the training images of the first split, tested on its test images."""
    for images in (25, 100):
        print(f"{images} a class, 5 draws")
        candidates = defaults_and_regression(MOBILENET)
        larger = {**MOBILENET, "input_size": (288, 288)}
        candidates["frozen features at 288 px"] = regression(larger)
        compare(candidates, draws_of_pets(images))
    print("500 a class, one split, 3 seeds")
    compare(defaults_and_regression(MOBILENET), [pets(0)] * 3)


def on_pets():
    candidates = defaults_and_regression(MOBILENET)
    for name, head in TUTORIALS.items():
        candidates[f"fine-tuned, {name}"] = FineTunedConvNetClassifier(**MOBILENET, **head)
    print("500 a class, 3 splits")
    compare(candidates, [pets(seed) for seed in range(3)])


def limit():
    problems = {
        "digits, 10 a class, 20 draws": (TINY, draws_of_digits(20)),
        "25 a class, 5 draws": (MOBILENET, draws_of_pets(25)),
        "100 a class, 5 draws": (MOBILENET, draws_of_pets(100)),
        "500 a class, 3 splits": (MOBILENET, [pets(seed) for seed in range(3)]),
    }
    for name, (network, splits) in problems.items():
        candidates = {"frozen features, logistic regression": regression(network)}
        for views in (0, 8):
            augmentation = ImageAugmentation() if views else None
            for C in np.logspace(-4, 1, 11):
                candidates[f"{views} views, head_C={C:.2g}"] = FineTunedConvNetClassifier(
                    **network, unfreeze=0, head_C=C, augmentation=augmentation
                )
        print(name)
        compare(candidates, splits)


def frozen(X, y):
    """Pipelines on frozen features, from an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        features = PretrainedFeatureTransformer(**MOBILENET, pooling="avg", cache_dir=folder)
        steps = [("feat", features), ("scale", StandardScaler())]
        pipeline = Pipeline([*steps, ("clf", LogisticRegression(C=0.01))])
        search = GridSearchCV(pipeline, {"clf__C": [0.001, 0.01, 0.1, 1.0]}, cv=5).fit(X, y)
        print("4 values of C, 5 folds:", features.cache_info(), flush=True)
        for C, mean in zip(
            [0.001, 0.01, 0.1, 1.0], search.cv_results_["mean_test_score"], strict=True
        ):
            print(f"  C={C}: {mean:.4f}", flush=True)
        for precision in ("float32", "bfloat16"):
            pipeline.set_params(feat__precision=precision)
            scores = cross_val_score(pipeline, X, y, cv=5)
            name = f"pooled, {precision}, 5-fold"
            print(f"{name}: {scores.mean():.4f} ± {scores.std():.4f}", flush=True)
        flat = make_pipeline(
            PretrainedFeatureTransformer(**MOBILENET, cache_dir=folder),
            LogisticRegression(C=0.001, max_iter=50),
        )
        scores = []
        for seed in range(5):
            X_train, X_test, y_train, y_test = train_test_split(
                X, y, train_size=1000, stratify=y, random_state=seed
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                scores.append(flat.fit(X_train, y_train).score(X_test, y_test))
        print(
            f"flattened, 1,000 / 1,002: {np.mean(scores):.4f} ± {np.std(scores):.4f}", scores
        )


def agreement(X):
    """How far features are from plain Keras' on the same resized pixels."""
    import keras
    from PIL import Image

    preprocess = keras.applications.mobilenet.preprocess_input
    model = keras.applications.MobileNet(
        alpha=0.75, input_shape=(224, 224, 3), include_top=False, weights="imagenet"
    )
    pixels = []
    for path in X[::20]:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
            pixels.append(np.asarray(resized, dtype=np.float32))
    expected = model.predict(preprocess(np.stack(pixels)), verbose=0).reshape(len(pixels), -1)
    size = np.linalg.norm(expected, axis=1)
    for precision in ("float32", "bfloat16"):
        features = PretrainedFeatureTransformer(
            **MOBILENET, precision=precision, cache_dir=None
        ).fit_transform(X[::20])
        error = np.linalg.norm(features - expected, axis=1)
        overall = np.linalg.norm(error) / np.linalg.norm(size)
        print(
            f"relative L2 error, {precision}: {overall:.1e} over all, "
            f"{(error / size).max():.1e} at worst"
        )


def shared(X, y):
    """What two processes compute in a cold cross-validation, and how often twice."""
    with tempfile.TemporaryDirectory() as folder:
        features = PretrainedFeatureTransformer(**MOBILENET, pooling="avg", cache_dir=folder)
        pipeline = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))

        def note_misses(fitted, X, y):
            """Score, and leave this process's count in a file of its own."""
            misses = fitted[0].cache_info().misses
            Path(folder, f"{os.getpid()}.misses").write_text(str(misses))
            return fitted.score(X, y)

        cross_val_score(pipeline, X, y, cv=5, n_jobs=2, scoring=note_misses)
        computed = sum(int(path.read_text()) for path in Path(folder).glob("*.misses"))
        print(f"cold, n_jobs=2: {computed / len(X):.3f} × {len(X)} rows computed", flush=True)


def on_frozen_features():
    X, y = photographs()
    agreement(X)
    shared(X, y)
    frozen(np.array(X), y)


def main(what="pets"):
    measures = {
        "pets": on_pets,
        "few": on_few_pets,
        "digits": on_digits,
        "limit": limit,
        "frozen": on_frozen_features,
    }
    measures[what]()


if __name__ == "__main__":
    main(*sys.argv[1:])
