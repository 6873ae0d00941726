import gc
import os
import pickle
import signal
import site
import subprocess
import sys

import keras
import numpy as np
import processes
import pytest
from agreement import assert_same_features
from networks import network, relative_error

from sktransfer import BackboneError, FineTunedConvNetClassifier, PretrainedFeatureTransformer

TINY = {"backbone": "tiny", "input_range": (0, 16)}


def features(X, **parameters):
    return PretrainedFeatureTransformer(**parameters).fit_transform(X)


@pytest.mark.parametrize(
    ("layer", "pooling"), [("block2_conv1", None), (["block1_pool", "block3_pool"], "max")]
)
def test_features_are_those_of_keras(digits, layer, pooling):
    how = {**TINY, "layer": layer, "pooling": pooling}
    exact, ours = (
        features(digits[0][:10], **how, engine=engine) for engine in ("keras", "openvino")
    )
    assert ours.dtype == np.float32
    assert ours.shape == exact.shape
    assert relative_error(ours, exact) < 1e-5


def test_a_backend_that_has_no_way_of_its_own_computes_as_keras_has_it(digits, tmp_path):
    code = """
import sys, numpy as np
from sktransfer import PretrainedFeatureTransformer
transformer = PretrainedFeatureTransformer("tiny", input_range=(0, 16))
np.save(sys.argv[1], transformer.fit_transform(np.load(sys.argv[1])))
"""
    path = tmp_path / "digits.npy"
    np.save(path, digits[0][:10])
    subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, "KERAS_BACKEND": "openvino"},
        check=True,
    )
    # Keras lets OpenVINO compute in bfloat16 on a processor that can.
    assert relative_error(np.load(path), features(digits[0][:10], **TINY)) < 1e-2


def test_at_any_cuts_with_any_pooling():
    tiny = network(size=(8, 8))
    batch = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    cuts = [
        tiny.info.cut_at(layer, pooling)
        for layer in ("block2_conv1", "block1_pool", "block3_pool")
        for pooling in (None, "avg", "max")
    ]
    exact, ours = (tiny.rows(batch, cuts, engine=engine) for engine in ("keras", "openvino"))
    for cut, got, expected in zip(cuts, ours, exact, strict=True):
        assert relative_error(got, expected) < 1e-5, cut


@pytest.mark.parametrize(
    "backbone",
    ["mobilenet_v3_small", pytest.param("efficientnet_b0", marks=pytest.mark.slow)],
)
def test_of_deep_networks_as_well(photographs, backbone):
    how = {"weights": None, "input_size": (32, 32)}
    exact, ours = (
        features(photographs[0][::600], backbone=backbone, **how, engine=engine)
        for engine in ("keras", "openvino")
    )
    assert relative_error(ours, exact) < 1e-5


def test_features_do_not_depend_on_the_company_and_are_looked_up(digits, tmp_path):
    X = digits[0][:20]
    how = {**TINY, "engine": "openvino", "cache_dir": tmp_path}
    together = features(X, **how)
    np.testing.assert_array_equal(features(X[::-1], **how), together[::-1])
    without_cache = {**how, "cache_dir": None}
    np.testing.assert_array_equal(features(X, **without_cache), together)
    for i in range(5):
        alone = features(X[i : i + 1], **without_cache)
        assert_same_features(alone[0], together[i])


def test_the_cache_keeps_engines_apart(digits, tmp_path):
    X = digits[0][:10]
    theirs = PretrainedFeatureTransformer(**TINY, cache_dir=tmp_path)
    ours = PretrainedFeatureTransformer(**TINY, cache_dir=tmp_path, engine="openvino")
    for transformer, misses in ((theirs, 10), (ours, 20), (ours, 20), (theirs, 20)):
        transformer.fit_transform(X)
        assert transformer.cache_info().misses == misses


@pytest.mark.filterwarnings("ignore:this CPU has no bfloat16:UserWarning")
def test_in_bfloat16(digits):
    exact = features(digits[0][:20], **TINY)
    lean = features(digits[0][:20], **TINY, engine="openvino", precision="bfloat16")
    assert relative_error(lean, exact) < 0.01


def test_a_classifier_predicts_with_either_engine(digits):
    X, y = digits[0][:40], digits[1][:40] % 2
    how = {
        "head_epochs": 2,
        "fine_tune_epochs": 1,
        "early_stopping": False,
        "random_state": 0,
    }
    fitted = FineTunedConvNetClassifier(**TINY, **how, engine="openvino").fit(X, y)
    logits = fitted.decision_function(X)
    stored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(stored.decision_function(X), logits)
    other = stored.set_params(engine="keras").decision_function(X)
    np.testing.assert_allclose(other, logits, rtol=1e-4, atol=1e-4)
    plain = FineTunedConvNetClassifier(**TINY, **how).fit(X, y).decision_function(X)
    np.testing.assert_allclose(logits, plain, rtol=1e-2, atol=1e-2)


def test_where_it_is_not_installed_an_error_names_the_extra(tmp_path):
    for folder in site.getsitepackages():
        for name in os.listdir(folder):
            if not name.startswith("openvino") and not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(os.path.join(folder, name))
    # What is known of the network is in the cache: TensorFlow need not be loaded.
    PretrainedFeatureTransformer("tiny").fit(np.zeros((3, 8, 8)))
    code = (
        "import numpy as np, sktransfer;"
        "sktransfer.PretrainedFeatureTransformer('tiny', engine='openvino')"
        ".fit(np.zeros((3, 8, 8)))"
    )
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ours, str(tmp_path)])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: engine='openvino' needs OpenVINO")
    assert "pip install 'sktransfer[openvino]'" in last


def test_a_network_it_cannot_take_is_refused_by_name(digits):
    class Own(keras.layers.Layer):
        def call(self, x):
            return x + keras.ops.linalg.svd(x, compute_uv=False)[:, :, None]

    network = keras.Sequential([keras.Input((8, 8, 3)), Own()])
    how = {"backbone": network, "preprocessing": "rescale", "cache_dir": None}
    assert features(digits[0][:2], **how).shape == (2, 192)
    with pytest.raises(BackboneError, match=r"(?s)which engine='keras' runs: .*Svd"):
        features(digits[0][:2], **how, engine="openvino")


def interrupt_after_two_networks(connection):
    processes.begin(connection)
    for size in (8, 9):
        tiny = network(size=(size, size))
        batch = np.zeros((4, size, size, 3), np.float32)
        tiny.rows(batch, [tiny.info.cut_at("block1_pool", "avg")], engine="openvino")
    for size in (10, 11, 12, 13):  # which take the place of those in memory
        tiny = network(size=(size, size))
    gc.collect()
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        connection.send("interrupted")


def test_an_interrupt_after_networks_are_gone_is_no_crash():
    process = processes.start(interrupt_after_two_networks)
    assert processes.finish(*process) == "interrupted"
