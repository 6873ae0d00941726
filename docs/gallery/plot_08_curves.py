"""
Curves of a training
====================

Did the training gain anything? When did it stop? What was kept?
"""

# %%
# Three stages follow one another: one layer, three layers, all layers.

from sklearn.datasets import load_digits

from sktransfer import FineTunedConvNetClassifier, TrainingHistoryDisplay

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]
classifier = FineTunedConvNetClassifier(
    "tiny",
    input_range=(0, 16),
    hidden_units=(32,),
    unfreeze=(1, 3, "all"),
    head_epochs=6,
    fine_tune_epochs=5,
    fine_tune_learning_rate=3e-3,
    augmentation=None,
    random_state=0,
)
classifier.fit(X[:120], y[:120], X_val=X[120:300], y_val=y[120:300])

# %%
# Points are epochs and lines are their running means. A stage with a grey background was
# rolled back: on the held-out images it gained nothing. The star is the epoch that was kept.

TrainingHistoryDisplay.from_estimator(classifier, smoothing=0.5)

# %%
# The same figures are in a dictionary:

import pandas as pd

pd.DataFrame(classifier.history_).groupby("stage").last().round(3)
