"""Encoded files as Pillow opens them, and what of them is refused, or set right."""

import contextlib
import io
import os
import sys
import threading
import warnings

from sktransfer._runtime.backend import installed_version

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000")
# JPEG opens MPO as well. HEIF is opened besides, where pillow-heif is installed.
BACKGROUND = (255, 255, 255)
PILLOW_LIMIT = "PIL.Image.MAX_IMAGE_PIXELS"  # above twice this, Pillow itself refuses
LONGEST_PATH = 4096  # bytes
LFS_POINTER = b"version https://git-lfs"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")  # which may also be in a file of the last two
PNG_BIT_DEPTH = 24  # where a PNG file says how many bits a channel has
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF
PLANES, SEPARATE = 284, 2  # of TIFF
ORIENTATION = 274  # of EXIF, and what turns an image upright, by Image.Transpose' numbers
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
SIDEWAYS = (2, 4, 5, 6)  # of these, those that swap height and width


class UnreadableImageError(Exception):
    """What is wrong with one source, as the second half of a sentence about it."""


class _QuietPillow:
    """A context without the warnings of Pillow, which do not name the file.

    What is wrong enough for an error has one that does. The filters of warnings are the
    whole process's: the first of several threads sets them, the last one sets them back.
    """

    def __init__(self):
        self._lock, self._users, self._filters = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._users:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._users += 1

    def __exit__(self, *error):
        with self._lock:
            self._users -= 1
            if not self._users:
                self._filters.__exit__(*error)


quiet_pillow = _QuietPillow()


def decoder():
    """What decodes files, and how it is set where that changes pixels: in plain text."""
    settings = sys.modules.get("PIL.ImageFile")  # where it is not, nobody has set anything
    lenient = settings is not None and settings.LOAD_TRUNCATED_IMAGES
    suffix = ", truncated files too" if lenient else ""
    pillow, heif = map(installed_version, ("pillow", "pillow-heif"))
    return f"Pillow {pillow}, pillow-heif {heif}{suffix}"


def open_file(content, max_pixels):
    """An encoded file as a PIL image that is not decoded yet.

    Raises
    ------
    UnreadableImageError
        What it shows without being decoded: it is no image, too large, or of a kind whose
        pixels are unknown or read wrongly.
    """
    from PIL import Image, UnidentifiedImageError

    formats = FORMATS
    if _is_heif(content):
        formats = [_registered_heif()]
    limit = Image.MAX_IMAGE_PIXELS
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except UnidentifiedImageError:
        raise UnreadableImageError(_why_not_an_image(content)) from None
    except Image.DecompressionBombError:
        raise _too_large(f"over {2 * limit}", PILLOW_LIMIT, limit) from None
    except Exception as error:  # Pillow's plugins raise nearly anything on bad headers
        raise UnreadableImageError(f"cannot be opened ({said(error)})") from None
    _check_size(image, "max_image_pixels", max_pixels)
    _check_size(image, PILLOW_LIMIT, limit)
    check_mode(image)
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _of_eight_bits(image, bits=content[PNG_BIT_DEPTH])
    return image


def said(error):
    """The text of an error, or its name where it has none."""
    return str(error) or type(error).__name__


def way_upright(image):
    """The `Image.Transpose` that turns an image upright, or None.

    Data about an image may be damaged where its pixels are not: then nothing is known.
    """
    with contextlib.suppress(Exception):
        return UPRIGHT.get(image.getexif().get(ORIENTATION))


def turned(image, way):
    # Not by `ImageOps.exif_transpose`, which fails where any tag cannot be written again.
    return image if way is None else image.transpose(way)


def plain_pixels(image):
    """Decoded: RGB, on the background where there is transparency.

    16-bit grey stays as it is, with values up to 65,535.
    """
    shown = image.tile[0].extents if image.format == "GIF" and image.tile else None
    image.load()
    pixels = _opaque(image)
    return pixels if shown in (None, (0, 0, *image.size)) else _on_canvas(pixels, shown)


def _opaque(image):
    from PIL import Image

    if image.mode.startswith("I"):
        return image
    if image.mode == "P" and image.palette is None:
        raise UnreadableImageError("has no palette, but pixels that are places in one")
    if image.mode == "La":  # which Pillow turns into nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(background, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_canvas(image, shown):
    """White where a GIF's first frame does not reach; Pillow takes a colour of its palette."""
    from PIL import Image

    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(image.crop(shown), shown[:2])
    return canvas


def check_mode(image):
    """Raise an error for pixels whose range is unknown, or which Pillow reads wrongly."""
    scaled = image.format == "PPM" and image.mode == "I"  # to 65,535
    if image.mode in ("F", "I") and not scaled:
        raise UnreadableImageError(
            f"has {image.mode!r} pixels, whose range is unknown; "
            "load it as an array and say input_range"
        )
    if image.format == "TIFF":
        _check_tiff(image.tag_v2, image.mode)


def _check_tiff(tags, mode):
    bits = max(tags.get(BITS_PER_SAMPLE, (1,)))
    inverted = tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO
    problem = None
    if mode.startswith("I;16") and (bits != 16 or inverted):
        order = ", of which 0 is white" if inverted else ""
        problem = f"{bits}-bit pixels{order}, which Pillow leaves as they are"
    if bits > 8 and tags.get(PLANES) == SEPARATE:
        problem = f"{bits}-bit pixels in a plane for each colour, which Pillow reads wrongly"
    if problem:
        raise UnreadableImageError(f"has {problem}; load it as an array and say input_range")


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
        raise _too_large(f"{image.width}×{image.height}", name, limit)


def _too_large(size, name, limit):
    return UnreadableImageError(
        f"has {size} pixels, more than {name} = {limit} allows; if you trust it, set more, or "
        "None for no limit"
    )


def _is_heif(content):
    """By the brands in its first box; some of them may also be AVIF's."""
    if content[4:8] != b"ftyp" or content[8:12] not in HEIF_BRANDS:
        return False
    box = content[8 : int.from_bytes(content[:4])]
    return not any(brand in box for brand in AVIF_BRANDS)


def _registered_heif():
    """The name of HEIF, which Pillow now opens by pillow-heif, where that is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise UnreadableImageError(
            'is a HEIC or HEIF photograph: pip install "sktransfer[heif]" to read it'
        ) from None
    register_heif_opener()
    return "HEIF"


def _why_not_an_image(content):
    if len(content) < LONGEST_PATH and b"\0" not in content and os.path.exists(content):
        return "is a path as bytes, which are taken for an encoded file: pass it as text"
    if content.startswith(LFS_POINTER):
        return "is a Git LFS pointer, not the image it points to: run git lfs pull"
    start = content[:256].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, not an image"
    known = f"an image in one of the formats {', '.join(FORMATS)}"
    format_ = _format_by_first_bytes(content)
    if format_ in (*FORMATS, "HEIF"):
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
