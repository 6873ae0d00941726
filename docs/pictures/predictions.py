"""The worst predictions of digits: ``python docs/pictures/predictions.py``."""

from _digits import digits, fitted, save

from sktransfer import ImagePredictionDisplay

X, y = digits()
display = ImagePredictionDisplay.from_estimator(fitted(X[:50], y[:50]), X[50:], y[50:])
save(display, "predictions")
