"""
The worst predictions
=====================

Look at the images that a model gets most wrong: often it is the label that is wrong.
"""

# %%
# A Pipeline learns five digits from 50 images, and predicts the others.

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import ImagePredictionDisplay, PretrainedFeatureTransformer

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]
pipe = make_pipeline(
    PretrainedFeatureTransformer("tiny", input_range=(0, 16)),
    StandardScaler(),
    LogisticRegression(C=0.01, max_iter=1000),
)
pipe.fit(X[:50], y[:50])

# %%
# Above each image is its label, what was predicted, and how sure the model was. The worst come
# first.

ImagePredictionDisplay.from_estimator(pipe, X[50:], y[50:])
