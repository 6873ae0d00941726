"""Estimators that are fitted in less than a second, and images for them."""

import joblib
import numpy as np
import skops.io

from sktransfer import FineTunedConvNetClassifier, FineTunedConvNetRegressor
from sktransfer._images.decoding import decode

SIZE = (16, 16)  # of images that their network takes
QUICK = {
    "backbone": "tiny",
    "input_size": SIZE,
    "input_range": (0, 16),
    "pooling": None,
    "unfreeze": 3,
    "head_epochs": 3,
    "fine_tune_epochs": 2,
    "augmentation_views": 2,
    "batch_size": 32,
    "early_stopping": False,
    "random_state": 0,
}


def classifier(**parameters):
    """A `FineTunedConvNetClassifier` of few epochs, on the embedded network."""
    return FineTunedConvNetClassifier(**{**QUICK, "head_C": 0.1, **parameters})


def regressor(**parameters):
    """A `FineTunedConvNetRegressor` of few epochs, on the embedded network."""
    return FineTunedConvNetRegressor(**{**QUICK, **parameters})


def stored(fitted, path):
    """A fitted estimator as it comes back from a .skops or another file."""
    if path.suffix == ".skops":
        skops.io.dump(fitted, path)
        return skops.io.load(path, trusted=[f"sktransfer.{type(fitted).__name__}"])
    joblib.dump(fitted, path)
    return joblib.load(path)


def five_to_nine(digits, n):
    """So many images of the digits that the embedded network does not know."""
    X, y = digits
    chosen = np.flatnonzero(y >= 5)[:n]
    return X[chosen], y[chosen]


def pixels_of(X):
    """Digits at `SIZE`, as pixels from 0 to 255."""
    return np.stack([decode(x, SIZE, (0, 16)) for x in X])
