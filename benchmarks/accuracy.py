"""Accuracy on real photographs: ``python -m benchmarks.accuracy [frozen|digits]``.

Cats and dogs, MobileNet (alpha 0.75, 224 px, ImageNet): 500 images a class to train on and
the other 1,002 to test, for each of three seeds; nothing was tuned on the test images.
Prints the mean over seeds and the spread for logistic regression on frozen features and for
`FineTunedConvNetClassifier` with its defaults and with the three heads of the tutorials.

With ``frozen``: frozen features alone. How far they are from plain Keras', how much of a cold
cross-validation two processes compute twice, what a grid search computes, and the accuracy of
Pipelines, pooled (5-fold, all photographs) and flattened (1,000 / 1,002, five seeds).

With ``digits``: what the embedded network, which knows 0 to 4, makes of 5 to 9, from 10 images
of each, over five draws. Settings were chosen on one half of the digits (``digits dev``), and
the other half is what is reported.

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
from sktransfer import (
    FineTunedConvNetClassifier,
    PretrainedFeatureTransformer,
)

MOBILENET = {
    "backbone": "mobilenet",
    "backbone_params": {"alpha": 0.75},
    "input_size": (224, 224),
}
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


def classifiers(seed):
    yield (
        "frozen features, logistic regression",
        make_pipeline(
            PretrainedFeatureTransformer(**MOBILENET, pooling="avg"),
            StandardScaler(),
            LogisticRegression(C=0.01),
        ),
    )
    for name, head in {"defaults": {}, **TUTORIALS}.items():
        yield (
            f"fine-tuned, {name}",
            FineTunedConvNetClassifier(**MOBILENET, **head, random_state=seed),
        )


def digits(half="test"):
    """Frozen features against fine-tuning, from 10 digits a class."""
    X, y = load_digits(return_X_y=True)
    X, y = X[y >= 5], y[y >= 5]
    halves = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=0)
    X, y = X[halves[half == "test"]], y[halves[half == "test"]]
    common = {"backbone": "tiny", "image_shape": (8, 8), "input_range": (0, 16)}
    recipe = {**common, "random_state": 0}
    candidates = {
        "frozen features, logistic regression": make_pipeline(
            PretrainedFeatureTransformer(**common), LogisticRegression(max_iter=5000)
        ),
        "linear head over 8 views": FineTunedConvNetClassifier(**recipe, unfreeze=0),
        "and fine-tuned, defaults": FineTunedConvNetClassifier(**recipe),
        "and fine-tuned, never rolled back": FineTunedConvNetClassifier(
            **recipe, early_stopping=False
        ),
    }
    splits = StratifiedShuffleSplit(5, train_size=50, random_state=0)
    baseline = None
    for name, classifier in candidates.items():
        scores = cross_val_score(classifier, X, y, cv=splits)
        baseline = scores if baseline is None else baseline
        won = (scores - baseline).mean(), (scores - baseline).std()
        print(
            f"{name:40} {scores.mean():.4f} ± {scores.std():.4f}, "
            f"paired {won[0]:+.4f} ± {won[1]:.4f}",
            flush=True,
        )


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
        scores = cross_val_score(pipeline, X, y, cv=5)
        print(f"pooled, 5-fold: {scores.mean():.4f} ± {scores.std():.4f}", flush=True)
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
    ours = PretrainedFeatureTransformer(**MOBILENET, cache_dir=None).fit_transform(X[::20])
    error, size = np.linalg.norm(ours - expected, axis=1), np.linalg.norm(expected, axis=1)
    overall = np.linalg.norm(error) / np.linalg.norm(size)
    print(f"relative L2 error: {overall:.1e} over all, {(error / size).max():.1e} at worst")


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


def main(mode="all", *options):
    if mode == "digits":
        digits(*options)
        return
    X, y = photographs()
    X, scores = np.array(X), {}
    if mode == "frozen":
        agreement(X)
        shared(X, y)
        frozen(X, y)
        return
    for seed in range(3):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, train_size=1000, stratify=y, random_state=seed
        )
        for name, classifier in classifiers(seed):
            started = time.perf_counter()
            score = classifier.fit(X_train, y_train).score(X_test, y_test)
            scores.setdefault(name, []).append(score)
            elapsed = time.perf_counter() - started
            print(f"{name}, seed {seed}: {score:.4f}, {elapsed:.0f} s", flush=True)
    for name, values in scores.items():
        print(f"{name:40} {np.mean(values):.4f} ± {np.std(values):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
