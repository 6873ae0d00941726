"""Accuracy on real photographs: ``python -m benchmarks.accuracy``.

Cats and dogs, MobileNet (alpha 0.75, 224 px, ImageNet): 500 images a class to train on and
the other 1,002 to test, for each of three seeds; nothing was tuned on the test images.
Prints the mean over seeds and the spread for logistic regression on frozen features and for
`FineTunedConvNetClassifier` with its defaults and with the three heads of the tutorials.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
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


def main(wanted=""):
    X, y = photographs()
    X, scores = np.array(X), {}
    for seed in range(3):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, train_size=1000, stratify=y, random_state=seed
        )
        for name, classifier in classifiers(seed):
            if wanted in name:
                started = time.perf_counter()
                score = classifier.fit(X_train, y_train).score(X_test, y_test)
                scores.setdefault(name, []).append(score)
                print(
                    f"{name} {seed} {score:.4f} {time.perf_counter() - started:.0f} s",
                    flush=True,
                )
    for name, values in scores.items():
        print(f"{name:40} {np.mean(values):.4f} ± {np.std(values):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
