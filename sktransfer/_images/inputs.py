"""What users pass as X → a checked sequence of sources, one image each."""

import os
from collections.abc import Iterator, MappingView, Set

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from sktransfer._exceptions import warn
from sktransfer._images.containers import recipe_for, remedy_for
from sktransfer._images.sources import is_image, path_of
from sktransfer._runtime.checks import is_shape

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
        One source for each row, as `sources.content_of` takes it; none only if not `reset`,
        since what divides images into parts may leave a part empty.
    """
    _refuse_what_is_no_sequence(X)
    if _is_empty(X):
        if reset:
            raise ValueError("X has 0 images: a minimum of 1 is required")
        return []
    if np.ma.is_masked(X):
        raise ValueError(
            "X has masked values, and pixels have none: fill them, X.filled(value)"
        )
    column = _column_of_images(X)
    if column is not None:
        return _check_column(estimator, X, column, reset)
    if not (hasattr(X, "columns") or issparse(X)):
        X = np.asarray(X)
        if X.ndim in (3, 4):
            return _check_stack(estimator, X, reset)
    return _check_table(estimator, X, reset)


def _refuse_what_is_no_sequence(X):
    if is_image(X) and not isinstance(X, np.ndarray):
        if path_of(X) and os.path.isdir(X):
            raise ValueError(f"X is a folder: pass load_image_folder({X!r:.80}).filenames")
        raise ValueError(f"X is one image ({X!r:.80}), not a sequence of them: pass [X]")
    recipe, remedy = recipe_for(X), remedy_for(X)
    if recipe:
        library = type(X).__module__.partition(".")[0]
        raise TypeError(
            f"X is a {type(X).__name__} of {library}, whose parts are on workers: fit on "
            f"images that are here, then map over the parts: {recipe}"
        )
    if remedy:
        raise TypeError(f"X is a {type(X).__name__}, not a sequence of images: pass {remedy}")
    if issparse(X):
        return
    if isinstance(X, dict):
        raise TypeError(
            "X is a dictionary, not a sequence of images; what load_image_folder returns has "
            "the paths in its attribute 'filenames'"
        )
    if isinstance(X, (Iterator, Set, MappingView)):
        raise TypeError(f"X is a {type(X).__name__}, not a sequence of images: pass list(X)")


def _is_empty(X):
    if hasattr(X, "shape"):
        return X.shape[:1] == (0,)
    return isinstance(X, (list, tuple)) and not X


def _column_of_images(X):
    """The images one by one, or None where X holds numbers."""
    if isinstance(X, (list, tuple)) and any(map(is_image, X)):
        return list(X)
    if issparse(X) or len(getattr(X, "shape", ())) > 2:
        return None
    array = X if isinstance(X, np.ndarray) else np.asarray(X)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind == "f" and array.ndim == 1 and np.isnan(array).all():
        return list(array)  # missing values and nothing else
    if array.dtype.kind not in "OUST":
        return None
    if array.ndim == 1:
        return list(array)
    _refuse_several_columns(array)
    return None


def _refuse_several_columns(array):
    images = sum(map(is_image, array[0])) if array.ndim == 2 else 0
    if images:
        raise ValueError(
            f"X has {array.shape[1]} columns, {images} of them of images: choose one, "
            "with X[['column']] or with ColumnTransformer"
        )


def _check_column(estimator, X, column, reset):
    if reset or hasattr(X, "columns"):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    if reset:
        estimator.n_features_in_ = 1
    _warn_of_range(estimator, [source for source in column if isinstance(source, np.ndarray)])
    return column


def _check_stack(estimator, X, reset):
    if X.ndim == 3 and X.shape[2] in (3, 4):
        raise ValueError(
            f"X of shape {X.shape} looks like one colour image, not (n, h, w) grey ones: "
            "pass X[np.newaxis]"
        )
    if X.ndim == 4 and X.shape[3] not in CHANNELS:
        first = X.shape[1] in CHANNELS
        hint = "channels come last: X.transpose(0, 2, 3, 1)" if first else "1 or 3 are used"
        hint = "without the last: X[..., :3]" if X.shape[3] == 4 else hint
        raise ValueError(f"X of shape {X.shape} has {X.shape[3]} channels; {hint}")
    if X.dtype.kind not in "buif":
        raise ValueError(f"X has dtype {X.dtype}, not a real number's")
    if reset:
        validate_data(estimator, X, reset=True, skip_check_array=True)
        estimator.n_features_in_ = int(np.prod(X.shape[1:]))
    _warn_of_range(estimator, X)
    return X


def _warn_of_range(estimator, arrays):
    """Numbers from 0 to 1 where 0 to 255 are expected make nearly black images."""
    if tuple(estimator.input_range) != (0, 255):
        return
    if not len(arrays) or any(a.dtype.kind != "f" or not a.size for a in arrays):
        return
    if all(a.max() <= 1 for a in arrays) and any(a.max() > 0 for a in arrays):
        warn(
            "all pixels of X are between 0 and 1, which is nearly black under "
            "input_range=(0, 255): is input_range=(0, 1) meant?"
        )


def _check_table(estimator, X, reset):
    X = validate_data(estimator, X, reset=reset)
    shape = estimator.image_shape
    if shape is None:
        raise ValueError(
            f"X of shape {X.shape} holds numbers in two dimensions. If its rows are "
            "flattened images, say so: image_shape=(height, width) or (height, width, 3)"
        )
    sides = tuple(1 if side == -1 else side for side in shape)
    if not is_shape(sides, lengths=(2, 3)) or sides[2:] not in ((), (1,), (3,)):
        raise ValueError(
            f"image_shape={shape} is not (height, width), (height, width, 1) or "
            "(height, width, 3)"
        )
    try:
        images = X.reshape(len(X), *shape)
    except ValueError:
        raise ValueError(
            f"{X.shape[1]} columns do not make an image of image_shape={shape}"
        ) from None
    _warn_of_range(estimator, images)
    return images
