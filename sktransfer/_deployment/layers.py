"""Fitted steps of scikit-learn as layers of Keras.

To add a step, add a row to `TRANSFORMERS` or to `PREDICTORS`.

A step is a sequence of parts, of which each makes a tensor of a tensor. `Affine` parts that
follow one another become one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import diags_array, eye_array, issparse
from sklearn import (
    decomposition,
    discriminant_analysis,
    feature_selection,
    linear_model,
    multiclass,
    multioutput,
    preprocessing,
    svm,
)

from sktransfer._runtime.keras import keras


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

    def __call__(self, x):
        if self.centre.any():
            x = x - self.centre.astype(np.float32)
        if issparse(self.matrix):
            return self._by_column(x)
        layer = keras.layers.Dense(len(self.offset))
        y = layer(x)
        layer.set_weights([self.matrix, self.offset])
        return y

    def _by_column(self, x):
        columns = self.matrix.tocsc()
        if not np.array_equal(columns.indices, np.arange(x.shape[-1])):
            x = keras.ops.take(x, columns.indices, axis=-1)
        x = x * columns.data.astype(np.float32)
        return x + self.offset.astype(np.float32) if self.offset.any() else x


def merged(parts):
    """The same parts, those that are affine and follow one another in one."""
    fewer = []
    for part in parts:
        if fewer and isinstance(part, Affine) and isinstance(fewer[-1], Affine):
            part = fewer.pop().then(part)
        fewer.append(part)
    return fewer


def parts_of(steps):
    """The parts of fitted steps, of which the last may predict.

    Raises
    ------
    ValueError
        There are no layers that do the same as one of them.
    """
    for step in steps:
        table = TRANSFORMERS | PREDICTORS if step is steps[-1] else TRANSFORMERS
        if type(step) not in table:
            known = ", ".join(sorted(kind.__name__ for kind in table))
            raise ValueError(
                f"a Keras model cannot do what {type(step).__name__} does here, but what "
                f"these do: {known}. sktransfer.bundle stores any estimator"
            )
        yield from table[type(step)](step)


def _refuse(step, setting):
    raise ValueError(
        f"a Keras model cannot do what {type(step).__name__}({setting}) does; "
        "sktransfer.bundle stores any estimator"
    )


def _scaled(n, factors):
    """A diagonal matrix; no factors are ones."""
    return diags_array(np.ones(n) if factors is None else np.asarray(factors, np.float64))


def _inverse(scale):
    return None if scale is None else 1 / np.asarray(scale, np.float64)


def _standard_scaler(step):
    centre = step.mean_ if step.with_mean else None
    yield Affine.of(_scaled(step.n_features_in_, _inverse(step.scale_)), centre=centre)


def _robust_scaler(step):
    yield Affine.of(_scaled(step.n_features_in_, _inverse(step.scale_)), centre=step.center_)


def _max_abs_scaler(step):
    if getattr(step, "clip", False):
        _refuse(step, "clip=True")
    yield Affine.of(_scaled(step.n_features_in_, _inverse(step.scale_)))


def _min_max_scaler(step):
    if step.clip:
        _refuse(step, "clip=True")
    yield Affine.of(_scaled(step.n_features_in_, step.scale_), offset=step.min_)


def _normalizer(step):
    norms = {
        "l1": lambda x: keras.ops.sum(keras.ops.abs(x), axis=-1, keepdims=True),
        "l2": lambda x: keras.ops.sqrt(keras.ops.sum(x * x, axis=-1, keepdims=True)),
        "max": lambda x: keras.ops.max(keras.ops.abs(x), axis=-1, keepdims=True),
    }
    norm_of = norms[step.norm]

    def normalized(x):
        norm = norm_of(x)
        return x / keras.ops.where(norm == 0, 1.0, norm)

    yield normalized


def _selector(step):
    columns = np.flatnonzero(step.get_support())
    yield Affine.of(eye_array(step.n_features_in_, format="csc")[:, columns])


def _pca(step):
    scale = np.sqrt(step.explained_variance_) if step.whiten else None
    matrix = step.components_.T.astype(np.float64)
    yield Affine.of(matrix if scale is None else matrix / scale, centre=step.mean_)


def _truncated_svd(step):
    yield Affine.of(step.components_.T.astype(np.float64))


def _discriminants(step):
    if step.solver == "lsqr":
        _refuse(step, "solver='lsqr'")
    centre = step.xbar_ if step.solver == "svd" else None
    yield Affine.of(step.scalings_[:, : step._max_components], centre=centre)


def _linear(step):
    """What a linear model decides, or predicts: one column for two classes or one number."""
    coef = np.atleast_2d(np.asarray(step.coef_, np.float64))
    yield Affine.of(coef.T, offset=step.intercept_)


def _softmax(step):
    yield from _linear(step)
    yield _of_two if len(step.classes_) == 2 else keras.ops.softmax


def _sgd_classifier(step):
    yield from _linear(step)
    if step.loss == "log_loss":
        yield _of_two if len(step.classes_) == 2 else _shared
    elif hasattr(step, "predict_proba"):
        _refuse(step, f"loss={step.loss!r}")


def _one_vs_rest(step):
    yield _side_by_side(step, step.estimators_)
    if step.multilabel_:
        yield keras.ops.sigmoid
    else:
        yield _of_two if len(step.classes_) == 2 else _shared


def _one_per_label(step):
    yield _side_by_side(step, step.estimators_)
    yield keras.ops.sigmoid


def _side_by_side(step, models):
    """The decisions of logistic regressions between two classes each."""
    for model in models:
        if type(model) is not linear_model.LogisticRegression or len(model.classes_) != 2:
            _refuse(step, "of other than two classes each, by LogisticRegression")
    coef = np.concatenate([model.coef_ for model in models]).astype(np.float64)
    return Affine.of(coef.T, offset=np.concatenate([model.intercept_ for model in models]))


def _of_two(x):
    """The probabilities of both classes, of the logit of the second."""
    return keras.ops.sigmoid(keras.ops.concatenate([-x, x], axis=-1))


def _shared(x):
    """Probabilities of classes, each of which was judged by itself."""
    p = keras.ops.sigmoid(x)
    return p / keras.ops.sum(p, axis=-1, keepdims=True)


TRANSFORMERS = {
    preprocessing.StandardScaler: _standard_scaler,
    preprocessing.RobustScaler: _robust_scaler,
    preprocessing.MaxAbsScaler: _max_abs_scaler,
    preprocessing.MinMaxScaler: _min_max_scaler,
    preprocessing.Normalizer: _normalizer,
    decomposition.PCA: _pca,
    decomposition.IncrementalPCA: _pca,
    decomposition.TruncatedSVD: _truncated_svd,
    feature_selection.SelectFromModel: _selector,
    feature_selection.SelectKBest: _selector,
    feature_selection.SelectPercentile: _selector,
    feature_selection.VarianceThreshold: _selector,
    discriminant_analysis.LinearDiscriminantAnalysis: _discriminants,
}
PREDICTORS = {
    linear_model.LogisticRegression: _softmax,
    linear_model.LogisticRegressionCV: _softmax,
    linear_model.SGDClassifier: _sgd_classifier,
    linear_model.RidgeClassifier: _linear,
    linear_model.RidgeClassifierCV: _linear,
    svm.LinearSVC: _linear,
    discriminant_analysis.LinearDiscriminantAnalysis: _softmax,
    multiclass.OneVsRestClassifier: _one_vs_rest,
    multioutput.MultiOutputClassifier: _one_per_label,
    linear_model.ElasticNet: _linear,
    linear_model.Lasso: _linear,
    linear_model.LinearRegression: _linear,
    linear_model.Ridge: _linear,
    linear_model.RidgeCV: _linear,
    linear_model.SGDRegressor: _linear,
    svm.LinearSVR: _linear,
}
