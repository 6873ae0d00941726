"""Every test has a cache of its own; the real data are found by an environment variable."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sklearn.datasets import load_digits

DATA = os.environ.get("SKTRANSFER_TEST_DATA", "")
KERAS_HOME = Path(tempfile.mkdtemp(prefix="sktransfer-keras-home-"))
atexit.register(shutil.rmtree, KERAS_HOME, ignore_errors=True)

# All of this before Keras is imported, which reads its settings but once.
os.environ["KERAS_HOME"] = str(KERAS_HOME)
os.environ["SCIPY_ARRAY_API"] = "1"  # or scikit-learn skips one check of its battery
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # whatever module imports Keras first
if DATA:
    shutil.copytree(Path(DATA) / "keras_home/models", KERAS_HOME / "models")
    for path in (KERAS_HOME / "models", *(KERAS_HOME / "models").iterdir()):
        path.chmod(0o700)

# However slow the machine.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


def without_root(command):
    """A command line whose process obeys the permissions of files, even if root's."""
    if os.getuid() != 0:
        return command
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run tests marked slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty default cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SKTRANSFER_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def digits():
    """The 8 × 8 digits as an array (1797, 8, 8) of values from 0 to 16, and their labels."""
    X, y = load_digits(return_X_y=True)
    return X.reshape(-1, 8, 8), y


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real photographs and weights."""
    if not DATA or not Path(DATA).is_dir():
        pytest.skip("no real photographs: SKTRANSFER_TEST_DATA names no folder")
    return Path(DATA)


@pytest.fixture(scope="session")
def photographs(data_folder):
    """Paths of the 2,002 photographs of cats and dogs, sorted by name, and their labels."""
    paths = sorted((data_folder / "cats_and_dogs").glob("*/*.jpg"), key=lambda p: p.name)
    return np.array([str(path) for path in paths]), np.array([p.parent.name for p in paths])


@pytest.fixture(scope="session")
def imagenet(data_folder):
    """Parameters of the network whose real ImageNet weights are at hand."""
    return {
        "backbone": "mobilenet",
        "backbone_params": {"alpha": 0.75},
        "input_size": (224, 224),
    }
