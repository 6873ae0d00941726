"""Fitted steps of scikit-learn that are affine, as numbers.

To add a transformer, add a row to `TRANSFORMERS`. Displays and exported models follow.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import diags_array, eye_array
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectorMixin
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler


class NotAffineError(ValueError):
    """What a step does is no affine function, or it is not known to be one."""


@dataclass(frozen=True)
class Affine:
    """A row x → (x − centre) @ matrix + offset.

    Attributes
    ----------
    centre : float64 ndarray of shape (n_in,)
    matrix : float64 ndarray or sparse array of shape (n_in, n_out)
        A sparse one has one factor in each column.
    offset : float64 ndarray of shape (n_out,)
    """

    centre: np.ndarray
    matrix: object
    offset: np.ndarray

    @classmethod
    def of(cls, matrix, centre=None, offset=None):
        """One of which centre and offset, where they are not given, are zero."""
        n_in, n_out = matrix.shape
        centre = np.zeros(n_in) if centre is None else np.asarray(centre, np.float64)
        offset = np.zeros(n_out) if offset is None else np.asarray(offset, np.float64)
        return cls(centre, matrix, np.broadcast_to(offset, n_out))

    def then(self, other):
        """Both in one."""
        offset = (self.offset - other.centre) @ other.matrix + other.offset
        return Affine(self.centre, self.matrix @ other.matrix, offset)

    @property
    def constant(self):
        """What becomes of a row of zeros."""
        return self.offset - self.centre @ self.matrix


def affine_of(step):
    """What a fitted transformer makes of a row.

    Raises
    ------
    NotAffineError
        It is not in `TRANSFORMERS` and selects no columns, or a setting of it is not affine.
    """
    if isinstance(step, SelectorMixin):
        return _selected(step.get_support())
    if type(step) not in TRANSFORMERS:  # what is derived from one may do anything
        raise NotAffineError(type(step).__name__)
    return TRANSFORMERS[type(step)](step)


def decision_of(model):
    """What a linear model decides or predicts: one column for two classes or one number."""
    coef = np.atleast_2d(np.asarray(model.coef_, np.float64))
    return Affine.of(coef.T, offset=model.intercept_)


def _refuse_clipping(step):
    """Raise an error if a scaler clips."""
    if getattr(step, "clip", False):
        raise NotAffineError(f"{type(step).__name__}(clip=True)")


def _selected(support):
    return Affine.of(eye_array(len(support), format="csc")[:, np.flatnonzero(support)])


def _scaled(n, factors):
    """A diagonal matrix; no factors are ones."""
    return diags_array(np.ones(n) if factors is None else np.asarray(factors, np.float64))


def _inverse(scale):
    return None if scale is None else 1 / np.asarray(scale, np.float64)


def _standard_scaler(step):
    centre = step.mean_ if step.with_mean else None
    return Affine.of(_scaled(step.n_features_in_, _inverse(step.scale_)), centre=centre)


def _robust_scaler(step):
    return Affine.of(_scaled(step.n_features_in_, _inverse(step.scale_)), centre=step.center_)


def _max_abs_scaler(step):
    _refuse_clipping(step)
    return Affine.of(_scaled(step.n_features_in_, _inverse(step.scale_)))


def _min_max_scaler(step):
    _refuse_clipping(step)
    return Affine.of(_scaled(step.n_features_in_, step.scale_), offset=step.min_)


def _pca(step):
    matrix = step.components_.T.astype(np.float64)
    scale = np.sqrt(step.explained_variance_) if step.whiten else 1
    return Affine.of(matrix / scale, centre=step.mean_)


def _truncated_svd(step):
    return Affine.of(step.components_.T.astype(np.float64))


def _discriminants(step):
    if step.solver == "lsqr":
        raise NotAffineError(f"{type(step).__name__}(solver='lsqr')")
    centre = step.xbar_ if step.solver == "svd" else None
    return Affine.of(step.scalings_[:, : step._max_components], centre=centre)


TRANSFORMERS = {
    StandardScaler: _standard_scaler,
    RobustScaler: _robust_scaler,
    MaxAbsScaler: _max_abs_scaler,
    MinMaxScaler: _min_max_scaler,
    PCA: _pca,
    IncrementalPCA: _pca,
    TruncatedSVD: _truncated_svd,
    LinearDiscriminantAnalysis: _discriminants,
}
