"""
A first Pipeline
================

Features of a pretrained network, then any classifier of scikit-learn.
"""

# %%
# The images are handwritten digits, 5 to 9: 8 × 8 pixels, with values from 0 to 16.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]
X.shape

# %%
# `PretrainedFeatureTransformer` turns images into features. ``pooling="avg"`` averages each
# channel of the network's last layer over all positions. A logistic regression follows.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureTransformer

features = PretrainedFeatureTransformer("tiny", pooling="avg", input_range=(0, 16))
pipe = make_pipeline(features, StandardScaler(), LogisticRegression())
pipe

# %%
# Everything that scikit-learn does with a Pipeline works. Here, a search for the strength of
# the penalty, by five-fold cross-validation. It asks for each image 16 times. The network
# computes each image once.

from sklearn.model_selection import GridSearchCV

before = features.cache_info()
search = GridSearchCV(pipe, {"logisticregression__C": [0.001, 0.01, 0.1]}, cv=5)
search.fit(X[:300], y[:300])
print(f"best strength {search.best_params_}, cross-validated {search.best_score_:.3f}")
print(f"on other images {search.score(X[300:], y[300:]):.3f}")
after = features.cache_info()
print("computed", after.misses - before.misses, "looked up", after.hits - before.hits)

# %%
# What do the features bring? We compare them with the pixels themselves, for a growing number
# of labelled images.

sizes, on_pixels, on_features = [10, 20, 50, 100, 200], [], []
for n in sizes:
    pixels = make_pipeline(StandardScaler(), LogisticRegression())
    pixels.fit(X[:n].reshape(n, -1), y[:n])
    on_pixels.append(pixels.score(X[300:].reshape(-1, 64), y[300:]))
    on_features.append(pipe.fit(X[:n], y[:n]).score(X[300:], y[300:]))

plt.plot(sizes, on_features, "o-", label="features of the network")
plt.plot(sizes, on_pixels, "s--", label="pixels")
plt.xscale("log")
plt.xticks(sizes, sizes)
plt.xlabel("labelled images")
plt.ylabel("accuracy on other images")
plt.legend()
plt.show()
