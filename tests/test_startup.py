import os
import subprocess
import sys

import pytest

from sktransfer._runtime.backend import keras_backend
from sktransfer._runtime.startup import LEVEL, without_start_up_lines

FEATURES = """
import sys
{first}
import numpy as np
from sktransfer import PretrainedFeatureTransformer
PretrainedFeatureTransformer("tiny", cache_dir=None).fit_transform(np.zeros((2, 8, 8)))
"""


def run(first="", redirected="", **environment):
    """A new process that extracts features, whose environment does not silence TensorFlow."""
    others = {name: value for name, value in os.environ.items() if name != LEVEL}
    return subprocess.run(
        f"\"{sys.executable}\" -c '{FEATURES.format(first=first)}' {redirected}",
        shell=True,
        env={**others, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("redirected", ["", "2>&-"])
def test_nothing_is_said_that_was_not_asked_for(redirected):
    result = run(redirected=redirected)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.skipif(keras_backend() != "tensorflow", reason="another backend computes here")
def test_whoever_asks_tensorflow_to_speak_hears_it():
    result = run(**{LEVEL: "0"})
    assert result.returncode == 0
    assert result.stderr


def test_other_lines_on_standard_error_are_kept(capfd, monkeypatch):
    monkeypatch.delenv(LEVEL)
    with without_start_up_lines():
        os.write(2, b"I0000 cudart_stub.cc:31] Could not find cuda drivers\nmine\n")
        os.write(1, b"result\n")
    assert capfd.readouterr() == ("result\n", "mine\n")


@pytest.mark.parametrize(
    ("backend", "remedy"),
    [("tensorflow", "pip install 'tensorflow'"), ("jax", "pip install 'sktransfer[jax]'")],
)
def test_a_backend_that_is_not_installed_is_named_with_the_remedy(backend, remedy):
    result = run(f'sys.modules["{backend}"] = None', KERAS_BACKEND=backend)
    assert result.returncode == 1
    assert f"ImportError: {backend} is not installed: {remedy}" in result.stderr


@pytest.mark.skipif(keras_backend() == "tensorflow", reason="TensorFlow computes here")
def test_where_another_backend_computes_tensorflow_is_not_needed():
    result = run('sys.modules["tensorflow"] = None')
    assert (result.returncode, result.stderr) == (0, "")
