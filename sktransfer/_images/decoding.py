"""The content of a source → upright RGB pixels of the size that a network takes."""

import numpy as np

from sktransfer._images.formats import (
    SIDEWAYS,
    UnreadableImageError,
    open_file,
    plain_pixels,
    said,
    turned,
    way_upright,
)
from sktransfer._images.resizing import STRETCHED


def probe(content, input_range, max_pixels=None):
    """Raise `UnreadableImageError` for what shows without decoding the pixels."""
    if isinstance(content, bytes):
        open_file(content, max_pixels)
    else:
        _check_array(content, input_range)


def decode(content, size, input_range, max_pixels=None, resizing=STRETCHED):
    """Decode, turn upright and resize.

    Parameters
    ----------
    content : bytes or ndarray of shape (h, w), (h, w, 1) or (h, w, 3)
    size : (int, int)
        Height and width of the result.
    input_range : (float, float)
        The values in an array that stand for black and for full brightness.
    max_pixels : int or None
        More pixels in a file are an error. None leaves Pillow's own limit.
    resizing : Resizing
        By default images are stretched.

    Returns
    -------
    pixels : ndarray of shape (height, width, 3), from 0 to 255
        uint8 for what has 8 bits a channel and Pillow resizes, else float32.
    """
    if isinstance(content, bytes):
        return _decode_file(content, size, max_pixels, resizing)
    _check_array(content, input_range)
    low, high = input_range
    if (low, high) != (0, 255):  # else 8-bit arrays are resized as files are
        content = content.astype(np.float32)
    pixels = resizing.of_array(_three_channels(content), size)
    if pixels.dtype == np.uint8:
        return pixels
    return (pixels - np.float32(low)) * np.float32(255 / (high - low))


def _decode_file(content, size, max_pixels, resizing):
    image = open_file(content, max_pixels)
    way = way_upright(image)
    stored_size = size[::-1] if way in SIDEWAYS else size
    try:
        box = _draft(image, stored_size, resizing) if resizing.takes_reduced else None
        pixels = plain_pixels(image)
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on bad data
        problem = "is truncated" if "truncated" in str(error) else "cannot be decoded"
        raise UnreadableImageError(f"{problem} ({said(error)})") from None
    if box is not None:
        return np.asarray(turned(resizing.of_image(pixels, stored_size, box), way))
    # Once more: where Pillow turns an image itself, as it is loaded, nothing is left to do.
    pixels = turned(pixels, way_upright(image))
    if pixels.mode == "RGB" and resizing.by_pillow:
        return np.asarray(resizing.of_image(pixels, size))
    if pixels.mode == "RGB":
        return resizing.of_array(np.asarray(pixels), size)
    grey = np.asarray(pixels)
    if "transparency" in image.info:  # the one value that is transparent
        grey = np.where(grey == image.info["transparency"], 65535, grey)
    return resizing.of_array(_three_channels(grey), size) * np.float32(255 / 65535)


def _draft(image, size, resizing):
    """Let a JPEG be decoded no larger than needed; the box of its pixels then, or None.

    The box is a fraction smaller than the image where the scale leaves a part of a pixel.
    """
    before, times, (height, width) = image.size, resizing.least_scale, size
    drafted = image.draft(None, (times * width, times * height))
    return drafted[1] if image.size != before else None


def _check_array(array, input_range):
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        hint = ": array[..., :3]" if array.ndim == 3 and array.shape[2] == 4 else ""
        raise UnreadableImageError(
            f"has shape {array.shape}, not (h, w), (h, w, 1) or (h, w, 3){hint}"
        )
    if array.dtype.kind not in "buif":
        raise UnreadableImageError(f"has dtype {array.dtype}, not a real number's")
    if array.size == 0:
        raise UnreadableImageError(f"has no pixels (shape {array.shape})")
    if array.dtype == bool and tuple(input_range) != (0, 1):
        raise UnreadableImageError("has dtype bool: say input_range=(0, 1)")
    if not np.isfinite(array).all():
        raise UnreadableImageError("has NaN or infinity among its pixels")
    low, high = input_range
    if array.min() < low or array.max() > high:
        raise UnreadableImageError(
            f"has pixels from {array.min()} to {array.max()}, "
            f"outside input_range=({low:g}, {high:g})"
        )


def _three_channels(array):
    return np.broadcast_to(np.atleast_3d(array), (*array.shape[:2], 3))
