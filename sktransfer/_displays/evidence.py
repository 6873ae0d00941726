"""Where in images the evidence for a class or a number lies: three ways to find out.

``"linear"``, of a linear model of features of ours, is exact; ``"gradient"`` is of a
fine-tuned network; ``"occlusion"`` is of any estimator. To add a way, write a function like
`_linear_maps`, which returns None where it does not apply, and add it to `METHODS`.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from sktransfer._affine import Affine, NotAffineError, affine_of, decision_of
from sktransfer._displays.tiles import LONGEST
from sktransfer._images.decoding import decode
from sktransfer._images.sources import content_of
from sktransfer._transformer import PretrainedFeatureTransformer

BATCH = 16  # images at a time through a network's gradient
N_CELLS = 7  # of an occlusion map, along each side …
COVERED = 3  # … of which so many are covered at a time
TOLERANCE = 1e-3  # of a linear model's outputs, relative to the largest


@dataclass(frozen=True)
class Wanted:
    """What the evidence is for.

    Attributes
    ----------
    names : ndarray of shape (n_images,)
        A class, a label, or the number of an output.
    outputs : int ndarray of shape (n_images,)
        The column of a decision function, or of numbers.
    signs : ndarray of shape (n_images,)
        -1 for the first of two classes, whose decision function is the second's.
    """

    names: np.ndarray
    outputs: np.ndarray
    signs: np.ndarray

    @classmethod
    def of(cls, estimator, X, target, n):
        """That of a target as `ActivationMapDisplay.from_estimator` takes it."""
        classes = getattr(estimator, "classes_", None)
        if not is_classifier(estimator) or np.ndim(classes) != 1:
            names = _names_of_outputs(estimator)
            target = (names[0] if len(names) else 0) if target is None else target
            targets = np.broadcast_to(target, n)
            outputs = _places(targets, names) if len(names) else targets.astype(int)
            return cls(targets, outputs, np.ones(n))
        targets = estimator.predict(X) if target is None else np.broadcast_to(target, n)
        outputs, signs = _places(targets, classes), np.ones(n)
        if len(classes) == 2:
            outputs, signs = np.zeros(n, dtype=int), 2.0 * outputs - 1
        return cls(np.asarray(targets), outputs, signs)

    def values(self, estimator, X, repeats=1):
        """What an estimator makes of images, `repeats` of them for each, as one number."""
        outputs, signs = np.repeat(self.outputs, repeats), np.repeat(self.signs, repeats)
        made = _decisions(estimator, X)
        return signs * made.reshape(len(made), -1)[np.arange(len(made)), outputs]


@dataclass(frozen=True)
class Evidence:
    """What each place of images says for what is wanted.

    Attributes
    ----------
    maps : ndarray of shape (n_images, height, width)
    method : str
    """

    maps: np.ndarray
    method: str


def evidence_of(estimator, X, pictures, wanted, method="auto"):
    """The evidence that a method finds, or the first one that applies.

    Raises
    ------
    ValueError
        The method does not apply, or there is none of that name.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    if method not in ("auto", *METHODS):
        raise ValueError(f"method={method!r} is none of {('auto', *METHODS)}")
    for name, maps_of in METHODS.items() if method == "auto" else [(method, METHODS[method])]:
        maps = maps_of(estimator, X, pictures, wanted)
        if maps is not None:
            return Evidence(maps, name)
    raise ValueError(f"method={method!r} does not apply: {WHERE[method]}")


def _linear_maps(estimator, X, pictures, wanted):
    """Exact, of features of one layer, pooled or flattened, any scalers and a linear model."""
    if not isinstance(estimator, Pipeline) or len(estimator) < 2:
        return None
    features, *middle, model = [step for _, step in estimator.steps]
    is_ours = isinstance(features, PretrainedFeatureTransformer)
    if not (is_ours and hasattr(model, "coef_") and hasattr(model, "intercept_")):
        return None
    if isinstance(features.layer, list):
        return None
    try:
        parts = [affine_of(step) for step in middle if step not in (None, "passthrough")]
    except NotAffineError:
        return None
    linear = reduce(Affine.then, [*parts, decision_of(model)])
    rows = _rows_of(features, X)
    if rows.ndim != 4:
        return None
    values = wanted.values(estimator, X)
    maps = _contributions(rows, linear.matrix.T[wanted.outputs], features.pooling)
    maps *= wanted.signs[:, np.newaxis, np.newaxis]
    constant = wanted.signs * linear.constant[wanted.outputs]
    error = np.abs(maps.sum(axis=(1, 2)) + constant - values).max()
    is_linear = error <= TOLERANCE * max(np.abs(values).max(), 1)
    return maps if is_linear else None


def _rows_of(features, X):
    """The maps below a transformer's pooling: (n_images, height, width, n_channels)."""
    below = PretrainedFeatureTransformer(
        **{**features.get_params(deep=False), "pooling": None}
    )
    rows = np.asarray(below.fit(X).transform(X))
    return rows.reshape(len(rows), *below.feature_shape_)


