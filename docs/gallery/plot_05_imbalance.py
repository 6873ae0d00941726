"""
Unbalanced classes
==================

One class has few images. Weigh it, and measure what you care about.
"""

# %%
# 200 images of the digit 5, and only 8 of the digit 9.

import numpy as np
from sklearn.datasets import load_digits

X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)
fives, nines = np.flatnonzero(y == 5), np.flatnonzero(y == 9)
train = np.concatenate([fives[:100], nines[:8]])
test = np.concatenate([fives[100:], nines[100:]])

# %%
# ``class_weight="balanced"`` gives both classes the same weight in training, and in what is
# held out to judge.

from sklearn.metrics import ConfusionMatrixDisplay, balanced_accuracy_score

from sktransfer import FineTunedConvNetClassifier

settings = {"input_range": (0, 16), "unfreeze": 0, "pooling": "avg", "random_state": 0}
plain = FineTunedConvNetClassifier("tiny", **settings).fit(X[train], y[train])
weighed = FineTunedConvNetClassifier("tiny", class_weight="balanced", **settings)
weighed.fit(X[train], y[train])

# %%
# Accuracy hides a class that is rarely met. Look at the confusion matrix, and at the balanced
# accuracy: the mean over classes of the share that is found.

import matplotlib.pyplot as plt

_, axes = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
for classifier, title, ax in zip(
    [plain, weighed], ["no weights", "balanced weights"], axes, strict=True
):
    predicted = classifier.predict(X[test])
    ConfusionMatrixDisplay.from_predictions(y[test], predicted, ax=ax, colorbar=False)
    ax.set_title(f"{title}: {balanced_accuracy_score(y[test], predicted):.3f}")
plt.show()

# %%
# A threshold of your own is another way. `TunedThresholdClassifierCV
# <sklearn.model_selection.TunedThresholdClassifierCV>` finds it by cross-validation. And a
# search should ask for what you care about: ``GridSearchCV(…, scoring="balanced_accuracy")``.
