"""Fitted models on disk: by joblib, and by skops without pickle."""

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone

from sktransfer import (
    FineTunedConvNetClassifier,
    ImageAugmentation,
    InvalidStateError,
    PretrainedFeatureTransformer,
    VersionWarning,
)

RELEASES = sorted((Path(__file__).parent / "fixtures").glob("[0-9]*"))
PLAIN = {str, int, float, bool, bytes, np.ndarray, type(None)}
OURS = [
    "sktransfer.FineTunedConvNetClassifier",
    "sktransfer.ImageAugmentation",
    "sktransfer.PretrainedFeatureTransformer",
]


def loaded(path):
    if path.suffix == ".skops":
        return skops.io.load(path, trusted=OURS)
    return joblib.load(path)


@pytest.mark.filterwarnings("ignore::sktransfer.VersionWarning")
@pytest.mark.parametrize("suffix", [".joblib", ".skops"])
@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_models_of_every_release_load(folder, suffix, digits):
    X = digits[0][:20].reshape(20, 64)
    expected = np.load(folder / "expected.npz")
    assert sorted(expected) == ["bundle", "classifier", "pipeline"]
    for name in expected:
        got = loaded(folder / f"{name}{suffix}").predict_proba(X)
        np.testing.assert_allclose(got, expected[name], atol=1e-4, err_msg=name)


def test_there_are_models_of_some_release():
    assert RELEASES


@pytest.fixture(scope="module")
def some(digits):
    X, y = digits
    return X[:40].reshape(40, 64), y[:40] % 2


@pytest.fixture(scope="module")
def fitted(some):
    """Classifiers of a named network and of a Keras model, with all kinds of parameters."""
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    common = {
        "image_shape": (8, 8),
        "input_range": (0, 16),
        "unfreeze": (1, "all"),
        "augmentation": ImageAugmentation(),
        "augmentation_views": 1,
        "fine_tune_epochs": 1,
        "early_stopping": False,
        "class_weight": {0: 1, 1: 2},
        "random_state": 0,
        "cache_dir": None,
    }
    return [
        FineTunedConvNetClassifier("tiny", **common).fit(*some),
        FineTunedConvNetClassifier(network, preprocessing="rescale", **common).fit(*some),
    ]


