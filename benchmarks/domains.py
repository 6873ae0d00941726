"""Images of five domains, with fixed splits, and the networks that are tried on them.

``aerial``, ``letters``, ``xray`` and ``texture`` have a folder for each class, with files
that are numbered: those whose number leaves 0 or 1 when divided by 5 are for testing only.
``cats_and_dogs`` is the first split of `benchmarks.accuracy`. A seed draws training images
from the rest.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy import pets
from benchmarks.extraction import MOBILENET

SETS = ("letters", "aerial", "texture", "xray", "cats_and_dogs")


def networks():
    """Name → what a transformer or a classifier is told of a network."""
    folder = Path(os.environ["SKTRANSFER_TEST_DATA"], "networks")
    lite = {"backbone": str(folder / "efficientnet_lite0.keras"), "preprocessing": None}
    return {"MobileNet": MOBILENET, "EfficientNet-Lite0": lite}


@dataclass(frozen=True)
class Draw:
    """Paths and labels to train on, and to test on.

    Attributes
    ----------
    X, X_test : ndarray of str
    y, y_test : ndarray of str
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def draw(name, images, seed):
    """Up to so many images of each class of a set to train on, and all its test images."""
    X, y, X_test, y_test = _split(name)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(y == label))[:images] for label in np.unique(y)]
    chosen = np.concatenate(chosen)
    return Draw(X[chosen], y[chosen], X_test, y_test)


def _split(name):
    X, X_test, y, y_test = pets(0)  # which makes a home for the weights, too
    if name == "cats_and_dogs":
        return X, y, X_test, y_test
    folder = Path(os.environ["SKTRANSFER_TEST_DATA"], "domains", name)
    paths = sorted(folder.glob("*/*.jpg"))
    X, y = np.array([str(path) for path in paths]), np.array([p.parent.name for p in paths])
    tests = np.array([int(path.stem) % 5 < 2 for path in paths])
    return X[~tests], y[~tests], X[tests], y[tests]
