"""Several labels at once for each image, or none."""

import math

import numpy as np
from scipy.sparse import issparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import _get_feature_names

from sktransfer._exceptions import warn
from sktransfer._training.targets.logistic import strength_by_folds
from sktransfer._training.targets.stratification import stratified_parts
from sktransfer._training.targets.weights import class_weights


class Labels:
    """A set of labels for each image.

    Parameters
    ----------
    n_labels : int
    names : ndarray of str or None
        Of the labels, if they have any.
    label_weights : ndarray of shape (n_labels, 2) or None
        Of images without and with each label; only training needs them.
    """

    kind = "labels"
    metric_name = "subset_accuracy"

    def __init__(self, n_labels, names=None, label_weights=None):
        self.n_outputs, self.names, self._label_weights = n_labels, names, label_weights

    @classmethod
    def learnt(cls, y, class_weight):
        """The target that an indicator matrix makes, and this as it encodes it.

        Parameters
        ----------
        y : array-like or sparse matrix of shape (n_images, n_labels)
        class_weight : list of dict, "balanced" or None
        """
        names = _get_feature_names(y)
        codes = _indicators(y, "y")
        if (codes.sum(axis=1) == 1).all():
            warn(
                "each image has exactly one of the labels of y: if they exclude one another, "
                "pass y.argmax(axis=1)"
            )
        weights = _label_weights(class_weight, codes)
        return cls(codes.shape[1], names, weights), codes

    @property
    def classes(self):
        """What each label can be: scikit-learn's scorers know several labels by that."""
        return np.tile([0, 1], (self.n_outputs, 1))

    def encode(self, y, name="y"):
        """Indicators as integers.

        Raises
        ------
        ValueError
            They are not of the same labels.
        """
        codes, names = _indicators(y, name), _get_feature_names(y)
        if codes.shape[1] != self.n_outputs:
            raise ValueError(f"{name} has {codes.shape[1]} columns, and y {self.n_outputs}")
        both_named = names is not None and self.names is not None
        if both_named and not np.array_equal(names, self.names):
            raise ValueError(f"{name} has the columns {names}, and y {self.names}")
        return codes

    def weights_of(self, codes):
        """The weight of each image: the product over its labels."""
        return self._label_weights[np.arange(self.n_outputs), codes].prod(axis=1)

    def check(self, codes, weights):
        """Refuse what nothing can be learnt from, and tell of labels that are always alike."""
        weighted = codes[weights != 0]
        has_none, has_all = ~weighted.any(axis=0), weighted.all(axis=0)
        if (has_none | has_all).all():
            raise ValueError(
                "each label of y is had by all images or by none, not counting images whose "
                "sample_weight or class_weight is zero; nothing can be learnt"
            )
        names = np.arange(self.n_outputs) if self.names is None else self.names
        for words, constant in (("no image has", has_none), ("all images have", has_all)):
            if constant.any():
                told = f"{words} the labels {names[constant].tolist()} of y"
                warn(f"{told}: all predictions will say the same")

    def keras_loss(self):
        from sktransfer._runtime.keras import keras

        return keras.losses.BinaryCrossentropy(from_logits=True)

    def keras_metric(self):
        from sktransfer._runtime.keras import keras

        def are_right(codes, outputs):
            right = keras.ops.equal(keras.ops.greater(outputs, 0), keras.ops.greater(codes, 0))
            return keras.ops.all(right, axis=-1)

        return keras.metrics.MeanMetricWrapper(are_right, name=self.metric_name)

    def losses(self, outputs, codes):
        """The log loss of each image, the mean over its labels."""
        return (np.logaddexp(0, outputs) - outputs * codes).mean(axis=1)

    def loss_of_error(self, outputs, codes):
        """The mean loss of images that have the other labels."""
        return self.losses(outputs, 1 - codes).mean()

    def score(self, outputs, codes, weights):
        """The share of images of which all labels are right, weighted."""
        if not weights.any():
            return math.nan
        right = (self.predictions(outputs) == codes).all(axis=1)
        return np.average(right, weights=weights)

    def choose_strength(self, rows, codes, weights, seed):
        """The inverse strength of the penalty on a linear head, one for all labels."""
        return strength_by_folds(self, rows, codes, weights, seed)

    def linear_model(self, C, **parameters):
        """A solver of a linear head."""
        return OnePerLabel(self.n_outputs, C=C, max_iter=1000, **parameters)

    def n_held_out(self, asked):
        """How many images a split holds out, about."""
        return asked

    def split(self, codes, held_out, seed):
        """Positions to train on, and to judge by."""
        share = held_out / len(codes)
        judges = stratified_parts(codes, [share, 1 - share], seed) == 0
        return np.flatnonzero(~judges), np.flatnonzero(judges)

    def folds(self, codes, n_folds, seed):
        """Pairs of positions to train on and to judge by."""
        parts = stratified_parts(codes, np.full(n_folds, 1 / n_folds), seed)
        return [
            (np.flatnonzero(parts != i), np.flatnonzero(parts == i)) for i in range(n_folds)
        ]

    def decision(self, outputs):
        """Outputs in the shape of scikit-learn's `decision_function`."""
        return outputs

    def in_keras(self, outputs):
        """Probabilities, of a tensor of outputs."""
        from sktransfer._runtime.keras import keras

        return keras.ops.sigmoid(outputs)

    def predictions(self, outputs):
        """An indicator matrix of the labels that are more probable than not."""
        return (outputs > 0).astype(int)

    def probabilities(self, outputs):
        """(n, n_labels): of each label by itself."""
        return expit(outputs.astype(np.float64))


