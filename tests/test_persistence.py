import io
import pickle
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest

from sktransfer import (
    FineTunedConvNetClassifier,
    ImageAugmentation,
    InvalidStateError,
    PretrainedFeatureTransformer,
    load_classifier,
)
from sktransfer._networks.source import PackedNetwork

RELEASES = sorted((Path(__file__).parent / "fixtures").glob("[0-9]*"))
PLAIN = {str, int, float, bool, bytes, np.ndarray, type(None)}


@pytest.mark.filterwarnings("ignore::sktransfer.VersionWarning")
@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_models_of_every_release_load(folder, digits):
    X = digits[0][:20].reshape(20, 64)
    expected = np.load(folder / "expected.npz")
    got = {
        "transformer": joblib.load(folder / "transformer.joblib").transform(X),
        "tiny": joblib.load(folder / "classifier.joblib").predict_proba(X),
        "own": load_classifier(folder / "classifier.safetensors").predict_proba(X),
    }
    assert got.keys() == set(expected)
    for name, values in got.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-4, err_msg=name)


def test_there_are_models_of_some_release():
    assert RELEASES


@pytest.fixture(scope="module")
def fitted(digits):
    """Classifiers of a named network and of a Keras model, with all kinds of parameters."""
    X, y = digits[0][:40], digits[1][:40] % 2
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    common = {
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
        FineTunedConvNetClassifier("tiny", **common).fit(X, y),
        FineTunedConvNetClassifier(network, preprocessing="rescale", **common).fit(X, y),
    ]


def kinds(value):
    """The types of all that a state is made of."""
    if isinstance(value, dict):
        return set().union(*map(kinds, value), *map(kinds, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(kinds, value))
    if isinstance(value, (PackedNetwork, ImageAugmentation)):
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
        assert ours <= {"FineTunedConvNetClassifier", "ImageAugmentation", "PackedNetwork"}
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
