import os
import shutil
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from infos import stored_info
from networks import prepared
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    BackboneError,
    PretrainedFeatureTransformer,
    compare_backbones,
    list_backbones,
)
from sktransfer._networks.catalogue import FAMILIES
from sktransfer._networks.source import source_of
from sktransfer._networks.tiny import WEIGHTS as TINY_WEIGHTS
from sktransfer._runtime.backend import keras_backend

PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 9, 9, 3)).astype(np.float32)
IMAGES = np.zeros((1, 8, 8), np.uint8)
APPLICATIONS = sorted(FAMILIES.keys() - {"tiny"})
# The compiler of JAX multiplies where a division stands, as the processor allows.
ROUNDING = 2e-6 if keras_backend() == "jax" else 0


def fitted(backbone="tiny", **parameters):
    return PretrainedFeatureTransformer(backbone, **parameters).fit(IMAGES)


def constructor(name):
    return getattr(keras.applications, FAMILIES[name].constructor)


def constructor_module(name):
    return sys.modules[constructor(name).__module__]


def test_the_table_holds_every_network_that_keras_exports():
    exported = {name for name, value in vars(keras.applications).items() if callable(value)}
    assert exported == {FAMILIES[name].constructor for name in APPLICATIONS}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_preprocessing_is_that_of_the_module_in_keras(name):
    expected = constructor_module(name).preprocess_input(PIXELS.copy())
    got = prepared(source_of(name).own_preprocessing(), PIXELS)
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet", "densenet121", "efficientnet_b0"])
def test_a_network_of_ones_own_may_have_the_preprocessing_of_any_other(name):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Identity(name="same")(inputs))
    images = PIXELS[:, :8, :8].astype(np.uint8)
    features = fitted(model, preprocessing=name).transform(images)
    expected = constructor_module(name).preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(features, expected.reshape(len(images), -1), atol=1e-5)


def test_a_preprocessing_that_is_not_there_gets_the_nearest_names():
    with pytest.raises(ValueError, match=r"'resnet52' is none of .*, 'resnet50'"):
        fitted(preprocessing="resnet52")


def test_other_preprocessings():
    np.testing.assert_allclose(prepared("rescale", PIXELS), PIXELS / 255, atol=ROUNDING)
    np.testing.assert_array_equal(prepared(None, PIXELS), PIXELS)
    np.testing.assert_array_equal(prepared(lambda pixels: pixels / 2, PIXELS), PIXELS / 2)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_native_size_is_the_default(name):
    assert source_of(name).size == (FAMILIES[name].native_size,) * 2
    assert source_of(name, size=(64, 96)).size == (64, 96)


def test_the_size_may_be_a_list_and_numbers_of_numpy():
    transformer = fitted(input_size=[16, np.int64(24)], layer="input")
    assert transformer.feature_shape_ == (16, 24, 3)
    native = (FAMILIES["tiny"].native_size,) * 2
    assert fitted(layer="input").feature_shape_ == (*native, 3)


# Of MobileNetV3, Keras takes any size, and has weights for 224 × 224.
OF_ONE_SIZE = [name for name in APPLICATIONS if not name.startswith("mobilenet_v3")]


