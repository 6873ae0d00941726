"""The curves of `docs/progress.md`: ``python docs/pictures/history.py``."""

from _digits import TINY, digits, save

from sktransfer import FineTunedConvNetClassifier, TrainingHistoryDisplay

X, y = digits()
classifier = FineTunedConvNetClassifier(
    **TINY,
    augmentation=None,
    random_state=0,
    unfreeze=(1, 3, "all"),
    hidden_units=(32,),
    head_epochs=8,
    fine_tune_epochs=8,
    fine_tune_learning_rate=3e-3,
).fit(X[:120], y[:120], X_val=X[120:300], y_val=y[120:300])
save(TrainingHistoryDisplay.from_estimator(classifier, smoothing=0.5), "curves")
