import hashlib
import json
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sktransfer import (
    FineTunedConvNetClassifier,
    ImageAugmentation,
    InvalidStateError,
    VersionWarning,
    load_classifier,
    save_classifier,
)
from sktransfer._networks.source import TINY_WEIGHTS


def classifier(**parameters):
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
    return FineTunedConvNetClassifier("tiny", **{**defaults, **parameters})


@pytest.fixture(scope="module")
def some(digits):
    X, y = digits
    return X[:60].reshape(60, 64), y[:60] % 3


@pytest.fixture(scope="module")
def saved(some, tmp_path_factory):
    """A classifier and the file that it is saved in."""
    fitted = classifier(cache_dir=None).fit(*some)
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    save_classifier(fitted, path)
    return fitted, path


@pytest.mark.parametrize(
    ("parameters", "labels"),
    [
        ({}, lambda y: y),
        ({}, lambda y: np.array(["one", "two", "größer"])[y]),
        ({}, lambda y: np.array(["one", "two", "three"], dtype=object)[y]),
        ({"unfreeze": (1, 3), "class_weight": {False: 1, True: 2.5}}, lambda y: y == 1),
        ({"hidden_units": [8], "conv_filters": (4,), "unfreeze": 0.5}, lambda y: -1.0 * y),
        (
            {
                "augmentation": ImageAugmentation(rotation_range=3),
                "augmentation_views": 1,
                "optimizer": keras.optimizers.serialize(keras.optimizers.SGD(momentum=0.5)),
                "unfreeze": "block3",
            },
            lambda y: y.astype(np.uint8),
        ),
    ],
)
def test_what_is_saved_comes_back_the_same(some, tmp_path, parameters, labels):
    X, y = some[0], labels(some[1])
    fitted = classifier(**parameters).fit(pd.DataFrame(X).add_prefix("pixel"), y)
    save_classifier(fitted, tmp_path / "model.safetensors")
    loaded = load_classifier(tmp_path / "model.safetensors")
    frame = pd.DataFrame(X).add_prefix("pixel")
    np.testing.assert_array_equal(
        loaded.decision_function(frame), fitted.decision_function(frame)
    )
    assert loaded.predict(frame).dtype.kind == fitted.predict(frame).dtype.kind
    np.testing.assert_array_equal(loaded.predict(frame), fitted.predict(frame))
    assert repr(loaded.get_params()) == repr(fitted.get_params())
    public = {name for name in vars(fitted) if name.endswith("_")}
    assert {name for name in vars(loaded) if name.endswith("_")} == public
    np.testing.assert_equal(
        {name: getattr(loaded, name) for name in public},
        {name: getattr(fitted, name) for name in public},
    )
    assert str(loaded.summary()) == str(fitted.summary())
    again = clone(loaded).fit(frame, y)
    np.testing.assert_array_equal(again.predict(frame), fitted.predict(frame))


def test_where_and_how_loudly_to_run_is_not_saved(some, tmp_path):
    told = {"cache_dir": tmp_path / "mine", "n_jobs": 2, "verbose": 1, "keras_callbacks": []}
    save_classifier(classifier(**told).fit(*some), tmp_path / "model.safetensors")
    assert str(tmp_path).encode() not in (tmp_path / "model.safetensors").read_bytes()
    loaded = load_classifier(tmp_path / "model.safetensors")
    defaults = FineTunedConvNetClassifier().get_params()
    assert all(loaded.get_params()[name] == defaults[name] for name in told)


