"""What users pass as X → a checked sequence of sources, one image each."""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from sktransfer._decoding import is_image
from sktransfer._exceptions import BadRow, InvalidImagesError

CHANNELS = (1, 3)


def check_images(estimator, X, *, reset):
    """Check the shape of X and split it into images, which are not opened.

    Sets or checks ``n_features_in_`` and ``feature_names_in_`` of the estimator, whose
    ``image_shape`` parameter says how the rows of a 2-D X are images.

    Parameters
    ----------
    estimator : estimator with a parameter `image_shape`
    X : sequence of paths, encoded files, PIL images or arrays; a column of them; or \
            array of shape (n, h, w), (n, h, w, c) or (n, prod(image_shape))
    reset : bool
        True in `fit`.

    Returns
    -------
    sources : sequence
        One source for each row, as `_decoding.load` takes it.
    """
    _refuse_single_image(X)
    if isinstance(X, dict) and not issparse(X):  # scipy's dok_matrix is both
        raise TypeError(
            "X is a dictionary, not a sequence of images; what sklearn.datasets.load_files "
            "returns has the paths in its attribute 'filenames'"
        )
    column = _column_of_images(X)
    if column is not None:
        return _check_column(estimator, X, column, reset)
    if not (hasattr(X, "columns") or issparse(X)):
        X = np.asarray(X)
        if X.ndim in (3, 4):
            return _check_stack(estimator, X, reset)
    return _check_table(estimator, X, reset)


def _refuse_single_image(X):
    if is_image(X) and not isinstance(X, np.ndarray):
        raise ValueError(f"X is one image ({X!r:.80}), not a sequence of them: pass [X]")


def _column_of_images(X):
    """The images one by one, or None where X holds numbers."""
    if isinstance(X, (list, tuple)):
        return list(X) if any(map(is_image, X)) else None
    if issparse(X) or getattr(X, "ndim", len(getattr(X, "shape", ()))) > 2:
        return None
    array = X if isinstance(X, np.ndarray) else np.asarray(X)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind not in "OUST" or array.ndim != 1:
        return _refuse_several_columns(array)
    column = list(array)
    return column if any(map(is_image, column)) else None


def _refuse_several_columns(array):
    if array.ndim == 2 and array.dtype.kind in "OUST" and len(array):
        images = sum(is_image(value) for value in array[0])
        if images and array.shape[1] > 1:
            raise ValueError(
                f"X has {array.shape[1]} columns, {images} of them of images: choose one, "
                "with X[['column']] or with ColumnTransformer"
            )


def _check_column(estimator, X, column, reset):
    if hasattr(X, "columns"):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    if reset:
        estimator.n_features_in_ = 1
    return column


def _check_stack(estimator, X, reset):
    if len(X) == 0:
        raise ValueError(f"X has 0 images (shape={X.shape}), a minimum of 1 is required")
    if X.ndim == 3 and X.shape[2] in (3, 4):
        raise ValueError(
            f"X of shape {X.shape} looks like one colour image, not (n, h, w) grey ones: "
            "pass X[np.newaxis]"
        )
    if X.ndim == 4 and X.shape[3] not in CHANNELS:
        first = X.shape[1] in CHANNELS
        hint = "channels come last: X.transpose(0, 2, 3, 1)" if first else "1 or 3 are used"
        raise ValueError(f"X of shape {X.shape} has {X.shape[3]} channels; {hint}")
    if X.dtype.kind not in "buif":
        raise ValueError(f"X has dtype {X.dtype}, not a real number's")
    if X.dtype.kind == "f":
        _refuse_not_finite(X)
    if reset:
        estimator.n_features_in_ = int(np.prod(X.shape[1:]))
    return X


def _refuse_not_finite(X):
    bad = [row for row, image in enumerate(X) if not np.isfinite(image).all()]
    if bad:
        reason = "has NaN or infinity among its pixels"
        raise InvalidImagesError(BadRow(row, None, reason) for row in bad)


def _check_table(estimator, X, reset):
    X = validate_data(estimator, X, reset=reset)
    shape = estimator.image_shape
    if shape is None:
        raise ValueError(
            f"X of shape {X.shape} holds numbers in two dimensions. If its rows are "
            "flattened images, say so: image_shape=(height, width) or (height, width, 3)"
        )
    try:
        return X.reshape(len(X), *shape)
    except ValueError:
        raise ValueError(
            f"{X.shape[1]} columns do not make an image of image_shape={shape}"
        ) from None
