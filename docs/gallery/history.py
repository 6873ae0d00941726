"""The training of a classifier of digits: ``python docs/gallery/history.py``."""

from _digits import TINY, digits, save

from sktransfer import FineTunedConvNetClassifier, TrainingHistoryDisplay

X, y = digits()
classifier = FineTunedConvNetClassifier(**TINY, unfreeze=(1, 3), random_state=0)
save(TrainingHistoryDisplay.from_estimator(classifier.fit(X[:200], y[:200])), "history")
