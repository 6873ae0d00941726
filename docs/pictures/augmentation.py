"""Views of digits: ``python docs/pictures/augmentation.py``."""

from _digits import TINY, digits, save

from sktransfer import AugmentationDisplay, FineTunedConvNetClassifier

X, y = digits()
classifier = FineTunedConvNetClassifier(**TINY)
save(AugmentationDisplay.from_estimator(classifier, X[:3], n_views=3), "augmentation")
