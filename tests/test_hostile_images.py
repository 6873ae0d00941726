"""Images as they come, through both estimators, at `fit`, `transform` and `predict`."""

import io
import os
import struct
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pillow_heif
import polars as pl
import processes
import pytest
from PIL import Image, ImageFile
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import (
    FineTunedConvNetClassifier,
    InvalidImagesError,
    InvalidImagesWarning,
    PretrainedFeatureTransformer,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 2
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]
SHOWN = RNG.random(GREY.shape) < 0.5
MOST_PIXELS = 10_000


def transformer(**parameters):
    defaults = {"pooling": "avg", "max_image_pixels": MOST_PIXELS}
    return PretrainedFeatureTransformer("tiny", **{**defaults, **parameters})


def classifier(**parameters):
    defaults = {
        "unfreeze": 0,
        "head_C": 1.0,
        "head_epochs": 2,
        "augmentation_views": 2,
        "early_stopping": False,
        "max_image_pixels": MOST_PIXELS,
        "random_state": 0,
    }
    return FineTunedConvNetClassifier("tiny", **{**defaults, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return classifier(cache_dir=None).fit(IMAGES, LABELS)


def encoded(image, file_format="PNG", **options):
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, file_format, **options)
    return file.getvalue()


def three(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


def on_white(pixels):
    return np.where(SHOWN[:, :, None], pixels, np.uint8(255))


def sideways(orientation, pixels, file_format, **options):
    """A scene as a camera stores it that was held in one of the eight ways."""
    transpositions = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    way, image, exif = transpositions[orientation], Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = orientation
    stored = image if way is None else image.transpose(way)
    return encoded(stored, file_format, exif=exif, **options)


def on_canvas(gif, size, left, top):
    """A GIF with its frame so far from the left and the top of a larger canvas."""
    frame = b"," + bytes(4) + gif[6:10]
    moved = b"," + struct.pack("<HH", left, top) + gif[6:10]
    assert gif.count(frame) == 1
    gif = gif.replace(frame, moved)
    return gif[:6] + struct.pack("<HH", *size) + gif[10:]


def multiplied_by_alpha(tiff):
    """A TIFF with grey and alpha that says that its grey is multiplied by alpha."""
    entry = struct.pack("<HHI", 338, 3, 1)
    assert tiff.count(entry + b"\2") == 1
    return tiff.replace(entry + b"\2", entry + b"\1")


ALPHA = np.where(SHOWN, 255, 0).astype(np.uint8)
BILEVEL = np.where(GREY > 127, 255, 0).astype(np.uint8)
SIXTEEN_BITS = np.full((20, 30), 40_000, np.uint16)
INDEXED = Image.fromarray(PIXELS).quantize(16)
NO_EXIF = b"Exif\0\0" + bytes(range(40, 60))
FRAMED = np.pad(
    np.asarray(INDEXED.convert("RGB")), ((5, 0), (3, 7), (0, 0)), constant_values=255
)
BLOCKS = np.kron(GREY[:2, :3], np.ones((8, 8), np.uint8))  # which JPEG keeps to the bit

PLAIN = np.full((16, 16, 3), 128, np.uint8)
AVIF = encoded(PLAIN, "AVIF", quality=100), PLAIN

# Name of a file → its content, and the 8-bit pixels that are meant.
GOOD = {
    "plain.png": (encoded(PIXELS), PIXELS),
    "png in fact.jpg": (encoded(PIXELS), PIXELS),
    "no name's ending": (encoded(PIXELS, "BMP"), PIXELS),
    "grüße 猫.png": (encoded(PIXELS), PIXELS),
    os.fsdecode(b"not utf-8 \xe9.png"): (encoded(PIXELS), PIXELS),
    "cmyk.tif": (
        encoded(
            Image.frombytes("CMYK", (30, 20), np.dstack([255 - PIXELS, 0 * GREY]).tobytes()),
            "TIFF",
        ),
        PIXELS,
    ),
    "palette.png": (encoded(INDEXED), np.asarray(INDEXED.convert("RGB"))),
    "palette.gif": (encoded(INDEXED, "GIF"), np.asarray(INDEXED.convert("RGB"))),
    "grey.png": (encoded(GREY), three(GREY)),
    "bilevel.png": (encoded(Image.fromarray(BILEVEL).convert("1")), three(BILEVEL)),
    "16 bits.png": (encoded(SIXTEEN_BITS), three(SIXTEEN_BITS / 257)),
    "16 bits.tif": (encoded(SIXTEEN_BITS, "TIFF"), three(SIXTEEN_BITS / 257)),
    "rgba.png": (encoded(np.dstack([PIXELS, ALPHA])), on_white(PIXELS)),
    "rgba.webp": (
        encoded(np.dstack([PIXELS, ALPHA]), "WEBP", lossless=True, exact=True),
        on_white(PIXELS),
    ),
    "grey and alpha.png": (
        encoded(
            Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]),
        ),
        on_white(three(GREY)),
    ),
    "animated.gif": (
        encoded(
            GREY, "GIF", save_all=True, append_images=[Image.fromarray(np.uint8(255) - GREY)]
        ),
        three(GREY),
    ),
    "small frame.gif": (on_canvas(encoded(INDEXED, "GIF"), (40, 25), 3, 5), FRAMED),
    "grey times alpha.tif": (
        multiplied_by_alpha(
            encoded(
                Image.merge(
                    "LA",
                    [Image.fromarray(GREY * SHOWN.astype(np.uint8)), Image.fromarray(ALPHA)],
                ),
                "TIFF",
            )
        ),
        on_white(three(GREY)),
    ),
    "16 bits.pgm": (encoded(SIXTEEN_BITS, "PPM"), three(SIXTEEN_BITS / 257)),
    "damaged exif.png": (encoded(PIXELS, exif=NO_EXIF), PIXELS),
    "damaged exif.webp": (encoded(PIXELS, "WEBP", lossless=True, exif=NO_EXIF), PIXELS),
    "damaged exif.jpg": (encoded(BLOCKS, "JPEG", quality=100, exif=NO_EXIF), three(BLOCKS)),
    "photograph.jp2": (encoded(PIXELS, "JPEG2000"), PIXELS),
    "photograph.avif": AVIF,
    "with the general brand.avif": (AVIF[0][:8] + b"mif1" + AVIF[0][12:], AVIF[1]),
    "one pixel.png": (encoded(PIXELS[:1, :1]), PIXELS[:1, :1]),
    "many pixels.png": (encoded(np.tile(PIXELS, (4, 4, 1))), np.tile(PIXELS, (4, 4, 1))),
    **{f"sideways {i}.png": (sideways(i, PIXELS, "PNG"), PIXELS) for i in range(1, 9)},
    **{f"sideways {i}.tif": (sideways(i, PIXELS, "TIFF"), PIXELS) for i in range(1, 9)},
    **{
        f"sideways {i}.jpg": (sideways(i, BLOCKS, "JPEG", quality=100), three(BLOCKS))
        for i in range(1, 9)
    },
}


