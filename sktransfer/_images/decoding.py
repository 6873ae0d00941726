"""One source → its digest, and its upright RGB pixels.

A *source* is one image as a user passes it: a path, the bytes of an encoded file, a PIL
image or an array. Its *content* is what the pixels depend on, and what the digest covers:
the bytes of the encoded file, or the array.
"""

import contextlib
import hashlib
import io
import os
import stat
import sys

import numpy as np

from sktransfer._runtime.backend import installed_version

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # JPEG opens MPO as well
RESIZE_FILTER = "bilinear"
BACKGROUND = (255, 255, 255)
ENCODED = (bytes, bytearray, memoryview)
LONGEST_PATH = 4096  # bytes
PNG_BIT_DEPTH = 24  # where a PNG file says how many bits a channel has
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF
ORIENTATION = 274  # of EXIF, and what turns an image upright, by Image.Transpose' numbers
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class UnreadableImageError(Exception):
    """What is wrong with one source, as the second half of a sentence about it."""


def is_image(source):
    """Whether `source` is one image, rather than a number or a row of numbers."""
    if isinstance(source, np.ndarray):
        return source.ndim >= 2
    return isinstance(source, (str, *ENCODED, os.PathLike)) or _is_pil(source)


def path_of(source):
    """The path that `source` is, as text, or None."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


def load(source):
    """The content of a source: the bytes of an encoded file, or an array."""
    if isinstance(source, (str, os.PathLike)):
        return _read_file(source)
    if isinstance(source, ENCODED):
        return _not_empty(bytes(source))
    if isinstance(source, np.ndarray):
        if np.ma.is_masked(source):
            raise UnreadableImageError("has masked pixels: fill them, array.filled(value)")
        return np.asarray(source)
    if _is_pil(source):
        return _encode(source)
    is_nan = isinstance(source, (float, np.floating)) and np.isnan(source)
    if source is None or is_nan or type(source).__name__ in ("NAType", "NaTType"):
        raise UnreadableImageError("is a missing value")
    raise UnreadableImageError(f"is a {type(source).__name__}, not an image")


def digest(content):
    """The SHA-256 of a content, 32 bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    header = f"{content.dtype.str} {content.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(content).tobytes()).digest()


def decoder():
    """What decodes files, and how it is set where that changes pixels: in plain text."""
    settings = sys.modules.get("PIL.ImageFile")  # where it is not, nobody has set anything
    lenient = settings is not None and settings.LOAD_TRUNCATED_IMAGES
    suffix = ", truncated files too" if lenient else ""
    return f"Pillow {installed_version('pillow')}{suffix}"


def probe(content, input_range, max_pixels=None):
    """Raise `UnreadableImageError` for what shows without decoding the pixels."""
    if isinstance(content, bytes):
        _open(content, max_pixels)
    else:
        _check_array(content, input_range)


def decode(content, size, input_range, max_pixels=None):
    """Decode, turn upright and resize.

    Parameters
    ----------
    content : bytes or ndarray of shape (h, w), (h, w, 1) or (h, w, 3)
    size : (int, int)
        Height and width of the result; the image is stretched to it.
    input_range : (float, float)
        The values in an array that stand for black and for full brightness.
    max_pixels : int or None
        More pixels in a file are an error. None leaves Pillow's own limit.

    Returns
    -------
    pixels : float32 ndarray of shape (height, width, 3), from 0 to 255
    """
    if isinstance(content, bytes):
        return _decode_file(content, size, max_pixels)
    _check_array(content, input_range)
    low, high = input_range
    if (low, high) != (0, 255):  # else 8-bit arrays are resized as files are
        content = content.astype(np.float32)
    pixels = _resize(_three_channels(content), size)
    return (pixels - np.float32(low)) * np.float32(255 / (high - low))


def _is_pil(source):
    pil = sys.modules.get("PIL.Image")  # a PIL image cannot come before its module
    return pil is not None and isinstance(source, pil.Image)


def _read_file(path):
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImageError("is a directory")
        if not stat.S_ISREG(mode):  # opening a FIFO would wait for ever
            raise UnreadableImageError("is not a regular file")
        with open(path, "rb", buffering=0) as file:
            return _not_empty(file.read())
    except FileNotFoundError:
        raise UnreadableImageError("does not exist") from None
    except PermissionError:
        raise UnreadableImageError("may not be read (permission denied)") from None
    except MemoryError:
        raise UnreadableImageError("is too large for this machine's memory") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UnreadableImageError(f"cannot be read ({error})") from None


def _not_empty(content):
    if not content:
        raise UnreadableImageError("is empty (0 bytes)")
    return content


