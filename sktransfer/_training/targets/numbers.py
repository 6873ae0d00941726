"""One number for each image, or several."""

import math

import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, column_or_1d

from sktransfer._training.targets.strengths import StrengthChoice

STRENGTHS = np.logspace(-1, 5, 13)  # of `head_alpha`, when it is chosen


class Numbers:
    """Numbers, which are standardised to train on.

    Parameters
    ----------
    centre, scale : float64 ndarray of shape (n_outputs,)
        Of the numbers, one output a column.
    """

    kind = "numbers"
    metric_name = "r2"

    def __init__(self, centre, scale):
        self.centre, self.scale = centre, scale

    @classmethod
    def learnt(cls, y, weights):
        """The target that numbers make, and these as it encodes them.

        Parameters
        ----------
        y : array-like of shape (n_images,) or (n_images, n_outputs)
        weights : ndarray of shape (n_images,)
        """
        scaler = StandardScaler().fit(_columns(y, "y"), sample_weight=weights)
        target = cls(scaler.mean_, scaler.scale_)
        return target, target.encode(y)

    @property
    def n_outputs(self):
        """Of the network: one for each number."""
        return len(self.centre)

    def encode(self, y, name="y"):
        """Standardised numbers, of shape (n_images, n_outputs).

        Raises
        ------
        ValueError
            They are not as many for each image.
        """
        columns = _columns(y, name)
        if columns.shape[1] != self.n_outputs:
            raise ValueError(f"{name} has {columns.shape[1]} columns, and y {self.n_outputs}")
        return (columns - self.centre) / self.scale

    def weights_of(self, codes):
        """The weight of each image: all alike."""
        return np.ones(len(codes), dtype=np.float32)

    def check(self, codes, weights):
        """Refuse nothing: from any numbers something can be learnt."""

    def keras_loss(self):
        from sktransfer._runtime.keras import keras

        return keras.losses.MeanSquaredError()

    def keras_metric(self):
        from sktransfer._runtime.keras import keras

        def explained(codes, outputs):  # of images to train on, whose variance is 1
            errors = keras.ops.subtract(codes, outputs)
            return 1 - keras.ops.mean(keras.ops.square(errors), axis=-1)

        return keras.metrics.MeanMetricWrapper(explained, name=self.metric_name)

    def losses(self, outputs, codes):
        """The squared error of each image, the mean over its standardised numbers."""
        return np.square(outputs - codes).mean(axis=1)

    def loss_of_error(self, outputs, codes):
        """Nothing, since no number is predicted more surely than another."""
        return 0.0

    def score(self, outputs, codes, weights):
        """The coefficient of determination, the mean over outputs, weighted."""
        if np.count_nonzero(weights) < 2 or not np.isfinite(outputs).all():
            return math.nan
        return r2_score(codes, outputs, sample_weight=weights)

    def choose_strength(self, rows, codes, weights, seed):
        """The strength of the penalty on a linear head, by generalised cross-validation."""
        model = RidgeCV(STRENGTHS, store_cv_results=True)
        model.fit(rows, codes, sample_weight=weights)
        # Squared errors, weighted, by image, number and strength.
        totals = (
            model.cv_results_.reshape(len(rows), -1, len(STRENGTHS)).mean(axis=1).sum(axis=0)
        )
        return StrengthChoice.by(STRENGTHS, totals / weights.sum())

    def linear_model(self, alpha):
        """scikit-learn's solver of a linear head."""
        return Ridge(alpha)

    def n_held_out(self, asked):
        """How many images a split holds out: two at least, for they are to vary."""
        return max(asked, 2)

    def split(self, codes, held_out, seed):
        """Positions to train on, and to judge by."""
        held_out = self.n_held_out(held_out)
        return train_test_split(np.arange(len(codes)), test_size=held_out, random_state=seed)

    def folds(self, codes, n_folds, seed):
        """Pairs of positions to train on and to judge by; none of a single image."""
        n_folds = min(n_folds, len(codes))
        if n_folds < 2:
            return []
        return list(KFold(n_folds, shuffle=True, random_state=seed).split(codes))

    def in_keras(self, outputs):
        """Numbers, of a tensor of outputs."""
        return outputs * self.scale.astype(np.float32) + self.centre.astype(np.float32)

    def predictions(self, outputs):
        """Numbers, of shape (n_images,) if there is one for each image."""
        numbers = outputs * self.scale + self.centre
        return numbers[:, 0] if self.n_outputs == 1 else numbers


def _columns(y, name):
    """Numbers as a matrix, one output a column."""
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name=name)
    return y if y.ndim == 2 and y.shape[1] > 1 else column_or_1d(y, warn=True)[:, np.newaxis]
