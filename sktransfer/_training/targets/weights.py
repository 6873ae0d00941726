"""Weights of classes, as users pass them."""

import numpy as np
from sklearn.utils import compute_class_weight


def class_weights(asked, classes, y):
    """The weight of each class: float32 ndarray of shape (n_classes,).

    Raises
    ------
    ValueError
        One is negative or infinite.
    """
    weights = compute_class_weight(asked, classes=classes, y=y)
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(f"class_weight={asked} has negative or infinite weights")
    return weights.astype(np.float32)
