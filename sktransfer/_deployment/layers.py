"""Fitted steps of scikit-learn as layers of Keras.

To add what predicts, add a row to `PREDICTORS`; what is affine is in `_affine`.

A step is a sequence of parts, of which each makes a tensor of a tensor. `Affine` parts that
follow one another become one.
"""

import numpy as np
from scipy.sparse import issparse
from sklearn import (
    discriminant_analysis,
    linear_model,
    multiclass,
    multioutput,
    preprocessing,
    svm,
)

from sktransfer._affine import TRANSFORMERS, Affine, NotAffineError, affine_of, decision_of
from sktransfer._runtime.keras import keras


def applied(part, x):
    """What a part makes of a tensor."""
    if not isinstance(part, Affine):
        return part(x)
    if part.centre.any():
        x = x - part.centre.astype(np.float32)
    if issparse(part.matrix):
        return _by_column(part, x)
    layer = keras.layers.Dense(len(part.offset))
    y = layer(x)
    layer.set_weights([part.matrix, part.offset])
    return y


def _by_column(affine, x):
    columns = affine.matrix.tocsc()
    if not np.array_equal(columns.indices, np.arange(x.shape[-1])):
        x = keras.ops.take(x, columns.indices, axis=-1)
    x = x * columns.data.astype(np.float32)
    return x + affine.offset.astype(np.float32) if affine.offset.any() else x


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
        if type(step) in PREDICTORS and step is steps[-1]:
            yield from PREDICTORS[type(step)](step)
        elif type(step) is preprocessing.Normalizer:
            yield _normalizer(step)
        else:
            yield _transformer(step, is_last=step is steps[-1])


def _transformer(step, is_last):
    try:
        return affine_of(step)
    except NotAffineError as error:
        known = [preprocessing.Normalizer, *TRANSFORMERS, *(PREDICTORS if is_last else ())]
        names = ", ".join(sorted({kind.__name__ for kind in known}))
        raise ValueError(
            f"a Keras model cannot do what {error} does here, but what selectors of columns "
            f"and these do: {names}. sktransfer.bundle stores any estimator"
        ) from None


def _refuse(step, setting):
    raise ValueError(
        f"a Keras model cannot do what {type(step).__name__}({setting}) does; "
        "sktransfer.bundle stores any estimator"
    )


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

    return normalized


def _linear(step):
    yield decision_of(step)


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
