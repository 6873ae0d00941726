"""
Where the evidence lies
=======================

An activation map shows which parts of an image speak for a class, and which against it.
"""

# %%
# For a linear model on features of a network, the map is exact: the contributions of all
# places sum to the decision, less the intercept (class activation mapping, Zhou et al., 2016).

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import ActivationMapDisplay, PretrainedFeatureTransformer

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]
pipe = make_pipeline(
    PretrainedFeatureTransformer("tiny", layer="block1_pool", input_range=(0, 16)),
    LogisticRegression(C=0.1, max_iter=5000),
)
pipe.fit(X[:500], y[:500])

# %%
# The evidence for the right class:

ActivationMapDisplay.from_estimator(pipe, X[500:504], target=y[500:504])

# %%
# The same images, and the evidence that each is an eight:

ActivationMapDisplay.from_estimator(pipe, X[500:504], target=[8] * 4)
