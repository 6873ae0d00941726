import functools
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations

import numpy as np
import processes
import pytest
from agreement import assert_same_features
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import extractor
from PIL import Image
from safetensors.numpy import load_file

from sktransfer import (
    CacheWarning,
    ImageAugmentation,
    InvalidImagesError,
    InvalidImagesWarning,
    PretrainedFeatureTransformer,
)
from sktransfer._features import reading
from sktransfer._features.cache import FeatureCache
from sktransfer._features.extractor import find_info
from sktransfer._features.keys import ViewKey
from sktransfer._features.reading import ImageReader
from sktransfer._features.shelves import Shelves
from sktransfer._images import digests
from sktransfer._networks.engines import ENGINES
from sktransfer._networks.preprocessing import Preprocessing
from sktransfer._networks.source import TINY_WEIGHTS, source_of
from sktransfer._runtime.backend import keras_backend

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)


def doubled(pixels):
    return pixels * 2


def squared(pixels):
    return pixels**2


def squared_too(pixels):
    return pixels * pixels


doubled.cache_token, squared.cache_token, squared_too.cache_token = "2 x", "x²", "x²"
AUGMENTATION = {
    "rotation_range": st.sampled_from([10, 10.0, 20.0]),
    "width_shift_range": st.sampled_from([0.1, 0.2]),
    "height_shift_range": st.sampled_from([0.1, 0.2]),
    "shear_range": st.sampled_from([0, 0.0, 5.0]),
    "zoom_range": st.sampled_from([0.1, 0.2]),
    "horizontal_flip": st.booleans(),
    "vertical_flip": st.booleans(),
    "brightness_range": st.sampled_from([0.0, 0.1]),
    "fill_mode": st.sampled_from(["nearest", "reflect", "wrap", "constant"]),
    "seed": st.integers(0, 1),
}
SETTINGS = {
    "weights": st.sampled_from(["pretrained", None, "pretrained.weights.h5", "0.weights.h5"]),
    "layer": st.sampled_from([None, "block3_pool", "block2_pool"]),
    "pooling": st.sampled_from([None, "avg", "max"]),
    "input_size": st.sampled_from([None, (32, 32), (32, 24)]),
    "preprocessing": st.sampled_from(
        ["backbone", "rescale", None, doubled, squared, squared_too]
    ),
    "input_range": st.sampled_from([(0, 255), [0.0, 255.0], (0, 256)]),
    "precision": st.sampled_from(["float32", "bfloat16"]),
    "engine": st.sampled_from(["keras", "openvino"]),
    "view": st.integers(0, 2),
    **AUGMENTATION,
    # What changes no feature, and so no key.
    "max_image_pixels": st.sampled_from([None, 1000]),
}
MEANT = {  # two ways to say the same
    "weights": lambda weights: weights and weights.removesuffix(".weights.h5"),
    "preprocessing": lambda how: getattr(how, "cache_token", how),
    "layer": lambda layer: layer or "block3_pool",
    "input_size": lambda size: size or (32, 32),
    "input_range": lambda bounds: tuple(map(float, bounds)),
    "max_image_pixels": lambda number: None,
}


def tiny(**parameters):
    return PretrainedFeatureTransformer("tiny", **{"pooling": "avg", **parameters})


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory):
    """A folder of two files: the weights that the network comes with, and noughts."""
    from sktransfer._networks.tiny import build

    folder, model = tmp_path_factory.mktemp("weights"), build((32, 32, 3))
    packed = load_file(TINY_WEIGHTS)
    model.set_weights([packed[weight.path] for weight in model.weights])
    model.save_weights(folder / "pretrained.weights.h5")
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    model.save_weights(folder / "0.weights.h5")
    return folder


