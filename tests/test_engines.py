import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from agreement import assert_same_features

from sktransfer._networks.engines import ENGINES, tensorflow
from sktransfer._networks.folding import Prefix
from sktransfer._networks.preprocessing import ARITHMETIC
from sktransfer._networks.source import source_of
from sktransfer._runtime.backend import ONEDNN, keras_backend

TENSORFLOWS = "tensorflow.python.util._pywrap_util_port"  # which knows what computes
ONLY_TENSORFLOW = pytest.mark.skipif(
    keras_backend() != "tensorflow", reason="oneDNN is TensorFlow's"
)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_says_what_its_rows_depend_on(name):
    engine = ENGINES[name]
    assert engine.name == name
    assert engine.key() == engine.key()
    assert len({ENGINES[other].key() for other in ENGINES}) == len(ENGINES)


@ONLY_TENSORFLOW
@pytest.mark.parametrize(
    ("setting", "expected"), [(None, True), ("1", True), ("0", False), ("False", False)]
)
def test_the_key_knows_before_tensorflow_is_loaded(monkeypatch, setting, expected):
    monkeypatch.delitem(sys.modules, TENSORFLOWS, raising=False)
    if setting is None:
        monkeypatch.delenv(ONEDNN, raising=False)
    else:
        monkeypatch.setenv(ONEDNN, setting)
    assert ("oneDNN" in ENGINES["keras"].key()) == expected


@ONLY_TENSORFLOW
def test_the_key_tells_what_computes_whatever_the_setting_is_later(monkeypatch):
    source_of("tiny").build()  # which loads TensorFlow
    computes = sys.modules[TENSORFLOWS].IsMklEnabled()
    for setting in ("0", "1"):
        monkeypatch.setenv(ONEDNN, setting)
        assert ("oneDNN" in ENGINES["keras"].key()) == computes


THREADS = """
import sktransfer, numpy as np
sktransfer.PretrainedFeatureTransformer("tiny", cache_dir=None).transform(np.zeros((2, 8, 8)))
import tensorflow as tf
print(tf.config.threading.get_intra_op_parallelism_threads())
"""


@ONLY_TENSORFLOW
def test_workers_of_joblib_compute_with_the_threads_that_they_are_granted():
    result = subprocess.run(
        [sys.executable, "-c", THREADS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as joblib sets it
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "1\n"


def test_pixels_as_bytes_and_as_numbers_make_the_same_rows():
    model = source_of("tiny", size=(32, 32)).build().model
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    rows = []
    for dtype in ("uint8", "float32"):
        prefix = Prefix(model, frozenset(), ARITHMETIC["torch"], dtype)
        compiled = ENGINES["keras"].compile(prefix, "float32")
        rows += compiled.fetch(compiled.submit(pixels.astype(dtype)))
    if keras_backend() == "jax":  # whose compiler makes one step of the cast and the next
        assert_same_features(*rows)
    else:
        np.testing.assert_array_equal(*rows)


@ONLY_TENSORFLOW
def test_weights_that_are_too_many_to_be_constants_make_the_same_rows(monkeypatch):
    model = source_of("tiny", size=(32, 32)).build().model
    outputs = [model.get_layer(name).output for name in ("block1_pool", "block3_pool")]
    model = keras.Model(model.inputs, outputs)
    prefix = Prefix(model, frozenset(), ARITHMETIC["torch"], "float32")
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    rows = []
    for most in (0, 1_000_000):
        monkeypatch.setattr(tensorflow, "MOST_CONSTANT_BYTES", most)
        compiled = ENGINES["keras"].compile(prefix, "float32")
        rows.append(compiled.fetch(compiled.submit(pixels)))
    for as_variables, as_constants in zip(*rows, strict=True):
        np.testing.assert_allclose(as_variables, as_constants, rtol=1e-5, atol=1e-6)
