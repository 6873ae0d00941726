import json
import os
import subprocess
import sys

import numpy as np
import pytest
from memory import forget_networks

from sktransfer import PretrainedFeatureTransformer
from sktransfer._runtime import devices, workers
from sktransfer._runtime.backend import keras_backend
from sktransfer._runtime.devices import gpu

DEVICES = 4
FITTED = """
import json, sys
import keras
if int(sys.argv[1]) > 1:
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    assert len(keras.distribution.list_devices()) == int(sys.argv[1])
from sklearn.datasets import load_digits
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)[:90]
features = PretrainedFeatureTransformer("tiny", input_range=(0, 16), cache_dir=None)
classifier = FineTunedConvNetClassifier(
    "tiny",
    input_range=(0, 16),
    unfreeze=2,
    batch_size=20,
    fine_tune_epochs=2,
    early_stopping=False,
    cache_dir=None,
    random_state=0,
).fit(X, y[:90])
print(json.dumps([
    features.fit_transform(X).tolist(), classifier.predict_proba(X[:7]).tolist()
]))
"""


def fitted_on(n_devices):
    """Features and probabilities that a process with so many devices computes."""
    flags = f"--xla_force_host_platform_device_count={n_devices}"
    result = subprocess.run(
        [sys.executable, "-c", FITTED, str(n_devices)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return [np.array(part) for part in json.loads(result.stdout)]


@pytest.mark.skipif(keras_backend() != "jax", reason="JAX spreads batches over devices")
def test_several_devices_compute_what_one_does():
    (features, probabilities), (alone, of_one) = fitted_on(DEVICES), fitted_on(1)
    np.testing.assert_allclose(features, alone, rtol=1e-5, atol=1e-5 * np.abs(alone).max())
    np.testing.assert_allclose(probabilities, of_one, atol=1e-3)


@pytest.mark.skipif(keras_backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_replicas_of_tensorflow_are_refused_with_the_remedy(digits):
    import tensorflow as tf

    transformer = PretrainedFeatureTransformer("tiny", input_range=(0, 16)).fit(digits[0][:1])
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope(), pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        transformer.transform(digits[0][:2])


VISIBLE_IN_WORKERS = """
import os
from multiprocessing import current_process
from joblib import Parallel, delayed

def visible():
    from sktransfer._runtime import keras
    return current_process().name, os.environ["CUDA_VISIBLE_DEVICES"]

for name, gpus in Parallel(2)(delayed(visible)() for _ in range(4)):
    print(name, gpus)
print("main", os.environ["CUDA_VISIBLE_DEVICES"])
"""


def test_workers_of_joblib_take_gpus_in_turn():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "5,7"}
    command = [sys.executable, "-c", VISIBLE_IN_WORKERS]
    printed = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    *seen, main = [line.split() for line in printed.splitlines()]
    assert main == ["main", "5,7"]
    for name, gpus in seen:
        assert gpus == "57"[(int(name.removeprefix("LokyProcess-")) - 1) % 2]


def test_a_gpu_that_is_there_and_unused_is_said_once(digits, tmp_path, monkeypatch):
    if gpu() is not None:
        pytest.skip("a GPU computes")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(workers, "DEVICES", tmp_path)
    devices.warn_of_idle_gpu.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # asked for: nothing to say
    forget_networks()
    transformer = PretrainedFeatureTransformer("tiny", input_range=(0, 16)).fit(digits[0][:1])
    forget_networks()
    devices.warn_of_idle_gpu.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.warns(UserWarning, match="has an NVIDIA GPU"):
        transformer.transform(digits[0][:2])
    forget_networks()
    transformer.transform(digits[0][:3])
