"""
Numbers instead of classes
==========================

An age, a count, a price: `FineTunedConvNetRegressor` predicts numbers.
"""

# %%
# How many grams of ink does a drawing hold? That is the sum of its pixels, more or less.

import numpy as np
from sklearn.datasets import load_digits

X, _ = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)
ink = X.sum(axis=(1, 2)) / 100 + np.random.default_rng(0).normal(0, 0.05, len(X))

# %%
# A drawing that is zoomed holds more ink, so its number would be wrong: augmented views must
# keep the number of their image. Shifts of one pixel keep it.

from sktransfer import FineTunedConvNetRegressor, ImageAugmentation

views = ImageAugmentation(rotation_range=5, zoom_range=0)
regressor = FineTunedConvNetRegressor(
    "tiny",
    input_range=(0, 16),
    augmentation=views,
    augmentation_views=4,
    unfreeze="block3",
    early_stopping=False,
    random_state=0,
)
regressor.fit(X[:200], ink[:200])
print(f"R² on other images: {regressor.score(X[200:], ink[200:]):.3f}")

# %%
# scikit-learn's displays work as with any regressor.

import matplotlib.pyplot as plt
from sklearn.metrics import PredictionErrorDisplay

PredictionErrorDisplay.from_estimator(
    regressor, X[200:500], ink[200:500], kind="actual_vs_predicted"
)
plt.show()
