"""A head without hidden layers: a linear model of rows, solved to its optimum.

Training such a head is a convex problem, for which scikit-learn has a solver: better than
epochs of mini-batches, and much quicker. It is solved in double precision: in single, the
solver may see no way down any more before it is there, and warns.
"""

import numpy as np
from sklearn import get_config
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

ROW_BYTES = 4 + 8  # of each feature, as it is kept and as it is solved
LEAST_SCALE = 0.1  # of the root mean square of all: other images may wake a sleeping channel


def views_within_memory(views, n_images, n_features):
    """As many of the views as can be solved within scikit-learn's ``working_memory``."""
    limit = get_config()["working_memory"] * 2**20
    return views[: int(limit // (ROW_BYTES * n_images * n_features))]


class LinearHead:
    """A penalised linear model of standardised rows.

    What is standardised is a channel: its features are centred one by one, and divided by the
    root of their mean variance over all positions, since a feature that varies little where
    its channel varies much elsewhere is no less of that channel. Channels that vary hardly at
    all are divided by more: an image that wakes one would have a logit of thousands.

    Parameters
    ----------
    rows : float32 ndarray of shape (n_views, n_images, n_features)
        Standardised in place. The first view is the unaltered one.
    n_channels : int
        Channels come last: features i and i + n_channels are of the same one.
    y : ndarray of shape (n_images,) or (n_images, n_outputs)
        As `target` encodes it.
    weights : ndarray of shape (n_images,)
        Weights of images, which all views of one share.
    target : object
        As `targets` describes it.
    """

    def __init__(self, rows, n_channels, y, weights, target):
        self._rows, self._y, self._weights, self._target = rows, y, weights, target
        moments = StandardScaler()
        for view in rows:
            moments.partial_fit(view, sample_weight=weights)
        self._centre = moments.mean_
        by_position = moments.var_.reshape(-1, n_channels)
        scales = np.sqrt(by_position.mean(axis=0))
        scales = np.maximum(scales, LEAST_SCALE * np.sqrt(np.mean(scales**2)))
        scales[scales == 0] = 1  # all images are alike
        self._scale = np.tile(scales, len(by_position))
        rows -= self._centre.astype(np.float32)
        rows /= self._scale.astype(np.float32)

    def choose_strength(self, seed):
        """The strength that suits unaltered images, as the target chooses it."""
        with _one_blas_thread():
            rows = _in_fewest_coordinates(self._rows[0]).astype(np.float64)
            return self._target.choose_strength(rows, self._y, self._weights, seed)

    def solve(self, strength):
        """The kernel (n_features, n_outputs) and bias (n_outputs,) of the network's head."""
        n_views, _, n_features = self._rows.shape
        with _one_blas_thread():
            model = self._target.linear_model(strength).fit(
                self._rows.reshape(-1, n_features).astype(np.float64),
                np.concatenate([self._y] * n_views),
                sample_weight=np.tile(self._weights / np.float32(n_views), n_views),
            )
        kernel = np.atleast_2d(model.coef_) / self._scale
        bias = model.intercept_ - kernel @ self._centre
        return [kernel.T.astype(np.float32), bias.astype(np.float32)]


def _one_blas_thread():
    """In steps so small, threads wait for one another: up to seven times as long.

    And the last bits do not depend on how many there are, which joblib's processes limit.
    """
    return threadpool_limits(1, user_api="blas")


def _in_fewest_coordinates(rows):
    """Rows in a basis of the space they span: a penalised regression sees no difference."""
    n_images, n_features = rows.shape
    return np.linalg.qr(rows.T, mode="r").T if n_images < n_features else rows
