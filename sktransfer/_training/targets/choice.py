"""Which target labels are, as scikit-learn sees them."""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.multiclass import is_multilabel

from sktransfer._training.targets.classes import Classes
from sktransfer._training.targets.labels import Labels


def learnt_labels(y, class_weight):
    """The target that y makes, and y as it encodes it.

    Raises
    ------
    ValueError
        There are images without a label, or nothing can be learnt.
    """
    if not issparse(y):
        _refuse_missing(y)
    several = issparse(y) or is_multilabel(y)
    return (Labels if several else Classes).learnt(y, class_weight)


def fitted_labels(classes):
    """The target of a fitted classifier, by its `classes_`."""
    return Labels(len(classes)) if classes.ndim == 2 else Classes(classes)


def _refuse_missing(y):
    """Images without a label are left out, or labelled by others."""
    values = np.asarray(y, dtype=object)
    missing = [i for i, value in enumerate(values) if any(map(_is_missing, np.ravel(value)))]
    if missing:
        raise ValueError(
            f"Input y contains NaN or None: {len(missing)} images have no label, in rows "
            f"{', '.join(map(str, missing[:5]))}{', …' if missing[5:] else ''}. Leave them "
            "out; or give them the label -1, and fit scikit-learn's SelfTrainingClassifier to "
            "features: docs/targets.md has an example"
        )


def _is_missing(value):
    return value is None or is_scalar_nan(value) or is_pandas_na(value)