class OnePerLabel:
    """A logistic regression for each label, all as one model.

    A label that all images have, or none, has a constant: the logarithm of its odds, were
    there one more image, half of it with the label.
    """

    def __init__(self, n_labels, **parameters):
        self._models = [LogisticRegression(**parameters) for _ in range(n_labels)]

    def set_params(self, **parameters):
        for model in self._models:
            model.set_params(**parameters)

    def fit(self, rows, codes, sample_weight):
        self.coef_ = np.zeros((len(self._models), rows.shape[1]))
        self.intercept_ = np.empty(len(self._models))
        for i, (model, has) in enumerate(zip(self._models, codes.T, strict=True)):
            if has.all() or not has.any():
                have = sample_weight @ has
                lack = sample_weight.sum() - have
                self.intercept_[i] = np.log((have + 0.5) / (lack + 0.5))
            else:
                model.fit(rows, has, sample_weight=sample_weight)
                self.coef_[i], self.intercept_[i] = model.coef_[0], model.intercept_[0]
        return self

    def decision_function(self, rows):
        return rows @ self.coef_.T + self.intercept_


def _indicators(y, name):
    """A matrix of 0 and 1.

    Raises
    ------
    ValueError
        It has other values.
    """
    matrix = y.toarray() if issparse(y) else np.asarray(y)
    if matrix.ndim != 2 or not np.isin(matrix, (0, 1)).all():
        raise ValueError(f"{name} is no indicator matrix: one column a label, of 0 and 1")
    return matrix.astype(int)


def _label_weights(class_weight, codes):
    """The weights of images without and with each label, as forests of scikit-learn do."""
    n_labels = codes.shape[1]
    if class_weight is None or class_weight == "balanced":
        class_weight = [class_weight] * n_labels
    if not isinstance(class_weight, list) or len(class_weight) != n_labels:
        raise ValueError(
            f"class_weight={class_weight}, but y has {n_labels} labels: pass 'balanced', or a "
            "list of a dict for each label, such as [{0: 1, 1: 5}, ...]"
        )
    weights = np.ones((n_labels, 2), dtype=np.float32)
    for of_label, asked, has in zip(weights, class_weight, codes.T, strict=True):
        seen = np.unique(has)
        of_label[seen] = class_weights(asked, seen, has)
    return weights