def _encode(image):
    """A PIL image as the file it might have come from, whatever the mode."""
    file = io.BytesIO()
    _check_mode(image)
    try:
        _opaque(_upright(image)).save(file, "PNG", compress_level=0)
    except Exception as error:  # a lazily opened image can fail in any way a file can
        raise UnreadableImageError(f"cannot be decoded ({error})") from None
    return file.getvalue()


def _open(content, max_pixels):
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnreadableImageError(_why_not_an_image(content)) from None
    except Exception as error:  # Pillow's plugins raise nearly anything on bad headers
        raise UnreadableImageError(f"cannot be opened ({error})") from None
    _check_size(image, "max_image_pixels", max_pixels)
    _check_size(image, "PIL.Image.MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    _check_mode(image)
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _of_eight_bits(image, bits=content[PNG_BIT_DEPTH])
    return image


def _of_eight_bits(image, bits):
    """What is transparent in a PNG, in the units of its pixels: Pillow leaves the file's."""
    value = image.info["transparency"]
    if image.mode == "L":
        return value * (255 // (2**bits - 1))
    if image.mode == "RGB" and bits == 16:
        return tuple(channel >> 8 for channel in value)
    return value


def _check_size(image, name, limit):
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImageError(
            f"has {image.width}×{image.height} pixels, more than {name} = {limit} allows"
        )


def _check_mode(image):
    if image.mode in ("F", "I"):
        raise UnreadableImageError(
            f"has {image.mode!r} pixels, whose range is unknown; "
            "load it as an array and say input_range"
        )
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        [bits] = image.tag_v2[BITS_PER_SAMPLE]
        inverted = image.tag_v2.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO
        if bits != 16 or inverted:
            order = ", of which 0 is white" if inverted else ""
            raise UnreadableImageError(
                f"has {bits}-bit pixels{order}, which Pillow leaves as they are; "
                "load it as an array and say input_range"
            )


def _why_not_an_image(content):
    if len(content) < LONGEST_PATH and b"\0" not in content and os.path.exists(content):
        return "is a path as bytes, which are taken for an encoded file: pass it as text"
    start = content[:256].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, not an image"
    known = f"an image in one of the formats {', '.join(FORMATS)}"
    format_ = _format_by_first_bytes(content)
    if format_ in FORMATS:
        return f"looks like {format_}, but is damaged or of a kind that Pillow cannot read"
    return f"looks like {format_}, not {known}" if format_ else f"is not {known}"


def _format_by_first_bytes(content):
    """The format that Pillow takes a file for by its first bytes, or None."""
    from PIL import Image

    Image.init()
    for name, (_, accept) in Image.OPEN.items():
        with contextlib.suppress(Exception):  # there may be fewer bytes than it looks at
            if accept and accept(content[:16]):
                return name
    return None


def _decode_file(content, size, max_pixels):
    image = _open(content, max_pixels)
    try:
        image = _opaque(_upright(image))
    except Exception as error:  # Pillow's plugins raise nearly anything on bad data
        problem = "is truncated" if "truncated" in str(error) else "cannot be decoded"
        raise UnreadableImageError(f"{problem} ({error})") from None
    if image.mode == "RGB":
        return _resized(image, size)
    grey = np.asarray(image)
    if "transparency" in image.info:  # the one value that is transparent
        grey = np.where(grey == image.info["transparency"], 65535, grey)
    return _resize(_three_channels(grey), size) * np.float32(255 / 65535)


def _upright(image):
    # Not by `ImageOps.exif_transpose`, which fails where any tag cannot be written again.
    image.load()
    way = UPRIGHT.get(image.getexif().get(ORIENTATION))
    return image if way is None else image.transpose(way)


def _opaque(image):
    """RGB over the background where there is transparency; 16-bit grey stays as it is."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return image
    if not image.has_transparency_data:
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")


def _check_array(array, input_range):
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise UnreadableImageError(
            f"has shape {array.shape}, not (h, w), (h, w, 1) or (h, w, 3)"
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


def _resize(array, size):
    """Antialiased; 8-bit pixels exactly as those of a file, others as float32."""
    from PIL import Image

    if array.dtype == np.uint8:
        return _resized(Image.fromarray(np.ascontiguousarray(array)), size)
    channels = (np.ascontiguousarray(array[:, :, c], dtype=np.float32) for c in range(3))
    resized = [_resized(Image.fromarray(channel), size) for channel in channels]
    return np.stack(resized, axis=-1)


def _resized(image, size):
    from PIL import Image

    height, width = size
    resized = image.resize((width, height), Image.Resampling[RESIZE_FILTER.upper()])
    return np.asarray(resized, dtype=np.float32)
