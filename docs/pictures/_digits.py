"""Handwritten digits, as text and as images, which the pictures of this folder share."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureTransformer

PICTURES = Path(__file__).parents[1]
WIDTH = 600  # pixels
TINY = {"backbone": "tiny", "image_shape": (8, 8), "input_range": (0, 16)}
NAMES = np.array(["five", "six", "seven", "eight", "nine"])


def digits():
    """Flattened images of the digits that the embedded network has not seen, and names."""
    X, y = load_digits(return_X_y=True)
    return X[y >= 5], NAMES[y[y >= 5] - 5]


def fitted(X, y, pooling=None):
    """Frozen features, standardised, and a logistic regression."""
    return make_pipeline(
        PretrainedFeatureTransformer(**TINY, pooling=pooling),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1000),
    ).fit(X, y)


def save(display, name):
    """Save the figure of a display beside the pages."""
    figure = display.figure_
    figure.savefig(PICTURES / f"{name}.png", dpi=WIDTH / figure.get_figwidth())
