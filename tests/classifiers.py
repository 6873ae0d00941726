"""A classifier that is fitted in less than a second, and images for it."""

import numpy as np

from sktransfer import FineTunedConvNetClassifier
from sktransfer._images.decoding import decode

SIZE = (16, 16)  # of images that its network takes


def classifier(**parameters):
    """A `FineTunedConvNetClassifier` of few epochs, on the embedded network."""
    defaults = {
        "backbone": "tiny",
        "input_size": SIZE,
        "input_range": (0, 16),
        "pooling": None,
        "head_C": 0.1,
        "unfreeze": 3,
        "head_epochs": 3,
        "fine_tune_epochs": 2,
        "augmentation_views": 2,
        "batch_size": 32,
        "early_stopping": False,
        "random_state": 0,
    }
    return FineTunedConvNetClassifier(**{**defaults, **parameters})


def five_to_nine(digits, n):
    """So many images of the digits that the embedded network does not know."""
    X, y = digits
    chosen = np.flatnonzero(y >= 5)[:n]
    return X[chosen], y[chosen]


def pixels_of(X):
    """Digits as the embedded network takes them at `SIZE`."""
    return np.stack([decode(x, SIZE, (0, 16)) for x in X]) / 127.5 - 1