@pytest.fixture
def good(tmp_path):
    """Paths of all good files, and their pixels."""
    for name, (content, _) in GOOD.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in GOOD], [pixels for _, pixels in GOOD.values()]


def test_files_of_all_kinds_are_their_pixels(good, fitted):
    paths, pixels = good
    for compute in (transformer().fit_transform, fitted.decision_function):
        for name, got, meant in zip(GOOD, compute(paths), compute(pixels), strict=True):
            np.testing.assert_allclose(got, meant, rtol=1e-4, atol=1e-4, err_msg=name)
    labels = np.arange(len(paths)) % 2
    unaltered = classifier(augmentation=None)  # views of a file are drawn by its bytes
    by_files, by_arrays = (clone(unaltered).fit(X, labels) for X in (paths, pixels))
    np.testing.assert_allclose(
        by_files.decision_function(IMAGES), by_arrays.decision_function(IMAGES), atol=1e-3
    )


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1"])
def test_heif_is_read_where_pillow_heif_is_installed(brand, tmp_path, monkeypatch):
    image = pillow_heif.from_pillow(Image.fromarray(PIXELS))
    file = io.BytesIO()
    image.save(file, quality=-1, chroma=444, matrix_coefficients=0)
    content = file.getvalue()
    assert content[4:8] == b"ftyp"
    path = tmp_path / "photograph.heic"
    path.write_bytes(content[:8] + brand + content[12:])
    got = transformer().fit_transform([path, path.read_bytes()])
    np.testing.assert_allclose(got, transformer().fit_transform([PIXELS] * 2), rtol=1e-4)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not
    with pytest.raises(InvalidImagesError, match=r'row 0: .*pip install "sktransfer\[heif\]"'):
        transformer(cache_dir=None).fit_transform([path])


