"""
Several labels for one image
============================

A photograph can show a dog *and* a child. Then each label is a question by itself.
"""

# %%
# Two questions about a digit: is it even, and does its drawing have a closed loop? A table
# with a column for each label, and 1 where an image has it:

import pandas as pd
from sklearn.datasets import load_digits

X, digit = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)
y = pd.DataFrame({"even": digit % 2 == 0, "loop": pd.Series(digit).isin([0, 6, 8, 9])})
y = y.astype(int)
y.head()

# %%
# Nothing else changes.

from sktransfer import FineTunedConvNetClassifier

classifier = FineTunedConvNetClassifier(
    "tiny", input_range=(0, 16), unfreeze=1, early_stopping=False, random_state=0
)
classifier.fit(X[:150], y[:150])
pd.DataFrame(classifier.predict_proba(X[150:155]), columns=classifier.label_names_).round(2)

# %%
# Measure each label by itself. `score` is stricter: the share of images of which *all* labels
# are right.

from sklearn.metrics import classification_report

predicted = classifier.predict(X[150:])
print(classification_report(y[150:], predicted, target_names=y.columns, zero_division=0))
print(f"all labels right: {classifier.score(X[150:], y[150:]):.3f}")
