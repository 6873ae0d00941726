"""Features that do not fit into memory: a batch at a time, and into arrays on a disk."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sktransfer import (
    CacheWarning,
    InvalidImagesError,
    InvalidImagesWarning,
    PretrainedFeatureTransformer,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)


def transformer(**parameters):
    return PretrainedFeatureTransformer("tiny", pooling="avg", **parameters)


@pytest.mark.parametrize("batch_size", [1, 16, 50, 1000])
@pytest.mark.parametrize("layer", [None, ["block3_pool", "block1_pool"]])
def test_batches_are_the_features_in_parts(layer, batch_size):
    expected = transformer(layer=layer).transform(IMAGES)
    batches = list(transformer(layer=layer).transform_batches(IMAGES, batch_size=batch_size))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    np.testing.assert_array_equal(np.concatenate(batches), expected)


@pytest.mark.parametrize("container", [list, pd.Series, pl.Series, np.array])
def test_what_holds_the_images_does_not_matter(container, tmp_path):
    from PIL import Image

    paths = [str(tmp_path / f"{i}.png") for i in range(10)]
    for image, path in zip(IMAGES, paths, strict=False):
        Image.fromarray(image).save(path)
    batches = transformer().transform_batches(container(paths), batch_size=4)
    expected = transformer().transform(IMAGES[:10])
    np.testing.assert_allclose(np.concatenate(list(batches)), expected, rtol=1e-5)


def test_rows_of_pixels_in_batches():
    rows = transformer(image_shape=(8, 8)).transform_batches(IMAGES.reshape(50, 64))
    np.testing.assert_array_equal(next(rows), transformer().transform(IMAGES))


def test_a_batch_is_computed_when_it_is_asked_for():
    features = transformer()
    before = features.cache_info().misses
    batches = features.transform_batches(IMAGES, batch_size=20)
    assert features.cache_info().misses == before
    next(batches)
    assert features.cache_info().misses == before + 20


def test_a_bad_image_is_named_by_its_row_when_its_batch_comes():
    X = [*IMAGES[:30], "lost.jpg", *IMAGES[30:40], "gone.jpg"]
    batches = transformer().transform_batches(X, batch_size=16)
    next(batches)
    with pytest.raises(InvalidImagesError, match=r"row 30: lost\.jpg") as caught:
        next(batches)
    assert [row.row for row in caught.value.rows] == [30]
    with pytest.warns(InvalidImagesWarning) as warned:
        _, last = transformer(on_error="nan").transform_batches(X, batch_size=41)
    for warning, row in zip(warned, ("row 30: lost.jpg", "row 41: gone.jpg"), strict=True):
        assert row in str(warning.message)
    assert np.isnan(last).all()


@pytest.mark.parametrize(("batch_size", "error"), [(0, ValueError), (2.5, TypeError)])
def test_an_impossible_batch_size_is_refused_at_once(batch_size, error):
    with pytest.raises(error, match="batch_size"):
        transformer().transform_batches(IMAGES, batch_size=batch_size)


def test_features_beyond_the_limit_of_the_cache_are_right_with_one_warning(monkeypatch):
    expected = transformer(cache_dir=None).transform(IMAGES)
    monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", "5000")  # of 9,600 bytes and more
    with pytest.warns(CacheWarning, match="limit") as caught:
        batches = list(transformer().transform_batches(IMAGES, batch_size=10))
    assert len(caught) == 1
    np.testing.assert_allclose(np.concatenate(batches), expected, rtol=1e-5)
    assert transformer().cache_info().bytes > 0  # the first batches are kept


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_memory_map_is_filled(dtype, tmp_path):
    out = np.memmap(tmp_path / "features", dtype, "w+", shape=(50, 48))
    assert transformer().transform_into(IMAGES, out, batch_size=16) is out
    np.testing.assert_array_equal(out, transformer().transform(IMAGES).astype(dtype))


def test_what_is_finished_before_a_bad_image_is_written(tmp_path):
    out = np.full((33, 48), -1, np.float32)
    with pytest.raises(InvalidImagesError, match="row 32"):
        transformer().transform_into([*IMAGES[:32], "lost.jpg"], out, batch_size=16)
    np.testing.assert_array_equal(out[:32], transformer().transform(IMAGES[:32]))
    assert (out[32] == -1).all()


def test_an_array_that_features_do_not_fit_into_is_refused_before_the_work():
    features = transformer()
    before = features.cache_info()
    for shape in ((49, 48), (50, 47), (50,)):
        with pytest.raises(ValueError, match=r"out has shape .*, and the features of X \(50"):
            features.transform_into(IMAGES, np.empty(shape, np.float32))
    with pytest.raises(TypeError, match="out has dtype uint8"):
        features.transform_into(IMAGES, np.empty((50, 48), np.uint8))
    assert features.cache_info().misses == before.misses


def test_no_images_have_no_features():
    for X in ([], (), pd.Series([], dtype=object), pd.DataFrame({"path": []}), IMAGES[:0]):
        features = transformer().transform(X)
        assert (features.shape, features.dtype) == ((0, 48), np.float32)
    assert list(transformer().transform_batches([])) == []
    fitted = transformer().set_output(transform="pandas").fit(IMAGES)
    assert fitted.transform([]).shape == (0, 48)


MEMORY = """
import resource, sys
import numpy as np
from sktransfer import PretrainedFeatureTransformer

X = np.random.default_rng(0).integers(0, 256, (int(sys.argv[1]), 8, 8), np.uint8)
transformer = PretrainedFeatureTransformer("tiny", cache_dir=None)
for features in transformer.transform_batches(X):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images():
    few, many = (
        float(subprocess.check_output([sys.executable, "-c", MEMORY, str(n)]))
        for n in (2_000, 20_000)
    )
    assert many < few + 25  # MB; their features are 55 MB more
