"""How images become those of the size that a network takes.

Pillow resizes with antialiasing. Without, as KerasHub resizes for most of its networks, it
does so by no filter but the nearest pixel: that is computed here as `jax.image.resize` and
`keras.ops.image.resize` do it.
"""

import math
from dataclasses import dataclass

import numpy as np

REDUCING_GAP = 3.0  # a much larger image is first averaged to that many times the size
PILLOW = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos3": "LANCZOS"}
RADII = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


@dataclass(frozen=True)
class Resizing:
    """How images are resized.

    Attributes
    ----------
    fit : {"stretch", "crop", "pad"}
        What is done about another aspect ratio: stretched, cut off evenly at both ends, or
        black put there.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"}
    antialias : bool
        Whether a pixel of a smaller image is made of all those that it covers.
    least_scale : int
        JPEGs are decoded no larger than needed for so many times the size. 1 is quicker, and
        less exact.
    """

    fit: str = "stretch"
    interpolation: str = "bilinear"
    antialias: bool = True
    least_scale: int = 2

    @property
    def by_pillow(self):
        """Whether Pillow does it."""
        return self.antialias and self.interpolation in PILLOW

    @property
    def takes_reduced(self):
        """Whether it may begin with a JPEG at a reduced scale.

        Not where pixels are counted off at the edges, of which a reduced image has fewer.
        """
        return self.by_pillow and self.fit == "stretch"

    @property
    def token(self):
        """What stands for it in keys."""
        if self.takes_reduced:
            jpegs = f"JPEGs at {self.least_scale} times the size, averaged at {REDUCING_GAP}"
            return f"{self.interpolation}, {jpegs}"
        antialias = f"averaged at {REDUCING_GAP}" if self.by_pillow else str(self.antialias)
        return f"{self.fit}, {self.interpolation}, antialias {antialias}"

    def of_array(self, array, size):
        """Pixels resized.

        Parameters
        ----------
        array : ndarray of shape (h, w, 3)
        size : (int, int)
            Height and width.

        Returns
        -------
        resized : ndarray of shape (height, width, 3)
            uint8 where Pillow resizes such, else float32, which may overshoot a little.
        """
        from PIL import Image

        if not self.by_pillow:
            return self._sampled(array, size)
        if array.dtype == np.uint8:
            image = Image.fromarray(np.ascontiguousarray(array))
            return np.asarray(self.of_image(image, size))
        channels = (np.ascontiguousarray(array[:, :, c], np.float32) for c in range(3))
        resized = [self.of_image(Image.fromarray(channel), size) for channel in channels]
        return np.stack(resized, axis=-1)

    def of_image(self, image, size, box=None):
        """A PIL image resized by Pillow.

        Parameters
        ----------
        image : PIL.Image.Image
        size : (int, int)
            Height and width.
        box : (float, float, float, float) or None
            The part of the image that counts: left, top, right and bottom.
        """
        from PIL import Image

        height, width = size
        box = box or (0, 0, *image.size)
        if self.fit == "crop":
            box = _cropped(box, size)
        elif self.fit == "pad":
            image, box = _padded_image(image, box, size), None
        resample = Image.Resampling[PILLOW[self.interpolation]]
        return image.resize((width, height), resample, box, reducing_gap=REDUCING_GAP)

    def _sampled(self, array, size):
        """Pixels as each of the result is made of a few around its place."""
        box = (0, 0, array.shape[1], array.shape[0])
        if self.fit == "crop":
            left, top, right, bottom = _cropped(box, size)
            array = array[top:bottom, left:right]
        elif self.fit == "pad":
            beside, above = _margins(box, size)
            array = np.pad(array, ((above, above), (beside, beside), (0, 0)))
        for axis, n in enumerate(size):
            array = self._sampled_along(array, axis, n)
        return array

    def _sampled_along(self, array, axis, n):
        """An array with n places on an axis, each the weighted mean of some."""
        m = array.shape[axis]
        if self.interpolation == "nearest":
            nearest = np.floor((np.arange(n) + 0.5) * (m / n)).astype(int)
            return np.take(array, nearest, axis).astype(np.float32)
        scale = max(m / n, 1) if self.antialias else 1
        reach = math.ceil(RADII[self.interpolation] * scale)
        centres = (np.arange(n) + 0.5) * (m / n) - 0.5
        taps = np.floor(centres).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
        weights = self._kernel(np.abs(centres[:, None] - taps) / scale)
        weights = np.where((taps >= 0) & (taps < m), weights, 0)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        taps = taps.clip(0, m - 1)
        shape = np.where(np.arange(3) == axis, n, 1)
        return sum(
            weights[:, k].reshape(shape) * np.take(array, taps[:, k], axis)
            for k in range(taps.shape[1])
        )

    def _kernel(self, x):
        """The weights of pixels at some distances."""
        if self.interpolation == "bilinear":
            return np.maximum(1 - x, 0)
        if self.interpolation == "bicubic":  # Keys (1981), with -0.5
            near = (1.5 * x - 2.5) * x**2 + 1
            far = ((-0.5 * x + 2.5) * x - 4) * x + 2
            return np.where(x < 1, near, np.where(x < 2, far, 0))
        radius = RADII[self.interpolation]
        return np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0)


STRETCHED = Resizing()


def _cropped(box, size):
    """The largest part in the middle of a box that has the aspect ratio of a size."""
    left, top, right, bottom = box
    height, width = size
    cropped_width = min(right - left, int((bottom - top) * width / height))
    cropped_height = min(bottom - top, int((right - left) * height / width))
    left += int((right - left - cropped_width) / 2)
    top += int((bottom - top - cropped_height) / 2)
    return left, top, left + max(cropped_width, 1), top + max(cropped_height, 1)


def _margins(box, size):
    """What is missing beside and above a box, on each end, to the aspect ratio of a size."""
    left, top, right, bottom = box
    height, width = size
    padded_width = max(right - left, int((bottom - top) * width / height))
    padded_height = max(bottom - top, int((right - left) * height / width))
    return int((padded_width - right + left) / 2), int((padded_height - bottom + top) / 2)


def _padded_image(image, box, size):
    """A box of a PIL image, with black around it."""
    beside, above = _margins(box, size)
    around = (math.floor(box[0]) - beside, math.floor(box[1]) - above)
    return image.crop((*around, math.ceil(box[2]) + beside, math.ceil(box[3]) + above))
