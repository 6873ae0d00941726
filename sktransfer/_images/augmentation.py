"""`ImageAugmentation`: parameters and an image's digest → one altered view of the image."""

import hashlib
import json
from numbers import Integral, Real
from typing import Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from sktransfer._images.sources import digest_of

BEYOND = {"nearest": "edge", "reflect": "symmetric", "wrap": "wrap", "constant": "constant"}


class ImageAugmentation(BaseEstimator):
    """Random views of training images: turned, shifted, sheared, zoomed, mirrored.

    A view is drawn from the image's content, the number of the view and these parameters, and
    from nothing else: the third view of an image is the same in every fold, candidate and
    repetition, and so is what a frozen network makes of it.

    Parameters
    ----------
    rotation_range : float, default=10.0
        Turn by an angle between plus and minus this many degrees.

    width_shift_range : float, default=0.1
        Shift sideways by up to this fraction of the width, either way.

    height_shift_range : float, default=0.1
        Shift up or down by up to this fraction of the height.

    shear_range : float, default=0.0
        Shear by an angle between plus and minus this many degrees.

    zoom_range : float, default=0.1
        Enlarge or shrink each side by a factor between 1 minus and 1 plus this.

    horizontal_flip : bool, default=False
        Mirror a view left to right, with a probability of one half: right for most
        photographs, wrong for letters and digits.

    vertical_flip : bool, default=False
        Mirror a view top to bottom, with a probability of one half.

    brightness_range : float, default=0.0
        Multiply all pixels by a factor between 1 minus and 1 plus this, then clip.

    fill_mode : {"nearest", "reflect", "wrap", "constant"}, default="nearest"
        What lies beyond the edges: the last pixel, the image mirrored, the image again, or
        black.

    seed : int, default=0
        Another seed, other views. It is not the estimator's `random_state`, so that repeating
        a fit with another one finds the same views in the cache.

    Notes
    -----
    Rotation, shear, zoom, shifts and flips are one affine map about the image's centre, and
    Pillow resamples the image once, bilinearly. The ranges are those of Keras' former
    `ImageDataGenerator`.

    See Also
    --------
    AugmentationDisplay : Draws images beside their views.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import ImageAugmentation
    >>> mirror = ImageAugmentation(
    ...     rotation_range=0,
    ...     width_shift_range=0,
    ...     height_shift_range=0,
    ...     zoom_range=0,
    ...     horizontal_flip=True,
    ... )
    >>> image = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    >>> views = [mirror.view(image, index=i) for i in range(1, 9)]
    >>> sum(np.array_equal(view, image[:, ::-1]) for view in views) in range(1, 8)
    True
    """

    _parameter_constraints = {  # noqa: RUF012, as scikit-learn does
        "rotation_range": [Interval(Real, 0, 180, closed="both")],
        "width_shift_range": [Interval(Real, 0, 1, closed="both")],
        "height_shift_range": [Interval(Real, 0, 1, closed="both")],
        "shear_range": [Interval(Real, 0, 90, closed="left")],
        "zoom_range": [Interval(Real, 0, 1, closed="left")],
        "horizontal_flip": ["boolean"],
        "vertical_flip": ["boolean"],
        "brightness_range": [Interval(Real, 0, 1, closed="both")],
        "fill_mode": [StrOptions({"nearest", "reflect", "wrap", "constant"})],
        "seed": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        rotation_range: float = 10.0,
        width_shift_range: float = 0.1,
        height_shift_range: float = 0.1,
        shear_range: float = 0.0,
        zoom_range: float = 0.1,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        brightness_range: float = 0.0,
        fill_mode: Literal["nearest", "reflect", "wrap", "constant"] = "nearest",
        seed: int = 0,
    ) -> None:
        self.rotation_range = rotation_range
        self.width_shift_range = width_shift_range
        self.height_shift_range = height_shift_range
        self.shear_range = shear_range
        self.zoom_range = zoom_range
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.brightness_range = brightness_range
        self.fill_mode = fill_mode
        self.seed = seed

    def view(
        self, pixels: np.ndarray, digest: bytes | None = None, index: int = 1
    ) -> np.ndarray:
        """One view of an image.

        Parameters
        ----------
        pixels : uint8 or float32 ndarray of shape (height, width, channels), from 0 to 255
        digest : bytes, default=None
            Stands for the image: the same digest, the same alteration. None is the digest of
            `pixels` themselves; in a fit it is that of the image's file, or of the array that
            was passed.
        index : int, default=1
            Number of the view, from 1.

        Returns
        -------
        view : float32 ndarray of the same shape
            Of uint8 pixels, exact to half a level.
        """
        if digest is None:
            digest = digest_of(np.asarray(pixels))
        source = hashlib.sha256(digest + self.token(index))
        rng = np.random.default_rng(int.from_bytes(source.digest(), "little"))
        matrix = self._draw_matrix(rng, *pixels.shape[:2])
        factor = 1 + rng.uniform(-self.brightness_range, self.brightness_range)
        view = _resampled(pixels, matrix, BEYOND[self.fill_mode])
        return view if factor == 1 else np.clip(view * np.float32(factor), 0, 255)

    def token(self, index):
        """What stands for a view of any image in keys: index and parameters, as bytes."""
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(), type(self).__name__
        )
        plain = {
            name: value if isinstance(value, str) else float(value)
            for name, value in self.get_params().items()
        }
        return json.dumps([index, plain], sort_keys=True).encode()

    def _draw_matrix(self, rng, height, width):
        """The map from (row, column) in the view to those in the image, about the centre."""
        angle = np.deg2rad(rng.uniform(-self.rotation_range, self.rotation_range))
        shear = np.deg2rad(rng.uniform(-self.shear_range, self.shear_range))
        zoom = 1 + rng.uniform(-self.zoom_range, self.zoom_range, size=2)
        down = rng.uniform(-self.height_shift_range, self.height_shift_range) * height
        right = rng.uniform(-self.width_shift_range, self.width_shift_range) * width
        # Drawn whether wanted or not, so that wanting one changes nothing else.
        mirror = np.where(rng.random(2) < 0.5, -1.0, 1.0)
        wanted = np.array([self.vertical_flip, self.horizontal_flip])
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        shearing = np.array([[np.cos(shear), 0, 0], [np.sin(shear), 1, 0], [0, 0, 1]])
        shift = np.array([[1, 0, down], [0, 1, right], [0, 0, 1]])
        scaling = np.diag([*(np.where(wanted, mirror, 1.0) / zoom), 1])
        return rotation @ shearing @ shift @ scaling


