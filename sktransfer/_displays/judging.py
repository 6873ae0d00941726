"""Predictions beside what is true: how wrong, how sure, and in words.

Each kind has `known` (which images have a prediction), `are_right`, and the methods `losses`,
`sureness`, `taken_for` and `lines` (the words above an image).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.utils.multiclass import type_of_target

from sktransfer._displays.tiles import CHARACTERS, shortened

LEAST = 1e-12  # probability, so that its logarithm is finite


def judge(display, n):
    """The predictions of a display, by what y_true is.

    Raises
    ------
    ValueError
        X, y_true and y_pred have not one length.
    """
    y_true, y_pred = np.asarray(display.y_true), np.asarray(display.y_pred)
    if not len(y_true) == len(y_pred) == n:
        raise ValueError(
            f"X has {n} images, y_true {len(y_true)} values, y_pred {len(y_pred)}"
        )
    y_proba = None if display.y_proba is None else np.asarray(display.y_proba, dtype=float)
    names = None if display.class_names is None else np.asarray(display.class_names)
    kind = type_of_target(y_true)
    if kind == "multilabel-indicator":
        names = np.arange(y_true.shape[1]) if names is None else names
        return JudgedLabels(y_true, y_pred, y_proba, names)
    # Numbers may be whole, as ages are: then their predictions hardly are.
    predicted = y_pred[~_are_missing(y_pred)]
    whole = predicted.dtype.kind != "f" or np.array_equal(predicted, np.rint(predicted))
    if "continuous" in kind or "multioutput" in kind or not whole:
        return JudgedNumbers(y_true.astype(float), y_pred.astype(float))
    if names is None:
        names = np.unique(np.append(y_true, predicted))
    return JudgedClasses(y_true, y_pred, y_proba, names)


def _are_missing(y_pred):
    """Which images have no prediction: None or NaN stands for it."""
    flat = y_pred.reshape(len(y_pred), -1)[:, 0] if y_pred.size else y_pred
    return np.array([one is None or one != one for one in flat.tolist()], dtype=bool)


@dataclass(frozen=True)
class JudgedClasses:
    """One class for each image, with probabilities in the order of `names`, or without."""

    y_true: np.ndarray
    y_pred: np.ndarray
    y_proba: np.ndarray | None
    names: np.ndarray

    @cached_property
    def known(self):
        return ~_are_missing(self.y_pred)

    @cached_property
    def are_right(self):
        return self.y_true == self.y_pred

    def losses(self):
        if self.y_proba is None:
            return (~self.are_right).astype(float)
        place = {name: i for i, name in enumerate(self.names.tolist())}
        columns = np.array([place.get(label, -1) for label in self.y_true.tolist()])
        of_label = self.y_proba[np.arange(len(columns)), columns]
        of_label = np.where(columns < 0, 0, of_label)  # a class that the model does not know
        return -np.log(np.maximum(of_label, LEAST))

    def sureness(self):
        if self.y_proba is None:
            raise ValueError("show='least_sure' needs probabilities: pass y_proba")
        return self.y_proba.max(axis=1)

    def taken_for(self, true, predicted):
        """The rows of images of one class that are taken for another, the surest first."""
        rows = np.flatnonzero((self.y_true == true) & (self.y_pred == predicted))
        return rows if self.y_proba is None else rows[np.argsort(-self.sureness()[rows])]

    def lines(self, i):
        if not self.known[i]:
            return [str(self.y_true[i]), "?"]
        how_sure = "" if self.y_proba is None else f" {self.y_proba[i].max():.2f}"
        name = shortened(self.y_pred[i], CHARACTERS - 2 - len(how_sure))
        return [str(self.y_true[i]), f"{'=' if self.are_right[i] else '≠'} {name}{how_sure}"]


@dataclass(frozen=True)
class JudgedLabels:
    """Several labels for each image, as indicators."""

    y_true: np.ndarray
    y_pred: np.ndarray
    y_proba: np.ndarray | None
    names: np.ndarray

    @cached_property
    def known(self):
        return ~_are_missing(self.y_pred)

    @cached_property
    def are_right(self):
        return (self.y_true == self.y_pred).all(axis=1)

    def losses(self):
        if self.y_proba is None:
            return (self.y_true != self.y_pred).mean(axis=1)
        of_truth = np.where(self.y_true == 1, self.y_proba, 1 - self.y_proba)
        return -np.log(np.maximum(of_truth, LEAST)).mean(axis=1)

    def sureness(self):
        if self.y_proba is None:
            raise ValueError("show='least_sure' needs probabilities: pass y_proba")
        return np.abs(self.y_proba - 0.5).min(axis=1)

    def taken_for(self, true, predicted):
        """The rows of images that have one label, but not the other, which is predicted."""
        names = self.names.tolist()
        has, invented = names.index(true), names.index(predicted)
        told = (self.y_true[:, invented] == 0) & (self.y_pred[:, invented] == 1)
        return np.flatnonzero((self.y_true[:, has] == 1) & told)

    def lines(self, i):
        had = ", ".join(map(str, self.names[self.y_true[i] == 1])) or "no label"
        if not self.known[i]:
            return [had, "?"]
        invented = self.names[(self.y_true[i] == 0) & (self.y_pred[i] == 1)]
        missed = self.names[(self.y_true[i] == 1) & (self.y_pred[i] == 0)]
        wrong = [f"+{name}" for name in invented] + [f"−{name}" for name in missed]
        return [had, " ".join(wrong) or "= all right"]


@dataclass(frozen=True)
class JudgedNumbers:
    """One number for each image, or several. None is right, as none is wrong."""

    y_true: np.ndarray
    y_pred: np.ndarray

    @cached_property
    def known(self):
        return ~_are_missing(self.y_pred)

    @cached_property
    def are_right(self):
        return self.losses() < 1

    def losses(self):
        """The mean residual, without sign, in standard deviations of each number."""
        scale = self.y_true.std(axis=0)
        residuals = np.abs(self.y_pred - self.y_true) / np.where(scale > 0, scale, 1)
        return residuals.reshape(len(residuals), -1).mean(axis=1)

    def sureness(self):
        raise ValueError("show='least_sure' is of classes or labels, and these are numbers")

    def taken_for(self, true, predicted):
        raise ValueError("a pair to show is of classes or labels, and these are numbers")

    def lines(self, i):
        true, predicted = _in_words(self.y_true[i]), _in_words(self.y_pred[i])
        if not self.known[i] or np.ndim(self.y_true[i]):
            return [true, f"→ {predicted if self.known[i] else '?'}"]
        return [true, f"→ {predicted} ({self.y_pred[i] - self.y_true[i]:+.3g})"]


def _in_words(numbers):
    return ", ".join(f"{number:.4g}" for number in np.ravel(numbers))
