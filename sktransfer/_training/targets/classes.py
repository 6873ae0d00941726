"""One of several classes for each image."""

import math

import numpy as np
from scipy.special import expit, logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y

from sktransfer._training.targets.logistic import strength_by_folds
from sktransfer._training.targets.weights import class_weights


class Classes:
    """One of several classes for each image.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    class_weights : ndarray of shape (n_classes,) or None
        Of each class; only training needs them.
    """

    kind = "classes"
    metric_name = "accuracy"
    names = None  # of labels; classes are their own

    def __init__(self, classes, class_weights=None):
        self.classes, self._class_weights = classes, class_weights
        self._are_two = len(classes) == 2

    @classmethod
    def learnt(cls, y, class_weight):
        """The target that labels make, and these as it encodes them.

        Parameters
        ----------
        y : array-like of shape (n_images,)
        class_weight : dict, "balanced" or None
        """
        y = _check_y(y)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        return cls(classes, class_weights(class_weight, classes, y)), codes

    @property
    def n_outputs(self):
        """Of the network: one logit for two classes, else one for each."""
        return 1 if self._are_two else len(self.classes)

    def encode(self, y, name="y"):
        """Labels as integers, in the order of `classes`.

        Raises
        ------
        ValueError
            There are others among them.
        """
        y = column_or_1d(y)
        known = set(self.classes.tolist())
        unknown = [label for label in dict.fromkeys(y.tolist()) if label not in known]
        if unknown:
            raise ValueError(f"{name} has labels that y does not have: {unknown}")
        return np.searchsorted(self.classes, y)

    def weights_of(self, codes):
        """The weight of each image's class."""
        return self._class_weights[codes]

    def check(self, codes, weights):
        """Refuse what nothing can be learnt from."""
        weighted = self.classes[np.unique(codes[weights != 0])]
        if len(weighted) < 2:
            raise ValueError(
                f"y has one class only, {weighted.tolist()}, not counting images whose "
                "sample_weight or class_weight is zero; two are needed"
            )

    def keras_loss(self):
        from sktransfer._runtime.keras import keras

        if self._are_two:
            return keras.losses.BinaryCrossentropy(from_logits=True)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def keras_metric(self):
        from sktransfer._runtime.keras import keras

        if self._are_two:
            return keras.metrics.BinaryAccuracy(name=self.metric_name, threshold=0.0)
        return keras.metrics.SparseCategoricalAccuracy(name=self.metric_name)

    def losses(self, outputs, codes):
        """The log loss of each image, from outputs (n, n_outputs)."""
        if self._are_two:
            outputs = np.column_stack([np.zeros_like(outputs), outputs])
        return logsumexp(outputs, axis=1) - outputs[np.arange(len(codes)), codes]

    def loss_of_error(self, outputs, codes):
        """The mean loss of images of which the class is another one."""
        if self._are_two:
            return self.losses(outputs, 1 - codes).mean()
        own = outputs[np.arange(len(codes)), codes]
        others = (outputs.sum(axis=1) - own) / (outputs.shape[1] - 1)
        return (logsumexp(outputs, axis=1) - others).mean()

    def score(self, outputs, codes, weights):
        """The share of images that are classified rightly, weighted."""
        if not weights.any():
            return math.nan
        return np.average(self._chosen(outputs) == codes, weights=weights)

    def choose_strength(self, rows, codes, weights, seed):
        """The inverse strength of the penalty on a linear head."""
        return strength_by_folds(self, rows, codes, weights, seed)

    def linear_model(self, C, **parameters):
        """scikit-learn's solver of a linear head."""
        return LogisticRegression(C=C, max_iter=1000, **parameters)

    def n_held_out(self, asked):
        """How many images a split holds out: as many as there are classes at least."""
        return max(asked, len(self.classes))

    def split(self, codes, held_out, seed):
        """Positions to train on, and to judge by."""
        return train_test_split(
            np.arange(len(codes)),
            test_size=self.n_held_out(held_out),
            stratify=codes,
            random_state=seed,
        )

    def folds(self, codes, n_folds, seed):
        """Pairs of positions to train on and to judge by; none if a class has one image."""
        n_folds = min(n_folds, np.bincount(codes).min())
        if n_folds < 2:
            return []
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(len(codes)), codes))

    def in_keras(self, outputs):
        """Probabilities, of a tensor of outputs."""
        from sktransfer._runtime.keras import keras

        if self._are_two:
            both = keras.ops.concatenate([-outputs, outputs], axis=-1)
            return keras.ops.sigmoid(both)
        return keras.ops.softmax(outputs)

    def decision(self, outputs):
        """Outputs in the shape of scikit-learn's `decision_function`."""
        return outputs[:, 0] if self._are_two else outputs

    def predictions(self, outputs):
        """The most probable labels."""
        return self.classes[self._chosen(outputs)]

    def probabilities(self, outputs):
        """(n, n_classes), in the order of `classes`."""
        outputs = outputs.astype(np.float64)
        if self._are_two:
            return np.column_stack([expit(-outputs[:, 0]), expit(outputs[:, 0])])
        return softmax(outputs, axis=1)

    def _chosen(self, outputs):
        return (outputs[:, 0] > 0).astype(int) if self._are_two else outputs.argmax(axis=1)
