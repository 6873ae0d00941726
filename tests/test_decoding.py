import hashlib
import io
import os
import struct
import warnings
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from sktransfer._images.decoding import decode, probe
from sktransfer._images.formats import FORMATS, UnreadableImageError, quiet_pillow
from sktransfer._images.resizing import Resizing
from sktransfer._images.sources import content_of, digest_of

RANGE = (0, 255)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decode_same_size(content, array):
    return decode(content, array.shape[:2], RANGE)


def test_a_file_becomes_its_pixels(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).save(path)
    pil = Image.open(io.BytesIO(path.read_bytes()))
    for source in (path, str(path), path.read_bytes(), pil, PIXELS):
        np.testing.assert_array_equal(decode_same_size(content_of(source), PIXELS), PIXELS)


def test_resizing_is_antialiased_bilinear_and_the_same_for_files_and_arrays():
    expected = Image.fromarray(PIXELS).resize((12, 8), Image.Resampling.BILINEAR)
    for content in (encoded(Image.fromarray(PIXELS)), PIXELS):
        np.testing.assert_array_equal(decode(content, (8, 12), RANGE), np.asarray(expected))


@settings(max_examples=30)
@given(
    stored=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    size=st.tuples(st.integers(8, 120), st.integers(8, 120)),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    sideways=st.booleans(),
)
def test_a_jpeg_decoded_no_larger_than_needed_is_what_the_whole_one_is(
    stored, size, mode, sideways
):
    photograph = Image.fromarray(PIXELS[:6, :8]).resize(stored, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 6, (*stored[::-1], 3))
    photograph = Image.fromarray(np.uint8(np.clip(photograph + grain, 0, 255)))
    exif = Image.Exif()
    exif[274] = 6 if sideways else 1
    content = encoded(photograph.convert(mode), "JPEG", exif=exif)
    whole = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    expected = whole.resize(size[::-1], Image.Resampling.BILINEAR)
    difference = np.abs(decode(content, size, RANGE) - np.asarray(expected, float))
    assert difference.mean() < 3


def test_a_large_image_is_averaged_and_then_resized():
    large = Image.fromarray(PIXELS).resize((1200, 900), Image.Resampling.BICUBIC)
    expected = np.asarray(large.resize((60, 40), Image.Resampling.BILINEAR), float)
    for content in (encoded(large), encoded(large, "WEBP", lossless=True), np.asarray(large)):
        difference = np.abs(decode(content, (40, 60), RANGE) - expected)
        assert 0 < difference.mean() < 1
        assert difference.max() <= 5


def test_float_arrays_are_not_rounded_to_bytes():
    image = np.array([[0.25, 100.75], [3.5, 255.0]])
    result = decode(image, (2, 2), RANGE)
    np.testing.assert_array_equal(result, np.repeat(image[:, :, None], 3, axis=2))
    smooth = decode(PIXELS.astype(float), (8, 12), RANGE)
    rounded = decode(PIXELS, (8, 12), RANGE)
    assert 0 < np.abs(smooth - rounded).max() < 1.01


def test_input_range_is_mapped_to_0_255():
    image = np.array([[-1.0, 0.0], [0.5, 1.0]])
    result = decode(image, (2, 2), (-1, 1))[:, :, 0]
    np.testing.assert_allclose(result, [[0, 127.5], [191.25, 255]])


def test_input_range_does_not_concern_files():
    content = encoded(Image.fromarray(PIXELS))
    np.testing.assert_array_equal(decode(content, (40, 60), (0, 1)), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation):
    # How each value of the EXIF tag says that the stored picture came from the scene.
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(store(PIXELS)))
    content = encoded(stored, exif=exif)
    np.testing.assert_array_equal(decode_same_size(content, PIXELS), PIXELS)
    pil = content_of(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(decode_same_size(pil, PIXELS), PIXELS)


def test_a_tag_that_cannot_be_written_does_not_stop_the_turning():
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
    exif += struct.pack("<HHIHH", 274, 3, 1, 3, 0)  # upside down …
    exif += (
        struct.pack("<HHII", 282, 10, 1, 38) + bytes(4) + struct.pack("<ii", -72, 1)
    )  # … at
    content = encoded(Image.fromarray(PIXELS[::-1, ::-1]), exif=exif)  # a density below zero
    np.testing.assert_array_equal(decode_same_size(content, PIXELS), PIXELS)


def test_sixteen_bits_are_scaled_rather_than_clipped():
    grey = np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)
    content = encoded(Image.fromarray(grey))
    result = decode_same_size(content, grey)
    np.testing.assert_allclose(result[:, :, 1], grey / 257.0, atol=0.01)