@pytest.mark.parametrize("name", OF_ONE_SIZE)
def test_the_native_size_is_that_of_keras(name):
    if keras_backend() == "torch" and name.startswith("nasnet"):
        pytest.skip("Keras builds no NASNet with PyTorch")
    native = FAMILIES[name].native_size
    with pytest.raises(ValueError, match=rf"should be \({native}, {native}, 3\)"):
        constructor(name)(weights="imagenet", input_shape=(native + 1, native + 1, 3))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": "VGG16"}, "nearest: 'vgg16'"),
        ({"backbone": "vgg61"}, "nearest: .*'vgg16'"),
        ({"backbone": "resnet50v2"}, "nearest: 'resnet50_v2'"),
        ({"backbone": "EfficientNetV2S"}, "nearest: 'efficientnet_v2_s'"),
        ({"backbone": "nothing-like-it"}, "there are: 'convnext_tiny'"),
        (
            {
                "backbone": "convnext_tiny",
                "backbone_params": {"include_preprocessing": False},
            },
            "set preprocessing to what replaces it",
        ),
        ({"backbone": "missing.keras"}, "no file 'missing.keras'"),
        ({"backbone": 3}, "int"),
        ({"weights": "missing.h5"}, "'missing.h5' is neither"),
        ({"backbone": "mobilnet?alpha=0.75"}, "nearest: 'mobilenet'"),
        ({"backbone": "mobilenet?0.75"}, "as in 'mobilenet.alpha=0.75', and not '0.75'"),
        (
            {"backbone": "mobilenet?alpha=1", "backbone_params": {"alpha": 1}},
            "give them in one place",
        ),
        (
            {"backbone": "resnet50", "weights": None, "backbone_params": {"alpha": 1}},
            "ResNet50 refuses this: .*alpha.* the name of that one",
        ),
        ({"weights": "imagenet"}, "digits"),
        ({"backbone_params": {"alpha": 1}}, "no backbone_params"),
        ({"backbone": keras.Sequential()}, "preprocessing"),
        ({"backbone": keras.Sequential(), "weights": None}, "leave weights"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(parameters, message):
    with pytest.raises(BackboneError, match=message):
        fitted(**parameters)


@pytest.mark.parametrize("bounds", [(1, 1), (1, 0), (0,), (0, 1, 2), (0, np.inf)])
def test_an_impossible_input_range_is_refused(bounds):
    with pytest.raises(ValueError, match="input_range"):
        fitted(input_range=bounds)


@pytest.mark.parametrize("size", [(32,), (32, 32, 3), (0, 32), (-32, 32), (32.9, 32.9)])
def test_an_impossible_input_size_is_refused(size):
    with pytest.raises(ValueError, match="input_size"):
        fitted(input_size=size)


def test_parameters_in_the_name_are_those_beside_it():
    for query, params in (
        ("alpha=0.75", {"alpha": 0.75}),
        ("alpha=0.75&dropout=0.1", {"alpha": 0.75, "dropout": 0.1}),
    ):
        beside = source_of("mobilenet", weights=None, params=params)
        assert source_of(f"mobilenet?{query}", weights=None) == beside
    named = source_of("mobilenet_v3_small?minimalistic=True&classifier_activation=relu")
    assert named.params == {"minimalistic": True, "classifier_activation": "relu"}


def test_a_search_over_networks_gives_each_its_own_parameters(digits):
    X, _ = digits
    pipeline = make_pipeline(
        PretrainedFeatureTransformer(
            weights=None, input_size=(32, 32), input_range=(0, 16), pooling="avg"
        ),
        DummyClassifier(),
    )
    names = ["mobilenet?alpha=0.25", "tiny", "mobilenet?alpha=0.5"]
    search = GridSearchCV(pipeline, {"pretrainedfeaturetransformer__backbone": names}, cv=2)
    search.fit(X[:8], [0, 1] * 4)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_what_is_known_of_the_networks_is_listed():
    backbones = list_backbones()
    assert [backbone.name for backbone in backbones] == list(FAMILIES)
    frame = pd.DataFrame(backbones).set_index("name")
    assert frame.loc["tiny"].drop("images_per_second").isna().to_dict() == {
        column: column == "top_1"
        for column in ("native_size", "top_1", "n_features", "n_parameters", "macs")
    }
    for name in ("mobilenet", "tiny", "vgg16"):
        info = stored_info(name)
        known = frame.loc[name]
        assert known.n_features == info.layers[info.output].shape[-1]
        assert known.n_parameters == sum(layer.n_parameters for layer in info.layers)
        assert known.macs == sum(layer.macs for layer in info.layers)
    assert (frame.images_per_second > 0).all()


def test_networks_are_compared_on_the_same_folds(digits, cache):
    X, y = digits
    X, y = X[:60], y[:60]
    transformer = PretrainedFeatureTransformer(
        weights=None, input_size=(32, 32), input_range=(0, 16), pooling="avg"
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    names = ["tiny", "mobilenet?alpha=0.25"]
    compared = compare_backbones(X, y, names, transformer=transformer, cv=folds)
    assert [one.backbone for one in compared] == names
    misses = transformer.cache_info().misses
    for one in compared:
        pipeline = make_pipeline(
            clone(transformer).set_params(backbone=one.backbone),
            StandardScaler(),
            LogisticRegression(C=0.01, max_iter=1000),
        )
        scores = cross_val_score(pipeline, X, y, cv=folds)
        assert (one.mean_score, one.std_score) == (scores.mean(), scores.std())
        assert one.n_features == len(pipeline[0].fit(X).get_feature_names_out())
        assert one.ms_per_image > 0
    assert transformer.cache_info().misses == misses  # nothing was computed again


def test_parameters_may_be_numbers_of_numpy():
    identities = [
        source_of("mobilenet", weights=None, params={"alpha": alpha}).identity()
        for alpha in (0.5, np.float32(0.5))
    ]
    assert identities[0] == identities[1]


def test_the_identity_follows_whatever_determines_the_network(tmp_path):
    weights = tmp_path / "tiny.weights.h5"
    weights.write_bytes(b"one")
    ways = [
        {"backbone": "tiny"},
        {"backbone": "tiny", "weights": None},
        {"backbone": "tiny", "size": (16, 16)},
        {"backbone": "tiny", "weights": str(weights)},
        {"backbone": "mobilenet", "weights": None},
        {"backbone": "mobilenet", "weights": None, "params": {"alpha": 0.5}},
    ]
    identities = [source_of(**way).identity() for way in ways]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])
    assert [source_of(**way).identity() for way in ways] == identities


def test_the_identity_of_the_network_does_not_follow_how_pixels_are_made(cache):
    fitted()
    fitted(preprocessing=None, input_range=(0, 16))
    assert len(list((cache / "networks").iterdir())) == 1


def test_the_identity_notices_a_weights_file_replaced_with_its_times_kept(tmp_path):
    weights = tmp_path / "tiny.weights.h5"
    weights.write_bytes(b"one")
    before, status = source_of("tiny", weights).identity(), weights.stat()
    while weights.stat().st_ctime_ns == status.st_ctime_ns:  # until the clock of files ticks
        weights.write_bytes(b"two")
        os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source_of("tiny", weights).identity() != before


def test_the_identity_of_imagenet_weights_is_that_of_their_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert source_of("vgg16").identity() is None  # not downloaded yet
    (tmp_path / "models").mkdir()
    for name in ("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "vgg19_notop.h5"):
        shutil.copy(TINY_WEIGHTS, tmp_path / "models" / name)
    [file] = source_of("vgg16").identity()["weights"]
    assert file == "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert source_of("resnet50").identity() is None


def test_the_backend_is_found_without_keras(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert keras_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert keras_backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert keras_backend() == "torch"