def _resampled(pixels, matrix, beyond):
    """An image under an affine map about its centre.

    Parameters
    ----------
    pixels : uint8 or float32 ndarray of shape (height, width, channels)
    matrix : ndarray of shape (3, 3)
        From (row, column) in the result to those in the image.
    beyond : str
        What lies beyond the edges, as `numpy.pad` calls it.

    Returns
    -------
    resampled : float32 ndarray of the same shape
    """
    linear, shift = matrix[:2, :2], matrix[:2, 2]
    if np.array_equal(np.abs(linear), np.eye(2)) and not shift.any():
        flips = np.diag(linear).astype(int)
        return pixels[:: flips[0], :: flips[1]].astype(np.float32)
    centre = (np.array(pixels.shape[:2]) - 1) / 2
    offset = centre + shift - linear @ centre
    padded, before = _padded(pixels, linear, offset, beyond)
    offset += before
    offset += 0.5 - linear.sum(axis=1) / 2  # Pillow has the centres of pixels at halves,
    (yy, yx), (xy, xx) = linear
    coefficients = xx, xy, offset[1], yx, yy, offset[0]  # and x before y
    if padded.dtype == np.uint8 and padded.shape[2] == 3:
        view = _transformed(padded, pixels.shape, coefficients)
        view += np.float32(0.5)  # Pillow rounds down
        return np.minimum(view, 255, out=view)
    channels = np.moveaxis(padded, 2, 0).astype(np.float32)
    return np.stack([_transformed(c, pixels.shape, coefficients) for c in channels], axis=-1)


def _padded(pixels, linear, offset, beyond):
    """An image enlarged to all that a map reaches, and by how much before its first pixel."""
    height, width = pixels.shape[:2]
    corners = np.array([(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)])
    reached = corners @ linear.T + offset
    before = np.ceil(np.maximum(-reached.min(axis=0), 0)).astype(int) + 1
    past = reached.max(axis=0) - (height - 1, width - 1)
    after = np.ceil(np.maximum(past, 0)).astype(int) + 1
    return np.pad(pixels, (*zip(before, after, strict=True), (0, 0)), mode=beyond), before


def _transformed(array, shape, coefficients):
    from PIL import Image

    height, width = shape[:2]
    image = Image.fromarray(array).transform(
        (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.array(image, dtype=np.float32)