def kinds(value):
    """The types of all that a state is made of."""
    if isinstance(value, dict):
        return set().union(*map(kinds, value), *map(kinds, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(kinds, value))
    if isinstance(value, ImageAugmentation):
        return kinds(vars(value))
    return {type(value)}


def test_the_state_is_plain_types_and_arrays(fitted):
    for classifier in fitted:
        assert kinds(classifier.__getstate__()) <= PLAIN
    transformer = PretrainedFeatureTransformer("tiny").fit(np.zeros((2, 8, 8)))
    assert kinds(transformer.__getstate__()) <= PLAIN


class Inspector(pickle.Unpickler):
    """Notes each global that a pickle asks for."""

    def __init__(self, pickled):
        super().__init__(io.BytesIO(pickled))
        self.globals = set()

    def find_class(self, module, name):
        self.globals.add((module.split(".")[0], name))
        return super().find_class(module, name)


def test_a_pickle_asks_for_the_estimators_and_numpy_alone(fitted):
    for classifier in fitted:
        inspector = Inspector(pickle.dumps(classifier))
        inspector.load()
        ours = {name for module, name in inspector.globals if module == "sktransfer"}
        assert ours <= {"FineTunedConvNetClassifier", "ImageAugmentation", "_restored"}
        assert {module for module, _ in inspector.globals} <= {"sktransfer", "numpy"}


@pytest.mark.parametrize("part", ["network/", "base/", "head/"])
def test_a_flipped_bit_of_a_weight_in_a_file_is_refused(fitted, part, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(fitted[0], path)
    content = bytearray(path.read_bytes())
    arrays = fitted[0].__getstate__()["_fitted"]["arrays"]
    array = next(a for name, a in arrays.items() if name.startswith(part) and a.size > 100)
    content[content.index(array.tobytes()) + array.nbytes // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(InvalidStateError, match=f"'{part}.*was changed"):
        joblib.load(path)


@pytest.mark.parametrize("suffix", [".joblib", ".skops"])
@pytest.mark.parametrize(
    ("parameters", "labels"),
    [
        ({}, lambda y: np.array(["one", "two", "größer"])[y]),
        ({"unfreeze": 1, "class_weight": "balanced"}, lambda y: y == 1),
        (
            {
                "hidden_units": [8],
                "unfreeze": "block3",
                "augmentation": ImageAugmentation(rotation_range=3),
                "augmentation_views": 1,
                "head_epochs": 2,
                "optimizer": keras.optimizers.serialize(keras.optimizers.SGD(momentum=0.5)),
            },
            lambda y: -1.0 * y,
        ),
    ],
    ids=["strings", "booleans", "floats"],
)
def test_what_is_saved_comes_back_the_same(some, tmp_path, parameters, labels, suffix):
    frame, y = pd.DataFrame(some[0]).add_prefix("pixel"), labels(some[1])
    defaults = {
        "image_shape": (8, 8),
        "input_range": (0, 16),
        "pooling": "avg",
        "unfreeze": 0,
        "head_C": 1.0,
        "augmentation": None,
        "fine_tune_epochs": 1,
        "early_stopping": False,
        "random_state": 0,
    }
    fitted = FineTunedConvNetClassifier("tiny", **{**defaults, **parameters}).fit(frame, y)
    path = tmp_path / f"model{suffix}"
    skops.io.dump(fitted, path) if suffix == ".skops" else joblib.dump(fitted, path)
    again = loaded(path)
    logits = fitted.decision_function(frame)
    np.testing.assert_array_equal(again.decision_function(frame), logits)
    assert again.predict(frame).dtype == fitted.predict(frame).dtype
    np.testing.assert_array_equal(again.predict(frame), fitted.predict(frame))
    assert repr(again.get_params()) == repr(fitted.get_params())
    public = {name for name in vars(fitted) if name.endswith("_")}
    assert {name for name in vars(again) if name.endswith("_")} == public
    np.testing.assert_equal(
        {name: getattr(again, name) for name in public},
        {name: getattr(fitted, name) for name in public},
    )
    assert str(again.summary()) == str(fitted.summary())
    refitted = clone(again).fit(frame, y)
    np.testing.assert_array_equal(refitted.predict(frame), fitted.predict(frame))


def with_state(classifier, change):
    """A state as somebody may write who knows the format."""
    state = pickle.loads(pickle.dumps(classifier.__getstate__()))
    change(state)
    return state


def restored(state):
    """An estimator of a state, as skops makes one."""
    classifier = FineTunedConvNetClassifier.__new__(FineTunedConvNetClassifier)
    classifier.__setstate__(state)
    return classifier


def test_parameters_of_later_versions_have_their_defaults(fitted):
    state = with_state(fitted[0], lambda state: state.pop("max_image_pixels"))
    assert restored(state).max_image_pixels is None


def test_newer_formats_and_other_versions(fitted):
    newer = with_state(fitted[0], lambda state: state["_fitted"].update(format=99))
    with pytest.raises(InvalidStateError, match="format 99"):
        restored(newer)
    versions = {"versions": {"keras": "2.0"}}
    older = with_state(fitted[0], lambda state: state["_fitted"].update(versions))
    with pytest.warns(VersionWarning, match=r"keras 2\.0"):
        restored(older)


def layer(name, module="keras.layers", **config):
    return {"class_name": name, "module": module, "config": config, "registered_name": None}


@pytest.mark.parametrize(
    "part",
    [
        layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}),
        layer("TFSMLayer", filepath="/somewhere"),
        layer("TorchModuleWrapper", module_="gASV"),
        layer("StringLookup", vocabulary="/etc/passwd"),
        layer("system", module="os"),
        layer("Popen", module="subprocess"),
        layer("get_file", module="kerasx.utils"),
        {"class_name": "Dense", "config": {}},
        {**layer("Dense"), "registered_name": "somebody>Dense"},
        {"class_name": "__lambda__", "config": {}},
    ],
    ids=lambda part: part["class_name"],
)
@pytest.mark.parametrize("where", ["_fitted", "backbone", "optimizer"])
def test_code_in_a_configuration_is_refused_before_keras_sees_it(fitted, part, where):
    def poison(state):
        if where == "optimizer":
            state["optimizer"] = part
        else:
            config = json.loads(state[where]["config"])
            config["config"]["layers"].append(part)
            state[where]["config"] = json.dumps(config)

    with pytest.raises(InvalidStateError, match="not safe to load"):
        restored(with_state(fitted[1], poison))


@pytest.mark.parametrize(
    "poison",
    [
        lambda fitted: fitted.pop("config"),
        lambda fitted: fitted.update(config="{"),
        lambda fitted: fitted.pop("suffix"),
        lambda fitted: fitted.update(sha256=[]),
        lambda fitted: fitted["arrays"]["head/0"].__setitem__((0, 0), 7.0),
        lambda fitted: fitted["arrays"].pop("head/1"),
        lambda fitted: fitted["arrays"].update(more=np.zeros(3)),
    ],
)
def test_what_does_not_fit_is_refused(fitted, poison):
    with pytest.raises(InvalidStateError):
        restored(with_state(fitted[0], lambda state: poison(state["_fitted"])))


def test_skops_refuses_what_is_not_ours(fitted, tmp_path):
    class Mine(FineTunedConvNetClassifier):
        pass

    mine = Mine("tiny")
    skops.io.dump(mine, tmp_path / "mine.skops")
    with pytest.raises(Exception, match="Mine"):
        skops.io.load(tmp_path / "mine.skops", trusted=OURS)


LOADING = """
import sys
import skops.io
executed = []
kinds = ("exec", "marshal", "pickle", "subprocess", "os.system", "ctypes")
trusted = sys.argv[2:]
skops.io.load(sys.argv[1], trusted=trusted)  # so that all modules are there
sys.addaudithook(lambda event, _: executed.append(event) if event.startswith(kinds) else None)
skops.io.load(sys.argv[1], trusted=trusted)
print(executed, "keras" in sys.modules)
"""


def test_loading_by_skops_executes_nothing_and_needs_no_network(fitted, tmp_path):
    skops.io.dump(fitted[0], tmp_path / "model.skops")
    result = subprocess.run(
        [sys.executable, "-c", LOADING, tmp_path / "model.skops", *OURS],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_HOME": "/nowhere"},
    )
    assert result.stdout.strip() == "[] False", result.stderr
