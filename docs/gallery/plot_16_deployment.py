"""
One file that predicts anywhere
===============================

A Pipeline that is stored has a few kilobytes, and needs the weights of its network where it is
loaded. A bundle needs nothing but itself.
"""

# %%
# A Pipeline as ever:

import io

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import PretrainedFeatureTransformer, bundle, to_keras

X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)
pipe = make_pipeline(
    PretrainedFeatureTransformer("tiny", input_range=(0, 16)),
    LogisticRegression(max_iter=1000),
)
pipe.fit(X[:200], y[:200])

# %%
# With its network packed inside, stored and loaded:

file = io.BytesIO()
joblib.dump(bundle(pipe), file)
file.seek(0)
loaded = joblib.load(file)
bool((loaded.predict(X[200:]) == pipe.predict(X[200:])).all())

# %%
# For services without scikit-learn, the same as one Keras model. It takes RGB pixels from 0 to
# 255 at the size of the network, and exports itself: ``model.export("digits.onnx",
# format="onnx")``.

model = to_keras(pipe)
model.summary()

# %%
# A square that was brought to this size gets the same probabilities:

square = np.zeros((1, 32, 32, 3), np.float32)
square[:, 8:24, 8:24] = 255
expected = pipe.predict_proba(square / 255 * 16)
bool(np.allclose(model.predict(square, verbose=0), expected, atol=1e-4))