def key_under(parameters, weights_folder):
    """The key of a view of an image, as an estimator with those parameters makes it."""
    given = dict(parameters)
    weights, number = given["weights"], given["view"]
    if str(weights).endswith(".h5"):
        weights = weights_folder / weights
    source = source_of("tiny", weights, None, given["input_size"])
    cache = FeatureCache(weights_folder.parent / "keys")
    info, how = find_info(source, cache), given["preprocessing"]
    how = source.own_preprocessing() if how == "backbone" else how
    shelves = Shelves(
        cache,
        info,
        [info.cut_at(given["layer"], given["pooling"])],
        ImageReader(given["input_range"], given["max_image_pixels"], Preprocessing(how)),
        ENGINES[given["engine"]].key(),
        given["precision"],
        ImageAugmentation(**{name: given[name] for name in AUGMENTATION}),
    )
    return shelves.shelf(0, number).key_of(ViewKey(b"digest of an image", number))


def meant_by(parameters):
    """What those parameters come to."""
    ignored = {} if parameters["view"] else AUGMENTATION  # of which view 0 knows nothing
    return {
        name: MEANT.get(name, lambda value: value)(value)
        for name, value in parameters.items()
        if name not in ignored
    }


@settings(max_examples=50)
@given(first=st.fixed_dictionaries(SETTINGS), last=st.fixed_dictionaries(SETTINGS))
def test_keys_differ_exactly_when_features_may(weights_folder, first, last):
    steps = [first]
    for name in SETTINGS:  # from one to the other, a parameter at a time
        steps.append(steps[-1] | {name: last[name]})
    found = [(key_under(step, weights_folder), meant_by(step)) for step in steps]
    for (key, meaning), (other, other_meaning) in combinations(found, 2):
        assert (key == other) == (meaning == other_meaning)


@pytest.mark.filterwarnings("ignore:this CPU has no bfloat16:UserWarning")
def test_what_changes_features_and_nothing_else_has_them_computed_anew():
    tiny().fit_transform(IMAGES[:1])
    for parameters, n_computed in (
        ({"weights": None}, 1),
        ({"layer": "block2_pool"}, 1),
        ({"pooling": "max"}, 1),
        ({"input_size": (32, 24)}, 1),
        ({"preprocessing": None}, 1),
        ({"input_range": (0, 256)}, 1),
        ({"precision": "bfloat16"}, 1),
        ({"n_jobs": 2}, 0),
        ({"max_image_pixels": 1000}, 0),
        ({"on_error": "nan"}, 0),
    ):
        transformer = tiny(**parameters)
        misses = transformer.cache_info().misses
        transformer.fit_transform(IMAGES[:1])
        assert transformer.cache_info().misses == misses + n_computed, parameters


@settings(max_examples=25)
@given(
    order=st.lists(st.integers(0, len(IMAGES) - 1), min_size=1, max_size=30),
    cached=st.booleans(),
)
def test_rows_depend_on_no_other_row(tmp_path_factory, order, cached):
    folder = tmp_path_factory.getbasetemp() / "order" if cached else None
    expected = tiny(cache_dir=None).fit_transform(IMAGES)
    got = tiny(cache_dir=folder).fit_transform(IMAGES[order])
    assert_same_features(got, expected[order])


def test_every_image_is_computed_once():
    transformer = tiny()
    before = transformer.cache_info()
    transformer.fit_transform(IMAGES)
    assert transformer.cache_info()[:2] == (before.hits, before.misses + 12)
    transformer.fit_transform(np.concatenate([IMAGES, IMAGES]))
    assert transformer.cache_info()[:2] == (before.hits + 24, before.misses + 12)
    tiny(layer="block2_pool").fit_transform(IMAGES)
    assert transformer.cache_info().misses == before.misses + 24
    assert transformer.cache_info().bytes > 12 * (48 + 32) * 4


def test_the_same_image_twice_is_computed_once():
    transformer = tiny()
    features = transformer.fit_transform(np.concatenate([IMAGES[:3]] * 4))
    assert transformer.cache_info().misses == 3
    np.testing.assert_array_equal(features, np.concatenate([features[:3]] * 4))


