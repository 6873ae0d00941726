"""
Few labels, many images
=======================

Labels are dear, images are cheap. `SelfTrainingClassifier
<sklearn.semi_supervised.SelfTrainingClassifier>` learns from both.
"""

# %%
# 400 images, of which 15 have a label. scikit-learn marks the others by -1.

import numpy as np
from sklearn.datasets import load_digits

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]
X, y, X_test, y_test = X[:400], y[:400], X[400:], y[400:]

labelled = np.concatenate([np.flatnonzero(y == digit)[:3] for digit in range(5, 10)])
partly = np.full_like(y, -1)
partly[labelled] = y[labelled]

# %%
# Self-training gives a label to the images of which the classifier is sure, and learns again.
# The features of all images are computed once.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from sktransfer import PretrainedFeatureTransformer


def with_features(classifier):
    features = PretrainedFeatureTransformer("tiny", input_range=(0, 16))
    return make_pipeline(features, StandardScaler(), classifier)


supervised = with_features(LogisticRegression()).fit(X[labelled], y[labelled])
self_training = SelfTrainingClassifier(LogisticRegression(), threshold=0.95)
semi = with_features(self_training).fit(X, partly)
print(f"15 labels                {supervised.score(X_test, y_test):.3f}")
print(f"15 labels and 385 images {semi.score(X_test, y_test):.3f}")

# %%
# How many images got a label in each round, and how many of these labels are right?

rounds = semi[-1].labeled_iter_
for number in range(1, rounds.max() + 1):
    new = rounds == number
    right = np.mean(semi[-1].transduction_[new] == y[new])
    print(f"round {number}: {new.sum():3} images, {right:.0%} right")

# %%
# The threshold matters. If it is too low, wrong labels come in, and the classifier learns from
# its own mistakes. Keep some labels apart, and measure.
#
# Fine-tuning needs a label for each image. Take the labels that self-training found, where it
# is sure, or label more images: those of which the classifier is least sure teach it most.

unlabelled = np.flatnonzero(partly == -1)
sure = semi.predict_proba(X[unlabelled]).max(axis=1)
print("label these next:", unlabelled[np.argsort(sure)[:8]])
