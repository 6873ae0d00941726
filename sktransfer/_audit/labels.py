"""Labels that a model, trained on the other images, does not believe.

Confident learning: C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating
Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research, 2021.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.utils import _safe_indexing

from sktransfer._audit.findings import Finding
from sktransfer._audit.neighbours import nearest

FOLDS = 5
N_NEIGHBORS = 10
FEWEST_NEIGHBORS = 0.5  # with its label, as a share: with more, a label is no suspect
MOST_PROBABLE = (
    0.2  # for its own label: of a weak model, which is never sure, none is a suspect
)
SMOOTHING = 0.02  # of probabilities, which are never that exact near 0
WEIGHT = 2.0  # of neighbours against the logarithm of a probability


@dataclass(frozen=True)
class Doubts:
    """What speaks against labels.

    Attributes
    ----------
    positions : int ndarray of shape (n_judged,)
        Of images; a label that only one image has cannot be judged.
    labels, suggested : ndarray of shape (n_judged,)
        As they are, and as the model would have them.
    own, of_suggested : ndarray of shape (n_judged,)
        Probabilities of both, from a model that was trained on other images.
    agreeing : ndarray of shape (n_judged,)
        The share of the nearest images that have the label.
    are_suspect : bool ndarray of shape (n_judged,)
    """

    positions: np.ndarray
    labels: np.ndarray
    suggested: np.ndarray
    own: np.ndarray
    of_suggested: np.ndarray
    agreeing: np.ndarray
    are_suspect: np.ndarray

    def quality(self):
        """How well labels are supported, from 0 to 1: by the model and by neighbours."""
        by_model = (self.own + SMOOTHING) / (1 + SMOOTHING)
        return by_model * np.exp(WEIGHT * (self.agreeing - 1))

    def qualities(self, rows, n):
        """The quality of the labels of n images, of which `rows` were looked at."""
        qualities = np.full(n, np.nan)
        qualities[rows[self.positions]] = self.quality()
        return qualities

    def findings(self, rows):
        """The suspects, of images whose rows of X these are."""
        quality = self.quality()
        return [
            Finding(
                "suspect label", int(rows[self.positions[i]]), self._words(i), 1 - quality[i]
            )
            for i in np.flatnonzero(self.are_suspect)
        ]

    def _words(self, i):
        suggested = f"{self.suggested[i]} {self.of_suggested[i]:.2f}"
        near = f"{self.agreeing[i]:.0%} of the nearest agree"
        return f"{self.labels[i]}, or {suggested}? ({near})"


def doubts_of(estimator, X, y, features, random_state):
    """Judge labels by out-of-fold probabilities, and by the nearest images.

    Parameters
    ----------
    estimator : classifier with `predict_proba`
    X : sequence of n_images images
    y : ndarray of shape (n_images,)
    features : ndarray of shape (n_images, n_features)
    random_state : int, RandomState instance or None
        Of the folds.

    Returns
    -------
    doubts : Doubts or None
        None if fewer than two classes have two images.
    """
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    positions = np.flatnonzero(counts[codes] >= 2)
    if np.sum(counts >= 2) < 2:
        return None
    classes, codes = np.unique(y[positions], return_inverse=True)
    folds = StratifiedKFold(
        min(FOLDS, np.bincount(codes).min()), shuffle=True, random_state=random_state
    )
    probabilities = cross_val_predict(
        estimator, _safe_indexing(X, positions), codes, cv=folds, method="predict_proba"
    )
    agreeing = _agreeing(features[positions], codes)
    counted, rows = counted_classes(probabilities, codes), np.arange(len(codes))
    own = probabilities[rows, codes]
    are_unlikely = (own <= MOST_PROBABLE) & (agreeing < FEWEST_NEIGHBORS)
    return Doubts(
        positions,
        classes[codes],
        classes[counted],
        own,
        probabilities[rows, counted],
        agreeing,
        (counted != codes) & are_unlikely,
    )


def counted_classes(probabilities, codes):
    """The class for which confident learning counts each image; its label, if for none.

    An image counts for a class if it is as probable for it as images with that label are in
    the mean; for the most probable one, if there are several.
    """
    n_classes = probabilities.shape[1]
    usual = np.array([probabilities[codes == k, k].mean() for k in range(n_classes)])
    are_likely = probabilities >= usual
    counted = np.where(are_likely, probabilities, -1).argmax(axis=1)
    return np.where(are_likely.any(axis=1), counted, codes)


def _agreeing(features, codes):
    """The share of the nearest images with the same label."""
    near = nearest(features, N_NEIGHBORS)
    return np.mean(codes[near] == codes[:, np.newaxis], axis=1)
