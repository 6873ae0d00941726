import os
import shutil
import sys

import keras
import numpy as np
import pytest

from sktransfer import BackboneError
from sktransfer._networks.source import FAMILIES, TINY_WEIGHTS, BackboneSpec
from sktransfer._runtime.backend import keras_backend

PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 9, 9, 3)).astype(np.float32)


def spec(backbone="tiny", **changes):
    defaults = {
        "weights": "pretrained",
        "params": {},
        "input_size": None,
        "preprocessing": "backbone",
        "input_range": (0, 255),
    }
    return BackboneSpec(backbone, **{**defaults, **changes})


APPLICATIONS = sorted(FAMILIES.keys() - {"tiny"})


def constructor(name):
    return getattr(keras.applications, FAMILIES[name].constructor)


def test_the_table_holds_every_network_that_keras_exports():
    exported = {name for name, value in vars(keras.applications).items() if callable(value)}
    assert exported == {FAMILIES[name].constructor for name in APPLICATIONS}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_preprocessing_is_that_of_the_module_in_keras(name):
    module = sys.modules[constructor(name).__module__]
    expected = module.preprocess_input(PIXELS.copy())
    np.testing.assert_array_equal(spec(name).preprocess(PIXELS.copy()), expected)


def test_other_preprocessings():
    rescaled = spec(preprocessing="rescale").preprocess(PIXELS.copy())
    np.testing.assert_allclose(rescaled, PIXELS / 255)
    np.testing.assert_array_equal(spec(preprocessing=None).preprocess(PIXELS), PIXELS)
    halved = spec(preprocessing=lambda pixels: pixels / 2).preprocess(PIXELS)
    np.testing.assert_array_equal(halved, PIXELS / 2)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_native_size_is_the_default(name):
    assert spec(name).size == (FAMILIES[name].native_size,) * 2
    assert spec(name, input_size=[64, np.int64(96)]).size == (64, 96)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_native_size_is_that_of_keras(name):
    if name.startswith("mobilenet_v3"):
        pytest.skip("Keras takes any size, and has weights for 224 × 224")
    native = FAMILIES[name].native_size
    with pytest.raises(ValueError, match=rf"should be \({native}, {native}, 3\)"):
        constructor(name)(weights="imagenet", input_shape=(native + 1, native + 1, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "VGG16"}, "nearest: 'vgg16'"),
        ({"backbone": "vgg61"}, "nearest: .*'vgg16'"),
        ({"backbone": "resnet50v2"}, "nearest: 'resnet50_v2'"),
        ({"backbone": "EfficientNetV2S"}, "nearest: 'efficientnet_v2_s'"),
        ({"backbone": "nothing-like-it"}, "there are: 'convnext_tiny'"),
        (
            {"backbone": "convnext_tiny", "params": {"include_preprocessing": False}},
            "say what preprocessing is",
        ),
        ({"backbone": "missing.keras"}, "no file 'missing.keras'"),
        ({"backbone": 3}, "int"),
        ({"weights": "missing.h5"}, "'missing.h5' is neither"),
        ({"weights": "imagenet"}, "digits"),
        ({"params": {"alpha": 1}}, "no backbone_params"),
        ({"backbone": keras.Sequential()}, "preprocessing"),
        ({"backbone": keras.Sequential(), "weights": None}, "leave weights"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(changes, message):
    with pytest.raises(BackboneError, match=message):
        spec(**changes)


@pytest.mark.parametrize("bounds", [(1, 1), (1, 0), (0,), (0, 1, 2), (0, np.inf)])
def test_an_impossible_input_range_is_refused(bounds):
    with pytest.raises(ValueError, match="input_range"):
        spec(input_range=bounds)


@pytest.mark.parametrize("size", [(32,), (32, 32, 3), (0, 32), (-32, 32), (32.9, 32.9)])
def test_an_impossible_input_size_is_refused(size):
    with pytest.raises(ValueError, match="input_size"):
        spec(input_size=size)


def test_parameters_may_be_numbers_of_numpy():
    identities = [
        spec("mobilenet", weights=None, params={"alpha": alpha}).identity()
        for alpha in (0.5, np.float32(0.5))
    ]
    assert identities[0] == identities[1]


def test_the_identity_follows_whatever_determines_the_network(tmp_path):
    weights = tmp_path / "tiny.weights.h5"
    weights.write_bytes(b"one")
    ways = [
        spec(),
        spec(weights=None),
        spec(input_size=(16, 16)),
        spec(weights=str(weights)),
        spec("mobilenet", weights=None),
        spec("mobilenet", weights=None, params={"alpha": 0.5}),
    ]
    identities = [way.identity() for way in ways]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])
    assert spec().identity() == spec(preprocessing=None, input_range=(0, 16)).identity()


def test_the_identity_notices_a_weights_file_replaced_with_its_times_kept(tmp_path):
    weights = tmp_path / "tiny.weights.h5"
    weights.write_bytes(b"one")
    before, status = spec(weights=weights).identity(), weights.stat()
    while weights.stat().st_ctime_ns == status.st_ctime_ns:  # until the clock of files ticks
        weights.write_bytes(b"two")
        os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert spec(weights=weights).identity() != before


def test_the_identity_of_imagenet_weights_is_that_of_their_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert spec("vgg16").identity() is None  # not downloaded yet
    (tmp_path / "models").mkdir()
    for name in ("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "vgg19_notop.h5"):
        shutil.copy(TINY_WEIGHTS, tmp_path / "models" / name)
    [file] = spec("vgg16").identity()["weights"]
    assert file == "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert spec("resnet50").identity() is None


def test_the_backend_is_found_without_keras(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert keras_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert keras_backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert keras_backend() == "torch"
