"""Encoded files as Pillow opens them, and what of them is refused, or set right."""

import contextlib
import io
import os
import sys

from sktransfer._runtime.backend import installed_version

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # JPEG opens MPO as well
BACKGROUND = (255, 255, 255)
LONGEST_PATH = 4096  # bytes
PNG_BIT_DEPTH = 24  # where a PNG file says how many bits a channel has
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF
ORIENTATION = 274  # of EXIF, and what turns an image upright, by Image.Transpose' numbers
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class UnreadableImageError(Exception):
    """What is wrong with one source, as the second half of a sentence about it."""


def decoder():
    """What decodes files, and how it is set where that changes pixels: in plain text."""
    settings = sys.modules.get("PIL.ImageFile")  # where it is not, nobody has set anything
    lenient = settings is not None and settings.LOAD_TRUNCATED_IMAGES
    suffix = ", truncated files too" if lenient else ""
    return f"Pillow {installed_version('pillow')}{suffix}"


def open_file(content, max_pixels):
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnreadableImageError(_why_not_an_image(content)) from None
    except Exception as error:  # Pillow's plugins raise nearly anything on bad headers
        raise UnreadableImageError(f"cannot be opened ({error})") from None
    _check_size(image, "max_image_pixels", max_pixels)
    _check_size(image, "PIL.Image.MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    check_mode(image)
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _of_eight_bits(image, bits=content[PNG_BIT_DEPTH])
    return image


def upright(image):
    # Not by `ImageOps.exif_transpose`, which fails where any tag cannot be written again.
    image.load()
    way = UPRIGHT.get(image.getexif().get(ORIENTATION))
    return image if way is None else image.transpose(way)


def opaque(image):
    """RGB over the background where there is transparency; 16-bit grey stays as it is."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return image
    if not image.has_transparency_data:
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")


def check_mode(image):
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