# File → what is wrong with it, or None.
ODD = {
    "corrupt_exif.jpg": None,
    "first_frame_smaller_than_canvas.gif": None,
    "git_lfs_pointer.png": "is a Git LFS pointer",
    "grey_16_bit.pgm": None,
    "heic_brand.heif": None,
    "icc_profile_xyb.jpg": None,
    "no_palette.png": "has no palette",
    "planar_16_bit.tif": "16-bit pixels in a plane",
    "small.avif": None,
}


def test_odd_files_are_read_or_refused_with_the_reason(data_folder):
    paths = sorted((data_folder / "odd_images").iterdir())
    assert {path.name for path in paths} >= set(ODD)
    paths = [path for path in paths if path.name in ODD]
    with pytest.warns(InvalidImagesWarning) as caught:
        features = transformer(on_error="nan", max_image_pixels=None).fit_transform(paths)
    lines = str(caught[0].message).splitlines()
    for path, read in zip(paths, np.isfinite(features).all(axis=1), strict=True):
        assert read == (ODD[path.name] is None)
        assert read or any(path.name in line and ODD[path.name] in line for line in lines)


def test_a_cmyk_photograph_has_its_colours():
    red = np.full((16, 16, 3), (200, 20, 30), np.uint8)
    content = encoded(Image.fromarray(red).convert("CMYK"), "JPEG", quality=100)
    got, meant = transformer(layer="block1_conv1").fit_transform([content, red])
    np.testing.assert_allclose(got, meant, atol=0.05)


def without_chunk(png, kind):
    start = png.index(kind) - 4
    end = start + 12 + int.from_bytes(png[start : start + 4])
    return png[:start] + png[end:]