def _contributions(rows, coef, pooling):
    """What each place of maps contributes to the sum of pooled features times `coef`."""
    n, height, width, n_channels = rows.shape
    if pooling is None:
        return (rows * coef.reshape(rows.shape)).sum(axis=3)
    if pooling == "avg":
        return np.einsum("nhwc,nc->nhw", rows, coef) / (height * width)
    flat = rows.reshape(n, -1, n_channels)  # a maximum is at one place
    maps = np.zeros(flat.shape[:2])
    images = np.repeat(np.arange(n), n_channels)
    np.add.at(maps, (images, flat.argmax(axis=1).ravel()), (flat.max(axis=1) * coef).ravel())
    return maps.reshape(n, height, width)


def _gradient_maps(estimator, X, pictures, wanted):
    """HiResCAM of a fine-tuned network."""
    fitted = getattr(estimator, "_fitted", None)
    if fitted is None:
        return None
    from sktransfer._training.evidence import evidence_maps

    pixels = [
        decode(content_of(source), fitted.input_size, fitted.input_range)
        for source in pictures.sources
    ]
    maps = []
    for start in range(0, len(pixels), BATCH):
        some = slice(start, start + BATCH)
        made = evidence_maps(fitted, pixels[some], wanted.outputs[some])
        if made is None:
            return None
        maps.append(made)
    return np.concatenate(maps) * wanted.signs[:, np.newaxis, np.newaxis]


def _occlusion_maps(estimator, X, pictures, wanted):
    """By how much less an image speaks for what is wanted, where a part of it is grey.

    M. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", 2014.
    """
    n, places = len(pictures), N_CELLS - COVERED + 1
    images = [_as_array(pictures, i) for i in range(n)]
    covered = [one for image in images for one in _covered(image, places)]
    values = wanted.values(estimator, _like(X, images))
    less = wanted.values(estimator, _like(X, covered), repeats=places**2)
    drops = values[:, np.newaxis, np.newaxis] - less.reshape(n, places, places)
    maps, counts = np.zeros((n, N_CELLS, N_CELLS)), np.zeros((N_CELLS, N_CELLS))
    for row in range(places):
        for column in range(places):
            cells = np.s_[row : row + COVERED, column : column + COVERED]
            maps[:, *cells] += drops[:, row, column, np.newaxis, np.newaxis]
            counts[cells] += 1
    return maps / counts


def _covered(image, places):
    """An image with a part of it grey, row by row."""
    height, width = image.shape[:2]
    grey = image.mean(axis=(0, 1))
    for row in range(places):
        for column in range(places):
            ends = np.array([row, row + COVERED, column, column + COVERED]) / N_CELLS
            top, bottom, left, right = np.rint(ends * [height, height, width, width]).astype(
                int
            )
            covered = image.copy()
            covered[top:bottom, left:right] = grey
            yield covered


def _as_array(pictures, i):
    """An image as an array that an estimator takes for it: a file's in `input_range`."""
    source = pictures.sources[i]
    if isinstance(source, np.ndarray):
        return source
    pixels = pictures.thumbnail(i, LONGEST).pixels
    low, high = pictures.input_range
    if (low, high) == (0, 255):
        return pixels
    return (low + pixels * np.float32((high - low) / 255)).astype(np.float32)


def _like(X, images):
    """Images in a container like X."""
    shape = getattr(X, "shape", ())
    if len(shape) == 2 and shape[1] > 1:
        return np.stack([image.ravel() for image in images])
    return np.stack(images) if len(shape) > 2 else images


def _decisions(estimator, X):
    """Logits of classes or labels, or numbers."""
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(X))
    if not hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict(X), dtype=float)
    made = estimator.predict_proba(X)
    if isinstance(made, list):  # scikit-learn's way with several labels
        made = np.column_stack([1 - of_label[:, 0] for of_label in made])
    made = np.clip(made, 1e-6, 1 - 1e-6)
    two_classes = made.shape[1] == 2 and np.ndim(getattr(estimator, "classes_", ())) == 1
    return np.log(made / (1 - made))[:, int(two_classes) :]


def _names_of_outputs(estimator):
    names = getattr(estimator, "label_names_", None)
    return [] if names is None else list(names)


def _places(targets, classes):
    """The place of each target among the classes."""
    known = {name: i for i, name in enumerate(np.asarray(classes).tolist())}
    unknown = [one for one in dict.fromkeys(targets.tolist()) if one not in known]
    if unknown:
        raise ValueError(f"target has {unknown}, and the classes are {list(known)}")
    return np.array([known[one] for one in targets.tolist()])


METHODS = {"linear": _linear_maps, "gradient": _gradient_maps, "occlusion": _occlusion_maps}
WHERE = {
    "linear": "it is of a Pipeline of features of one layer with places, scalers and a linear "
    "model",
    "gradient": "it is of a fine-tuned classifier or regressor whose network has a last map",
}