def test_what_transparency_hides_is_white():
    rgba = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    assert (decode_same_size(encoded(Image.fromarray(rgba)), rgba) == 255).all()
    opaque = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)])
    result = decode_same_size(encoded(Image.fromarray(opaque)), opaque)
    np.testing.assert_array_equal(result, PIXELS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_three_channels(mode):
    if mode == "I;16":
        image = Image.fromarray(np.zeros((6, 8), np.uint16))
    else:
        image = Image.fromarray(PIXELS).convert("L" if mode == "PA" else "RGB").convert(mode)
    pixels = decode(content_of(image), (6, 8), RANGE)
    assert pixels.shape == (6, 8, 3)
    assert pixels.dtype == (np.float32 if mode == "I;16" else np.uint8)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_images_of_unknown_range_are_refused(dtype):
    image = Image.fromarray(np.ones((4, 4), dtype))
    with pytest.raises(UnreadableImageError, match="input_range"):
        decode(encoded(image, "TIFF"), (4, 4), RANGE)
    with pytest.raises(UnreadableImageError, match="input_range"):
        content_of(image)


def tiff(bits, white_is_zero):
    """A grey file of 2 × 2 pixels, of which the first is white."""
    white, black = (0, 2**bits - 1)[:: 1 if white_is_zero else -1]
    binary = "".join(f"{value:0{bits}b}" for row in ((white, black),) * 2 for value in row)
    data = int(binary, 2).to_bytes(len(binary) // 8, "big")
    if bits == 16:
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    tags = {256: 2, 257: 2, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8}
    tags |= {277: 1, 278: 2, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return header + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_of_other_scales_is_refused_and_never_dark_or_negative(bits, white_is_zero):
    content = tiff(bits, white_is_zero)
    if (bits, white_is_zero) == (16, False):
        assert decode(content, (2, 2), RANGE)[:, :, 0].tolist() == [[255, 0], [255, 0]]
        return
    with pytest.raises(UnreadableImageError, match=f"{bits}-bit pixels|cannot read"):
        decode(content, (2, 2), RANGE)


def test_small_integers_are_not_rounded_before_they_are_scaled():
    digits = np.arange(17, dtype=np.uint8).repeat(3).reshape(3, 17)
    np.testing.assert_array_equal(
        decode(digits, (9, 9), (0, 16)), decode(digits.astype(float), (9, 9), (0, 16))
    )


def test_transparency_of_sixteen_bits_is_white():
    grey = np.array([[0, 30000], [60000, 30000]], dtype=np.uint16)
    result = decode(encoded(Image.fromarray(grey), transparency=30000), (2, 2), RANGE)
    np.testing.assert_allclose(result[:, :, 0], [[0, 255], [60000 / 257, 255]], atol=0.1)


def png(bits, colour, data, transparent):
    """A file of 2 × 1 pixels, of which one value is transparent."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tRNS", np.array(transparent, ">u2").tobytes())
        + chunk(b"IDAT", zlib.compress(b"\0" + data))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content",
    [
        png(1, 0, b"\x40", 1),
        png(2, 0, b"\x10", 1),
        png(4, 0, b"\x01", 1),
        png(8, 0, b"\0\1", 1),
        png(16, 0, bytes([0, 0, 1, 2]), 0x102),
        png(8, 2, bytes([0, 0, 0, 1, 2, 3]), [1, 2, 3]),
        png(16, 2, bytes([0] * 6 + [1, 0, 2, 0, 3, 0]), [0x100, 0x200, 0x300]),
    ],
)
def test_a_transparent_value_is_white_at_any_number_of_bits(content):
    assert decode(content, (1, 2), RANGE).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_a_truncated_photograph_is_found_on_decoding():
    jpeg = encoded(Image.fromarray(np.tile(PIXELS, (10, 10, 1))), "JPEG")
    for kept in (len(jpeg) // 2, len(jpeg) - 20):
        probe(jpeg[:kept], RANGE)  # its header is whole
        with pytest.raises(UnreadableImageError, match="is truncated"):
            decode(jpeg[:kept], (8, 8), RANGE)


def test_unreadable_paths_are_refused_without_waiting(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    for path, reason in {
        tmp_path / "none.jpg": "does not exist",
        tmp_path: "is a directory",
        empty: "is empty",
        fifo: "is not a regular file",
        "/dev/zero": "is not a regular file",
        "nul\0.jpg": "cannot be read",
    }.items():
        with pytest.raises(UnreadableImageError, match=reason):
            content_of(path)


def test_content_that_is_no_image_is_refused():
    for content, reason in {
        b"<!DOCTYPE html><html>": "is an HTML page",
        b"plain text": "is not an image in one of the formats",
        b"\x89PNG\r\n\x1a\n broken": "(opened|damaged)",
    }.items():
        with pytest.raises(UnreadableImageError, match=reason):
            probe(content, RANGE)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2, 3), np.inf), "infinity"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros((2, 2, 2, 3)), "shape"),
        (np.zeros((0, 2)), "no pixels"),
        (np.zeros((2, 2), complex), "dtype complex128"),
        (np.zeros((2, 2), bool), r"bool.*\(0, 1\)"),
        (np.full((2, 2), 256.0), "outside input_range"),
        (np.full((2, 2), -1), "outside input_range"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        probe(array, RANGE)


@pytest.mark.parametrize("source", [None, float("nan"), pd.NA, pd.NaT, 3, object(), [[1, 2]]])
def test_other_things_are_refused(source):
    with pytest.raises(UnreadableImageError, match=r"missing value|not an image"):
        content_of(source)


def test_a_decompression_bomb_is_refused_with_the_limit_and_how_to_raise_it(monkeypatch):
    content = encoded(Image.fromarray(PIXELS))
    probe(content, RANGE, max_pixels=40 * 60)
    with pytest.raises(UnreadableImageError, match=r"60×40 .* max_image_pixels = 2399 .*set"):
        probe(content, RANGE, max_pixels=40 * 60 - 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # less than half of what it has
    with pytest.raises(UnreadableImageError, match=r"over 2000 .*IMAGE_PIXELS = 1000 .*set"):
        probe(content, RANGE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with quiet_pillow, pytest.raises(UnreadableImageError, match=r"60×40 .*= 2000 .*set"):
        probe(content, RANGE)


def test_masked_pixels_are_refused():
    masked = np.ma.masked_invalid(np.where(PIXELS < 9, np.nan, PIXELS))
    with pytest.raises(UnreadableImageError, match="filled"):
        content_of(masked)
    assert type(content_of(masked.filled(0))) is np.ndarray
    assert type(content_of(np.ma.array(PIXELS))) is np.ndarray


def test_a_path_as_bytes_is_told_from_a_file(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(encoded(Image.fromarray(PIXELS)))
    with pytest.raises(UnreadableImageError, match="a path as bytes"):
        decode(os.fsencode(path), (4, 4), RANGE)


def test_the_digest_of_a_file_is_that_of_its_bytes():
    assert digest_of(b"abc") == hashlib.sha256(b"abc").digest()


def test_the_digest_of_an_array_does_not_depend_on_its_layout():
    assert digest_of(PIXELS) == digest_of(np.asfortranarray(PIXELS))
    assert digest_of(PIXELS) != digest_of(PIXELS.reshape(60, 40, 3))
    assert digest_of(PIXELS) != digest_of(PIXELS.view(np.int8))


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n"]))
def test_random_bytes_raise_the_documented_error_only(tail, magic):
    with pytest.raises(UnreadableImageError):
        decode(magic + tail + b"!", (8, 8), RANGE)


@pytest.mark.parametrize("file_format", FORMATS)
@settings(max_examples=50)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    kept=st.one_of(st.none(), st.integers(0, 10_000)),
)
def test_damaged_files_become_pixels_or_raise_the_documented_error(file_format, changes, kept):
    content = bytearray(encoded(Image.fromarray(PIXELS), file_format))
    for position, value in changes:
        content[position % len(content)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what is odd in a file
        try:
            pixels = decode(bytes(content[:kept]), (8, 6), RANGE, max_pixels=100_000)
        except UnreadableImageError as error:
            assert str(error)  # noqa: PT017
        else:
            assert pixels.shape == (8, 6, 3)
            assert pixels.min() >= 0
            assert pixels.max() <= 255


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.float32, np.float64, bool]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.integers(0, 1),
    )
)
def test_any_small_array_keeps_within_its_range(array):
    pixels = decode(array, (5, 7), (0, 1))
    assert pixels.shape == (5, 7, 3)
    assert pixels.min() >= -0.01
    assert pixels.max() <= 255.01


@pytest.mark.parametrize(
    ("fit", "first", "last"),
    [("stretch", 0, 239), ("crop", 80, 159), ("pad", 0, 239)],
)
@pytest.mark.parametrize("antialias", [False, True])
def test_another_aspect_ratio_is_stretched_cut_off_or_padded(fit, first, last, antialias):
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8)[:, None, None], (240, 80, 3))
    resizing = Resizing(fit, antialias=antialias)
    file = encoded(Image.fromarray(np.ascontiguousarray(ramp)))
    for content in (ramp, file):
        pixels = decode(content, (8, 8), RANGE, None, resizing).astype(float)
        middle = pixels[:, 4, 0]
        np.testing.assert_allclose(middle[[0, -1]], [first, last], atol=20)
        assert (pixels[:, 0] == 0).all() == (fit == "pad")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos5"])
def test_without_antialiasing_pixels_of_the_same_size_stay(interpolation):
    resizing = Resizing(interpolation=interpolation, antialias=False)
    pixels = decode(PIXELS, PIXELS.shape[:2], RANGE, None, resizing)
    np.testing.assert_allclose(pixels, PIXELS, atol=1e-3)