def test_saving_replaces_a_file_at_once(saved, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the last one")
    save_classifier(saved[0], path)
    assert list(tmp_path.iterdir()) == [path]
    assert load_classifier(path).history_ == saved[0].history_


def double(pixels):
    return pixels * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"random_state": np.random.RandomState(0)}, "random_state=RandomState"),
        ({"optimizer": keras.optimizers.SGD()}, "set it to keras.optimizers.serialize"),
        ({"backbone": keras.Sequential([keras.Input((8, 8, 3))])}, "as a .keras file"),
        ({"preprocessing": double}, r"(?s)preprocessing=.*joblib\.dump"),
        (
            {"optimizer": {"class_name": "Mine", "module": "my.own", "config": {}}},
            "is not Keras' own",
        ),
    ],
)
def test_what_needs_pickle_is_refused_with_a_remedy(saved, tmp_path, change, message):
    fitted = pickle.loads(pickle.dumps(saved[0])).set_params(**change)
    with pytest.raises(TypeError, match=message):
        save_classifier(fitted, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_fitted_classifier_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        save_classifier(classifier(), tmp_path / "model.safetensors")
    with pytest.raises(TypeError, match="not a Pipeline"):
        save_classifier(make_pipeline(classifier()), tmp_path / "model.safetensors")


@settings(max_examples=300)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), data=st.booleans())
def test_a_flipped_bit_anywhere_is_refused(saved, position, bit, data):
    content = bytearray(saved[1].read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    start, stop = (header, len(content)) if data else (0, header)
    content[start + int(position * (stop - start))] ^= 1 << bit
    path = saved[1].with_name("flipped.safetensors")
    path.write_bytes(content)
    with pytest.raises(InvalidStateError):
        load_classifier(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\xff" * 100, pickle.dumps({"a": 1}), TINY_WEIGHTS.read_bytes(), None],
    ids=["empty", "text", "0xff", "pickle", "other tensors", "truncated"],
)
def test_other_files_are_refused(saved, tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(saved[1].read_bytes()[:-10] if content is None else content)
    with pytest.raises(InvalidStateError, match=r"model\.safetensors"):
        load_classifier(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_classifier(tmp_path / "model.safetensors")


def rewritten(path, change):
    """Another file, with its checksum right, as somebody may write who knows the format."""
    with safe_open(path, "numpy") as file:
        content = json.loads(file.metadata()["sktransfer"])
    arrays = load_file(path)
    change(content, arrays)
    text = json.dumps(content)
    metadata = {"sktransfer": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    other = path.with_name("rewritten.safetensors")
    save_file(arrays, other, metadata)
    return other


def test_parameters_of_later_versions_have_their_defaults(saved):
    def forget(content, arrays):
        del content["parameters"]["max_image_pixels"]

    assert load_classifier(rewritten(saved[1], forget)).max_image_pixels is None


def test_newer_formats_and_other_versions(saved):
    def newer(content, arrays):
        content.clear()
        content["format"] = 99

    with pytest.raises(InvalidStateError, match="format 99"):
        load_classifier(rewritten(saved[1], newer))

    def older_keras(content, arrays):
        content["network"]["versions"] = {"dict": [["keras", "2.0"]]}

    with pytest.warns(VersionWarning, match=r"keras 2\.0"):
        load_classifier(rewritten(saved[1], older_keras))


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
@pytest.mark.parametrize("where", ["network", "optimizer"])
def test_code_in_a_configuration_is_refused_before_keras_sees_it(saved, part, where):
    def poison(content, arrays):
        if where == "optimizer":
            plain = [[name, None if name == "config" else part[name]] for name in part]
            content["parameters"]["optimizer"] = {"dict": plain}
        else:
            config = json.loads(content["network"]["config"])
            config["config"]["layers"].append(part)
            content["network"]["config"] = json.dumps(config)

    with pytest.raises(InvalidStateError, match="not safe to load"):
        load_classifier(rewritten(saved[1], poison))


@pytest.mark.parametrize(
    "poison",
    [
        lambda content, arrays: content["parameters"].update(cache_dir="/somewhere"),
        lambda content, arrays: content["attributes"].update(predict=1),
        lambda content, arrays: content["attributes"].update(__class__=1),
        lambda content, arrays: content["attributes"].update(classes_={"eval": "1"}),
        lambda content, arrays: content["attributes"].update(
            classes_={"array": [1], "dtype": "V"}
        ),
        lambda content, arrays: content.pop("network"),
        lambda content, arrays: content["network"].pop("suffix"),
        lambda content, arrays: content["network"].update(sha256=[]),
        lambda content, arrays: arrays["head/0"].__setitem__((0, 0), 7.0),
        lambda content, arrays: arrays.pop("head/1"),
        lambda content, arrays: arrays.update(more=np.zeros(3)),
    ],
)
def test_what_does_not_fit_is_refused(saved, poison):
    with pytest.raises(InvalidStateError):
        load_classifier(rewritten(saved[1], poison))


def test_loading_executes_nothing_and_needs_no_network(saved):
    code = """
import sys
from sktransfer import load_classifier
load_classifier(sys.argv[1])  # so that all modules are there
executed = []
kinds = ("exec", "compile", "import", "marshal", "pickle", "subprocess", "os.system", "ctypes")
sys.addaudithook(lambda event, _: executed.append(event) if event.startswith(kinds) else None)
load_classifier(sys.argv[1])
print(executed, "keras" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(saved[1])],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_HOME": "/nowhere"},
    )
    assert result.stdout.strip() == "[] False", result.stderr
