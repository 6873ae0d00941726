"""A source → a small picture of it, in its own proportions, to look at and to compare."""

from dataclasses import dataclass

import numpy as np

from sktransfer._images.decoding import decode, probe
from sktransfer._images.formats import SIDEWAYS, open_file, quiet_pillow, way_upright
from sktransfer._images.resizing import Resizing
from sktransfer._images.sources import read

QUICK = Resizing(least_scale=1)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an image.

    Attributes
    ----------
    pixels : uint8 ndarray of shape (height, width, 3)
        No side is longer than was asked for; an image that is smaller stays as it is.
    image_size : (int, int)
        Height and width of the image itself, upright.
    digest : bytes
        Of the image's content.
    """

    pixels: np.ndarray
    image_size: tuple
    digest: bytes


def thumbnail(source, longest, input_range, max_pixels=None):
    """Read a source and make a thumbnail.

    Parameters
    ----------
    source : path, bytes, PIL image or ndarray
    longest : int
        Pixels that its longer side has at most.
    input_range : (float, float)
        The values in an array that stand for black and for full brightness.
    max_pixels : int or None
        More pixels in a file are an error.

    Raises
    ------
    UnreadableImageError
        It is no image.
    """
    image = read(source)
    with quiet_pillow:
        height, width = _size_of(image.content, input_range, max_pixels)
        scale = min(1, longest / max(height, width))
        size = max(1, round(scale * height)), max(1, round(scale * width))
        pixels = decode(image.content, size, input_range, max_pixels, QUICK)
    if pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Thumbnail(pixels, (height, width), image.digest)


def _size_of(content, input_range, max_pixels):
    """Height and width, upright."""
    if not isinstance(content, bytes):
        probe(content, input_range)
        return content.shape[:2]
    image = open_file(content, max_pixels)
    width, height = image.size
    return (width, height) if way_upright(image) in SIDEWAYS else (height, width)
