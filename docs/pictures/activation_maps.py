"""Where the evidence for digits lies: ``python docs/pictures/activation_maps.py``."""

import numpy as np
from _digits import TINY, digits, save
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import ActivationMapDisplay, PretrainedFeatureTransformer

X, y = digits()
pipe = make_pipeline(
    PretrainedFeatureTransformer(**TINY, layer="block1_pool"),
    LogisticRegression(C=0.1, max_iter=5000),
).fit(X[:500], y[:500])
shown = np.concatenate([X[500:504]] * 2)
targets = [*y[500:504], *["eight"] * 4]
save(ActivationMapDisplay.from_estimator(pipe, shown, target=targets), "activation_maps")