def test_without_a_cache_all_is_computed_every_time():
    transformer = tiny(cache_dir=None)
    before = transformer.cache_info().misses
    for _ in range(2):
        transformer.fit_transform(IMAGES)
    assert transformer.cache_info().misses == before + 24
    assert transformer.cache_info().bytes == 0


@pytest.mark.parametrize("settled", [0.1, digests.SETTLED_SECONDS])  # remembered, or not
def test_a_file_that_was_changed_is_computed_anew(settled, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED_SECONDS", settled)
    kinds = "in place", "replaced", "linked", "the same"
    paths = [tmp_path / f"{kind}.bmp" for kind in kinds]  # the size depends on no pixels
    in_place, replaced, linked, same = paths
    linked.symlink_to(tmp_path / "first.bmp")
    for path, image in zip(paths, IMAGES, strict=False):
        Image.fromarray(image).save(path, "BMP")
    for i, image in enumerate(IMAGES[4:6]):
        Image.fromarray(image).save(tmp_path / f"new {i}", "BMP")
    statuses = [path.stat() for path in paths]
    assert len({status.st_size for status in statuses}) == 1
    time.sleep(0.2)
    for _ in range(2):  # the second time by what is remembered
        np.testing.assert_array_equal(
            tiny().fit_transform(paths), tiny().transform(IMAGES[:4])
        )
    in_place.write_bytes((tmp_path / "new 0").read_bytes())
    os.utime(in_place, ns=(statuses[0].st_atime_ns, statuses[0].st_mtime_ns))
    (tmp_path / "new 1").rename(replaced)
    os.utime(replaced, ns=(statuses[1].st_atime_ns, statuses[1].st_mtime_ns))
    linked.unlink()
    linked.symlink_to(same)
    np.testing.assert_array_equal(
        tiny().transform(paths), tiny().transform(IMAGES[[4, 5, 3, 3]])
    )


def test_a_flipped_byte_is_computed_anew(cache):
    expected = tiny().fit_transform(IMAGES)
    segment, *_ = segments(cache)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 4
    segment.write_bytes(content)
    transformer = tiny()
    misses = transformer.cache_info().misses
    if keras_backend() == "torch":  # by which an image alone rounds otherwise
        assert_same_features(transformer.fit_transform(IMAGES), expected)
    else:
        np.testing.assert_array_equal(transformer.fit_transform(IMAGES), expected)
    assert transformer.cache_info().misses == misses + 1


def test_a_damaged_or_stale_manifest_does_no_harm(cache):
    expected = tiny().fit_transform(IMAGES)
    [manifest] = (cache / "networks").iterdir()
    for damage in (b"", b"{}", manifest.read_bytes()[:100]):
        manifest.write_bytes(damage)
        np.testing.assert_array_equal(tiny().fit_transform(IMAGES), expected)
    source, kept = source_of("tiny"), FeatureCache("default")
    info = find_info(source, kept)
    stale = replace(info, fingerprint="old")
    moved = replace(stale, layers=info.layers[1:], output=info.output - 1)
    for known in (stale, moved):
        kept.write_info(source.identity(), known)
        misses = tiny().cache_info().misses
        np.testing.assert_array_equal(tiny().fit_transform(IMAGES), expected)
        assert tiny().cache_info().misses == misses
        assert find_info(source, FeatureCache("default")) == info


def test_what_does_not_fit_is_computed_and_not_kept(monkeypatch):
    monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", "1000")
    expected = tiny(cache_dir=None).fit_transform(IMAGES)
    with pytest.warns(CacheWarning, match="SKTRANSFER_CACHE_SIZE") as caught:
        got = tiny().fit_transform(IMAGES)
    np.testing.assert_array_equal(got, expected)
    assert tiny().cache_info().bytes == 0
    needed = re.search(r"SKTRANSFER_CACHE_SIZE=([\d.e+]+)", str(caught[0].message))[1]
    monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", needed)
    tiny().fit_transform(IMAGES)
    assert tiny().cache_info().bytes > 0


def test_all_bad_rows_are_named_before_anything_is_computed(tmp_path):
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html>")
    (tmp_path / "empty.jpg").touch()
    names = ["page.jpg", "empty.jpg", "missing.jpg", "."]
    X = [IMAGES[0], *(str(tmp_path / name) for name in names), None, IMAGES[1], IMAGES[:3]]
    misses = tiny().cache_info().misses
    with pytest.raises(InvalidImagesError) as caught:
        tiny().fit_transform(X)
    assert tiny().cache_info().misses == misses
    assert [row.row for row in caught.value.rows] == [1, 2, 3, 4, 5, 7]
    assert [row.source for row in caught.value.rows] == [*X[1:5], None, None]
    for reason in ("HTML", "empty", "does not exist", "a directory", "missing", "shape"):
        assert reason in str(caught.value)


def truncated_photograph(folder):
    from PIL import Image

    path = folder / "truncated.jpg"
    Image.fromarray(IMAGES[0]).resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def test_what_only_decoding_shows_costs_no_good_row(tmp_path):
    path = truncated_photograph(tmp_path)
    transformer = tiny()
    with pytest.raises(InvalidImagesError, match=r"row 4: .*truncated\.jpg is truncated"):
        transformer.fit_transform([*IMAGES[:4], path, *IMAGES[4:]])
    misses = transformer.cache_info().misses
    transformer.fit_transform(IMAGES)
    assert transformer.cache_info().misses == misses


def test_bad_rows_may_become_nan(tmp_path):
    X = [IMAGES[0], tmp_path / "missing.jpg", IMAGES[1], truncated_photograph(tmp_path)]
    with pytest.warns(InvalidImagesWarning, match=r"(?s)row 1: .* row 3: .* NaN"):
        features = tiny(on_error="nan").fit_transform(X)
    np.testing.assert_array_equal(features[[0, 2]], tiny().transform(IMAGES[:2]))
    assert np.isnan(features[[1, 3]]).all()


def test_pixels_outside_the_range_are_refused():
    with pytest.raises(InvalidImagesError, match=r"row 1: .*input_range=\(0, 1\)"):
        tiny(input_range=(0, 1)).fit_transform(np.stack([IMAGES[0] / 255.0, IMAGES[1] / 100]))


def test_a_function_as_preprocessing_needs_a_token_to_be_cached():
    def halve(pixels):
        return pixels / 2

    with pytest.raises(ValueError, match="cache_token"):
        tiny(preprocessing=halve).fit_transform(IMAGES)
    expected = tiny(preprocessing=halve, cache_dir=None).fit_transform(IMAGES)
    halve.cache_token = "halve, first version"
    np.testing.assert_array_equal(tiny(preprocessing=halve).fit_transform(IMAGES), expected)


def test_a_function_that_changes_the_shape_is_named():
    def crop(pixels):
        return pixels[:, :8]

    with pytest.raises(ValueError, match=r"crop.*made an array of shape"):
        tiny(preprocessing=crop, cache_dir=None).transform(IMAGES)


@pytest.mark.parametrize("held_bytes", [1 << 20, 0])
def test_a_file_that_changes_after_it_was_read_is_as_it_was_or_named(
    held_bytes, tmp_path, monkeypatch
):
    from PIL import Image

    monkeypatch.setattr(reading, "HELD_BYTES", held_bytes)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.fromarray(IMAGES[0]).save(path)
    reader, cuts = extractor(LAYERS)
    images = reader.identify(paths)
    Image.fromarray(IMAGES[1]).save(paths[0])
    rows = reader.rows(images, [(0, 0), (1, 0)], cuts)
    if held_bytes:
        np.testing.assert_array_equal(rows[1], tiny().transform(IMAGES[[0, 0]]))
        return
    assert all(np.isnan(part).all() for part in rows)
    assert "changed while" in images.bad[0]


COUNT_READINGS = """
import os, sys
import numpy as np
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
from sktransfer._images import digests
paths, cache = sys.argv[2:], sys.argv[1]
readings = []

def note(event, arguments):
    if event == "open" and str(arguments[0]) in paths:
        readings.append(arguments[0])

sys.addaudithook(note)
digests.SETTLED_SECONDS = 0  # else what has just been made is not remembered
classifier = FineTunedConvNetClassifier("tiny", unfreeze=0, head_C=1.0, cache_dir=cache)
classifier.fit(paths, np.arange(len(paths)) % 2)
print(len(readings))
PretrainedFeatureTransformer("tiny", cache_dir=None).fit_transform(paths)
print(len(readings))
classifier.fit(paths, np.arange(len(paths)) % 2)  # whose rows are there
print(len(readings))
"""


def test_a_file_is_read_once_in_a_cold_run_and_not_in_a_warm_one(tmp_path):
    paths = []
    for i in range(6):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(paths[-1])
    command = [sys.executable, "-c", COUNT_READINGS, str(tmp_path / "cache"), *paths]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert printed.split() == ["6", "12", "12"]


def test_threads_load_a_pil_image_one_after_the_other(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    expected = tiny(cache_dir=None).fit_transform([str(tmp_path / "large.png")])
    for _ in range(5):  # of an image that has not been loaded
        image = Image.open(tmp_path / "large.png")
        features = tiny(cache_dir=None, n_jobs=4).fit_transform([image] * 40)
        assert_same_features(features, np.repeat(expected, 40, axis=0))


def test_threads_share_a_cache():
    from concurrent.futures import ThreadPoolExecutor

    expected = tiny(cache_dir=None).fit_transform(IMAGES)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: tiny().fit_transform(IMAGES), range(8)):
            np.testing.assert_array_equal(got, expected)


N_IMAGES = 2000


def many_images():
    return np.random.default_rng(1).integers(0, 256, (N_IMAGES, 8, 8), dtype=np.uint8)


def extract_many(connection, cache_dir):
    """Send how many features were computed here, and all of them."""
    processes.begin(connection)
    transformer = tiny(input_size=(64, 64), cache_dir=cache_dir)
    features = transformer.fit_transform(many_images())
    connection.send((transformer.cache_info().misses, features))


FINDING = """
import sys
import numpy as np
from sktransfer import PretrainedFeatureTransformer
transformer = PretrainedFeatureTransformer("tiny", pooling="avg", input_size=(64, 64))
np.save(sys.argv[2], transformer.fit_transform(np.load(sys.argv[1])))
print(transformer.cache_info().misses, "keras" in sys.modules)
"""


@functools.cache
def of_the_first_99():
    """What those processes make of their first images, made here and without a cache."""
    return tiny(input_size=(64, 64), cache_dir=None).fit_transform(many_images()[:99])


def assert_all_is_found(made, folder):
    """Another process finds all, without Keras, and they are right."""
    np.save(folder / "images.npy", many_images())
    command = [sys.executable, "-c", FINDING, folder / "images.npy", folder / "found.npy"]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout == "0 False\n"
    assert_same_features(np.load(folder / "found.npy"), made)
    assert_same_features(made[:99], of_the_first_99())


def segments(cache):
    return set(cache.rglob("*.safetensors"))


def test_processes_that_are_killed_or_work_at_once_share_their_work(cache, tmp_path):
    for delay in (0.0, 0.3):
        before, (process, _) = segments(cache), processes.start(extract_many, cache)
        while segments(cache) == before and process.is_alive():
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.join()
    n_kept = sum(len(load_file(path)["keys"]) for path in segments(cache))
    running = [processes.start(extract_many, cache) for _ in range(2)]
    (misses, made), (others, the_same) = (processes.finish(*each) for each in running)
    assert 0 < n_kept < N_IMAGES
    n_left = N_IMAGES - n_kept
    assert n_left <= misses + others <= n_left + 0.2 * N_IMAGES  # and 0.1 as a rule
    assert_same_features(the_same, made)
    assert_all_is_found(made, tmp_path)


LAYERS = {"block2_pool": None, None: "avg"}


def test_several_views_at_several_cuts_come_from_one_pass():
    one_pass, cuts = extractor(LAYERS)
    images = one_pass.identify(IMAGES)
    misses = tiny().cache_info().misses
    one_pass.fill(images, range(3), range(12))
    assert tiny().cache_info().misses == misses + 3 * 12
    items = [(row, view) for view in range(3) for row in range(12)]
    several = one_pass.rows(images, items, cuts)
    assert tiny().cache_info().misses == misses + 3 * 12
    for cut, got in zip(cuts, several, strict=True):
        np.testing.assert_array_equal(one_pass.rows(images, items, [cut])[0], got)
        alone, _ = extractor(LAYERS, cache_dir=None)
        [expected] = alone.rows(alone.identify(IMAGES), items, [cut])
        assert_same_features(got, expected)
        assert got.shape[1:] == one_pass.shape(cut)
    pooled = several[1]
    np.testing.assert_array_equal(tiny().transform(IMAGES), pooled[:12])
    assert not np.array_equal(pooled[:12], pooled[12:24])
    assert not np.array_equal(pooled[12:24], pooled[24:])


def test_cuts_come_in_the_order_in_which_they_are_asked_for():
    both, cuts = extractor(LAYERS)
    images, items = both.identify(IMAGES), [(0, 0), (1, 1)]
    forward, backward = both.rows(images, items, cuts), both.rows(images, items, cuts[::-1])
    for got, expected in zip(backward[::-1], forward, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_view_is_the_same_in_any_subset_and_after_any_other():
    whole, cuts = extractor({None: "avg"})
    [rows] = whole.rows(whole.identify(IMAGES), [(5, 2), (3, 1)], cuts)
    part, cuts = extractor({None: "avg"}, cache_dir=None)
    [again] = part.rows(part.identify(IMAGES[[3, 5]]), [(0, 1), (1, 2)], cuts)
    assert_same_features(rows, again[::-1])


def test_another_augmentation_is_another_view():
    rows = []
    for parameters in ({}, {"seed": 1}, {"rotation_range": 11}, {"fill_mode": "wrap"}):
        augmentation = ImageAugmentation(**parameters)
        made, cuts = extractor({None: "avg"}, augmentation=augmentation)
        rows += made.rows(made.identify(IMAGES[:1]), [(0, 1)], cuts)
    assert all(not np.array_equal(a, b) for a, b in combinations(rows, 2))


def test_room_is_not_made_at_the_expense_of_what_is_used(cache, monkeypatch):
    filling, _ = extractor(LAYERS)
    filling.fill(filling.identify(IMAGES), [0], range(6))
    kept = segments(cache)
    for path in kept:
        os.utime(path, (1, 1))
    tiny(layer="block1_pool", pooling=None).transform(IMAGES)
    others = segments(cache) - kept
    for path in others:
        os.utime(path, (2, 2))
    monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", str(tiny().cache_info().bytes))
    using, _ = extractor(LAYERS)
    using.fill(using.identify(IMAGES), [0], range(12))
    assert all(path.exists() for path in kept)
    assert not all(path.exists() for path in others)  # segments, as many as are in the way


def test_what_is_not_to_be_kept_is_not():
    fresh, cuts = extractor(LAYERS)
    fresh.rows(fresh.identify(IMAGES), [(0, 1), (1, 1)], cuts, keep=False)
    assert tiny().cache_info().bytes == 0
