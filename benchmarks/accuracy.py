"""Accuracy on real photographs: ``python -m benchmarks.accuracy [frozen]``.

Cats and dogs, MobileNet (alpha 0.75, 224 px, ImageNet): 500 images a class to train on and
the other 1,002 to test, for each of three seeds; nothing was tuned on the test images.
Prints the mean over seeds and the spread for logistic regression on frozen features and for
`FineTunedConvNetClassifier` with its defaults and with the three heads of the tutorials.

With ``frozen``: the Pipelines on frozen features alone, pooled (5-fold, all 2,002 photographs,
and what a grid search computes) and flattened (1,000 to train, 1,002 to test).

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import sys
import tempfile
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._timing import photographs
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer

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
        halves = train_test_split(X, y, train_size=1000, stratify=y, random_state=0)
        X_train, X_test, y_train, y_test = halves
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            flat.fit(X_train, y_train)
        print(f"flattened, 1,000 / 1,002: {flat.score(X_test, y_test):.4f}", flush=True)


def main(mode="all"):
    X, y = photographs()
    X, scores = np.array(X), {}
    if mode == "frozen":
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