def planes(pixels):
    """A TIFF of 16 bits, its colours one after the other."""
    height, width, _ = pixels.shape
    data = pixels.transpose(2, 0, 1).astype("<u2").tobytes()
    lists = struct.pack("<3H", 16, 16, 16) + struct.pack(
        "<6I", *range(8, 8 + len(data), len(data) // 3), *[len(data) // 3] * 3
    )
    start = 8 + len(data)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, start), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, 3, start + 6), (277, 3, 1, 3), (278, 4, 1, height)]
    tags += [(279, 4, 3, start + 18), (284, 3, 1, 2)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    header = b"II*\0" + struct.pack("<I", start + len(lists))
    return header + data + lists + struct.pack("<H", len(tags)) + entries + bytes(4)


JPEG = encoded(np.tile(PIXELS, (4, 3, 1)), "JPEG")
FLOATS = PIXELS / 255.0

# What only decoding shows to be no image → content, and the reason given.
DAMAGED = {
    "half.jpg": (JPEG[: len(JPEG) // 2], "is truncated"),
    "all but the end.jpg": (JPEG[:-2], "is truncated"),
    "half.png": (encoded(PIXELS)[:900], "is truncated"),
    "half.gif": (encoded(PIXELS, "GIF")[:900], "is truncated"),
    "half.tif": (encoded(PIXELS, "TIFF")[:-400], "is truncated"),
    "no palette.png": (without_chunk(encoded(INDEXED), b"PLTE"), "has no palette"),
}
# What opening shows: files …
UNREADABLE = {
    "empty.jpg": (b"", r"is empty \(0 bytes\)"),
    "page.jpg": (b"\n<!DOCTYPE html><html>", "is an HTML page"),
    "text.jpg": (b"no image", "is not an image in one of the formats BMP, "),
    "icon.png": (encoded(PIXELS, "ICO"), "looks like ICO, not an image in one of"),
    "drawing.jpg": (encoded(PIXELS, "EPS"), "looks like EPS"),
    "floats.tif": (encoded(FLOATS[:, :, 0].astype(np.float32), "TIFF"), "range is unknown"),
    "bomb.png": (encoded(np.zeros((100, 101), np.uint8)), "has 101×100 pixels, more than"),
    "planes.tif": (planes(PIXELS.astype(np.uint16) * 257), "16-bit pixels in a plane"),
    "pointer.jpg": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "is a Git LFS pointer.*git lfs pull",
    ),
    "half.webp": (encoded(PIXELS, "WEBP")[:200], "cannot be opened"),
    os.fsdecode(b"\xff.jpg"): (b"", r"\\udcff\.jpg is empty"),
}
# … and other things.
NO_IMAGES = {
    "a missing file": ("nowhere.jpg", "does not exist"),
    "a folder": (".", "is a directory"),
    "a device": ("/dev/zero", "is not a regular file"),
    "None": (None, "is a missing value"),
    "NA": (pd.NA, "is a missing value"),
    "a number": (7, "is a int, not an image"),
    "NaN among pixels": (np.where(FLOATS > 0.9, np.nan, FLOATS), "has NaN or infinity"),
    "infinity among pixels": (np.where(FLOATS > 0.9, np.inf, FLOATS), "has NaN or infinity"),
    "channels first": (PIXELS.transpose(2, 0, 1), r"has shape \(3, 20, 30\), not \(h, w\)"),
    "four channels": (np.dstack([PIXELS, GREY]), r"has shape \(20, 30, 4\)"),
    "pixels outside the range": (PIXELS * 2.0, r"outside input_range=\(0, 255\)"),
    "an empty array": (PIXELS[:0], "has no pixels"),
}


@pytest.fixture(params=[*DAMAGED, *UNREADABLE, *NO_IMAGES, "fifo.jpg", "huge.jpg"])
def bad(request, tmp_path):
    """What is no image, and the reason to be given."""
    name, path = request.param, tmp_path / request.param
    if name == "fifo.jpg":
        os.mkfifo(path)
        return path, "is not a regular file"
    if name == "huge.jpg":
        with open(path, "wb") as file:
            file.truncate(1 << 42)
        return path, "is too large"
    if name in NO_IMAGES:
        return NO_IMAGES[name]
    content, reason = {**DAMAGED, **UNREADABLE}[name]
    path.write_bytes(content)
    return path, reason


def test_a_bad_row_is_refused_by_name_everywhere(bad, fitted):
    source, reason = bad
    X = [*IMAGES[:3], source, *IMAGES[3:6]]
    estimator = transformer().fit(X)  # which opens nothing
    for use in (
        estimator.transform,
        fitted.predict,
        lambda X: classifier().fit(X, LABELS[:7]),
    ):
        with pytest.raises(InvalidImagesError, match=f"row 3: .*{reason}") as caught:
            use(X)
        assert [row.row for row in caught.value.rows] == [3]
        str(caught.value).encode()  # so that any terminal or log takes it
    with pytest.warns(InvalidImagesWarning, match=f"row 3: .*{reason}"):
        features = transformer(on_error="nan").fit_transform(X)
    np.testing.assert_array_equal(np.isnan(features).all(axis=1), np.arange(7) == 3)
    np.testing.assert_array_equal(
        features[[0, 1, 2, 4, 5, 6]], estimator.transform(IMAGES[:6])
    )


def write(folder, files):
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def misses(function, *arguments):
    """How many images a function computes, and the rows that its error names."""
    before = transformer().cache_info().misses
    with pytest.raises(InvalidImagesError) as caught:
        function(*arguments)
    return transformer().cache_info().misses - before, [row.row for row in caught.value.rows]


@pytest.mark.parametrize("hidden_units", [(), (8,)])
def test_all_bad_rows_are_named_at_once_and_nothing_is_paid_twice(tmp_path, hidden_units):
    fine = classifier(hidden_units=hidden_units)
    y, views = np.arange(12 + len(DAMAGED)) % 2, 3  # unaltered, and two augmented
    views -= bool(hidden_units)  # such a head sees augmented ones only
    X = [*write(tmp_path, UNREADABLE | DAMAGED), *IMAGES]  # of both kinds
    bad = list(range(len(UNREADABLE | DAMAGED)))
    assert misses(fine.fit, X, np.arange(len(X)) % 2) == (0, bad)
    assert misses(transformer().fit_transform, X) == (0, bad)
    X = [*write(tmp_path, DAMAGED), *IMAGES]
    damaged = list(range(len(DAMAGED)))
    assert misses(fine.fit, X, y) == (12 * views, damaged)
    assert misses(fine.fit, X, y) == (0, damaged)
    before = transformer().cache_info().misses
    fine.fit(IMAGES, LABELS)
    assert transformer().cache_info().misses == before


@pytest.mark.parametrize("hidden_units", [(), (8,)])
def test_without_a_cache_all_bad_rows_are_named_too(tmp_path, hidden_units):
    X = [*write(tmp_path, DAMAGED), *IMAGES]
    uncached = classifier(hidden_units=hidden_units, cache_dir=None)
    assert misses(uncached.fit, X, np.arange(len(X)) % 2) == (0, list(range(len(DAMAGED))))
    with pytest.raises(InvalidImagesError, match="rows of X_val cannot be used"):
        uncached.fit(IMAGES, LABELS, X_val=X, y_val=np.arange(len(X)) % 2)


@pytest.mark.parametrize("cache_dir", ["default", None])
def test_a_file_that_goes_bad_during_training_is_named(tmp_path, cache_dir):
    from sktransfer._runtime.keras import keras

    paths = write(tmp_path, {f"{i}.png": (encoded(PIXELS + i), None) for i in range(12)})

    class Damage(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            paths[5].write_bytes(JPEG)

    fresh = classifier(
        hidden_units=(8,),
        head_epochs=4,
        augmentation_views=None,  # and so drawn from the file in each epoch
        keras_callbacks=[Damage()],
        cache_dir=cache_dir,
    )
    with pytest.raises(InvalidImagesError, match=r"row 5: .*5\.png was changed"):
        fresh.fit(paths, LABELS)


@pytest.mark.parametrize("cache_dir", ["default", None])
def test_bad_rows_are_left_out_of_a_fit_if_asked(tmp_path, cache_dir):
    bad = write(tmp_path, {**DAMAGED, **UNREADABLE})
    X, y = [*bad, *IMAGES], np.array([*["only bad"] * len(bad), *LABELS.astype(str)])
    lenient = classifier(
        on_error="nan", cache_dir=cache_dir, early_stopping=True, hidden_units=(8,)
    )
    weights, y_val = np.arange(1.0, len(X) + 1), ["0", *y[len(bad) :]]
    with (
        pytest.warns(InvalidImagesWarning, match="1 row of X_val cannot"),
        pytest.warns(InvalidImagesWarning, match=f"{len(bad)} rows of X cannot"),
    ):
        lenient.fit(X, y, sample_weight=weights, X_val=[None, *IMAGES], y_val=y_val)
    strict = clone(lenient).set_params(on_error="raise")
    good = slice(len(bad), None)
    strict.fit(X[good], y[good], weights[good], X_val=IMAGES, y_val=y[good])
    assert lenient.classes_.tolist() == strict.classes_.tolist() == ["0", "1"]
    for method in ("predict_proba", "decision_function"):
        with pytest.warns(InvalidImagesWarning, match="outputs are NaN"):
            outputs = getattr(lenient, method)(X)
        assert np.isnan(outputs[: len(bad)]).all()
        np.testing.assert_array_equal(outputs[good], getattr(strict, method)(IMAGES))
    with pytest.raises(InvalidImagesError, match="row 0: "):
        lenient.predict(X)
    assert lenient.predict(IMAGES).tolist() == strict.predict(IMAGES).tolist()
    with pytest.raises(InvalidImagesError, match=f"{len(bad)} rows of X cannot"):
        lenient.fit(bad, np.arange(len(bad)) % 2)  # none is left
    with (
        pytest.warns(InvalidImagesWarning),
        pytest.raises(ValueError, match=r"one class|1 class"),
    ):
        lenient.fit([*bad, IMAGES[0]], y[: len(bad) + 1])


def test_bad_rows_of_validation_images_are_called_so():
    with pytest.raises(InvalidImagesError, match="1 row of X_val cannot be used") as caught:
        classifier().fit(IMAGES, LABELS, X_val=[*IMAGES[:3], None], y_val=LABELS[:4])
    assert [row.row for row in caught.value.rows] == [3]


def test_classifiers_refuse_rows_of_nan():
    X = [*IMAGES, None]
    pipe = make_pipeline(transformer(on_error="nan"), LogisticRegression())
    with (
        pytest.warns(InvalidImagesWarning, match="row 12"),
        pytest.raises(ValueError, match="contains NaN"),
    ):
        pipe.fit(X, [*LABELS, 0])
    rows = IMAGES.reshape(12, -1).astype(float)
    rows[3, 5] = np.nan
    by_pixels = classifier(image_shape=(8, 8, 3))
    with pytest.raises(ValueError, match="contains NaN"):
        by_pixels.fit(rows, LABELS)
    by_pixels.fit(IMAGES.reshape(12, -1), LABELS)
    with pytest.raises(ValueError, match="contains NaN"):
        by_pixels.predict(rows)


MISSING = [None, float("nan"), pd.NA]


@pytest.mark.parametrize(
    "column",
    [
        lambda values: pd.DataFrame({"path": pd.Series(values, dtype=object)}),
        lambda values: pd.DataFrame({"path": pd.Series(values, dtype="string")}),
        lambda values: pl.DataFrame({"path": [None if pd.isna(v) else v for v in values]}),
    ],
    ids=["objects", "strings", "polars"],
)
@pytest.mark.parametrize("n_paths", [0, 3])
def test_missing_values_in_a_column_of_paths_are_named_by_row(tmp_path, column, n_paths):
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]
    for path, pixels in zip(paths, IMAGES, strict=False):
        Image.fromarray(pixels).save(path)
    X, y = column([*paths[:n_paths], *MISSING]), LABELS[: n_paths + 3]
    uses = (
        transformer().fit_transform,
        classifier().fit(column(paths), LABELS[:4]).predict,
        lambda X: classifier().fit(X, y),
    )
    for use in uses:
        with pytest.raises(InvalidImagesError, match="is a missing value") as caught:
            use(X)
        assert [row.row for row in caught.value.rows] == [n_paths + i for i in range(3)]


def test_dark_floats_are_suspicious_however_they_are_passed(fitted):
    X = list(IMAGES / 255.0)
    uses = (
        transformer().fit,
        transformer().transform,
        fitted.predict,
        lambda X: classifier().fit(X, LABELS),
    )
    for use in uses:
        for form in (X, np.stack(X)):
            with pytest.warns(UserWarning, match=r"is input_range=\(0, 1\) meant"):
                use(form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transformer().transform([*X, np.stack([PIXELS / 2.0])[0]])  # not all of it is dark


def test_bright_floats_are_refused_where_0_to_1_is_meant():
    darker = transformer(input_range=(0, 1))
    fine = classifier(input_range=(0, 1), cache_dir=None).fit(IMAGES / 255.0, LABELS)
    for use in (darker.fit_transform, fine.predict, lambda X: clone(fine).fit(X, LABELS)):
        for form in (IMAGES / 1.0, list(IMAGES / 1.0), IMAGES):
            with pytest.raises(
                InvalidImagesError, match=r"row 11: .*outside input_range=\(0, 1\)"
            ):
                use(form)


def test_an_image_edited_in_place_is_predicted_anew(tmp_path, fitted):
    path = tmp_path / "image.bmp"  # of a size that does not depend on the pixels
    kept = fitted.set_params(cache_dir="default")
    for pixels in (IMAGES[0], IMAGES[1]):
        Image.fromarray(pixels).save(path)
        os.utime(path, (1, 1))
        got, meant = (kept.decision_function(X) for X in ([path], pixels[None]))
        np.testing.assert_array_equal(got, meant)
    fitted.set_params(cache_dir=None)


def test_truncated_files_that_pillow_is_told_to_accept_are_kept_apart(monkeypatch):
    X = [JPEG[: len(JPEG) // 2]]
    with monkeypatch.context() as lenient:
        lenient.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        assert np.isfinite(transformer().transform(X)).all()
    with pytest.raises(InvalidImagesError, match="is truncated"):
        transformer().transform(X)


def test_the_limit_of_pixels_changes_no_key_and_can_be_raised():
    X = [UNREADABLE["bomb.png"][0]]
    expected = transformer(max_image_pixels=10_100).transform(X)
    before = transformer().cache_info().misses
    np.testing.assert_array_equal(transformer(max_image_pixels=None).transform(X), expected)
    assert transformer().cache_info().misses == before


def use_without_rights(connection, path, fitted):
    """Send what is said where this user may not read a file."""
    processes.begin(connection)
    unseen = transformer(cache_dir=None)
    uses = unseen.transform, fitted.predict, lambda X: clone(fitted).fit(X, [0, 1])
    for use in uses:
        use(IMAGES[:2])  # and import all that an ordinary user may not be allowed to read
    processes.drop_rights()
    said = []
    for use in uses:
        try:
            use([path] * 2)
        except InvalidImagesError as error:
            said.append(str(error))
    connection.send(said)


def test_a_file_without_permission_is_named_everywhere(fitted):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "secret.png"
        path.write_bytes(encoded(PIXELS))
        path.chmod(0)
        path.parent.chmod(0o755)
        said = processes.finish(*processes.start(use_without_rights, path, fitted))
    assert len(said) == 3
    for message in said:
        for row in range(2):
            assert f"row {row}: {path} may not be read (permission denied)" in message
