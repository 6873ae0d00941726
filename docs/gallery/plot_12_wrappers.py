"""
A pretrained network in a wrapper
=================================

Keras has a wrapper for scikit-learn. What does it do with a pretrained network?
"""

# %%
# A network that knows digits: its accuracy on other digits is high.

import keras
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits

from sktransfer import FineTunedConvNetClassifier

X, digit = load_digits(return_X_y=True)
X, y = X.reshape(-1, 8, 8), np.where(digit % 2 == 0, "even", "odd")

ours = FineTunedConvNetClassifier(
    "tiny",
    input_range=(0, 16),
    hidden_units=(16,),
    unfreeze=0,
    head_epochs=5,
    early_stopping=False,
    random_state=0,
)
ours.fit(X[:300], y[:300])
print(f"accuracy {ours.score(X[300:], y[300:]):.3f}")

# %%
# The same network in Keras' wrapper. The wrapper takes two dimensions only, so the model
# begins by giving the pixels their shape again.

pixels = keras.Input((64,))
images = keras.layers.Reshape((8, 8, 1))(pixels)
images = keras.layers.Resizing(32, 32)(keras.layers.Concatenate()([images] * 3))
whole = keras.Model(pixels, ours.model_(images * (255 / 16)))
whole.compile("adam", "categorical_crossentropy")

flat = X.reshape(-1, 64)
said = ours.classes_[whole.predict(flat[300:], verbose=0).argmax(axis=1)]
print(f"accuracy before the wrapper {np.mean(said == y[300:]):.3f}")

# %%
# Weights
# -------
# Fitting for no epoch should change nothing. But `fit` clones the model, and a clone of a
# Keras model has new, random weights. What the network had learnt is lost, and nothing says
# so.

from keras.wrappers import SKLearnClassifier

wrapped = SKLearnClassifier(whole, fit_kwargs={"epochs": 0, "verbose": 0})
wrapped.fit(flat[:300], y[:300])
said = ours.classes_[wrapped.model_.predict(flat[300:], verbose=0).argmax(axis=1)]
print(f"accuracy in the wrapper {np.mean(said == y[300:]):.3f}")

# %%
# The remedy is to pass a function that builds the model, and loads the weights, each time.
# `FineTunedConvNetClassifier` copies networks with their weights.
#
# Clones
# ------
# A search clones the estimator for each candidate and fold. The clone of the wrapper has lost
# its ``fit_kwargs``, and so the number of epochs:

print(clone(wrapped).fit_kwargs)
print(clone(ours).get_params() == ours.get_params())

# %%
# Probabilities
# -------------
# `predict_proba` is what many scorers, calibration and stacking ask for.

for estimator in (wrapped, ours):
    print(type(estimator).__name__, hasattr(estimator, "predict_proba"))

# %%
# Work that is repeated
# ---------------------
# The wrapper runs the whole network in each epoch of each fold. Ours looks up what the frozen
# part made of an image. Here is what three folds and three strengths of dropout computed:

from sklearn.model_selection import GridSearchCV

before = ours.cache_info()
GridSearchCV(ours, {"dropout": [0.0, 0.2, 0.5]}, cv=3).fit(X[:300], y[:300])
after = ours.cache_info()
print("computed", after.misses - before.misses, "looked up", after.hits - before.hits)

# %%
# In time: three-fold cross-validation of a dense head, ten epochs, on 100 photographs, took 17
# times as long with Keras' wrapper, and 15 times with scikeras
# (``python -m benchmarks.wrappers``).
