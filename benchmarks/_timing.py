"""Ratios of times, from interleaved runs: the machine's noise falls on both alike."""

import atexit
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np


@functools.cache
def photographs():
    """Paths of the photographs and their labels; a Keras home with the weights, if in time.

    Keras looks for its home when it is imported.
    """
    data = Path(os.environ["SKTRANSFER_TEST_DATA"])
    home = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, home)
    shutil.copytree(
        data / "keras_home/models", Path(home) / "models", copy_function=shutil.copyfile
    )
    os.environ["KERAS_HOME"] = home
    paths = sorted((data / "cats_and_dogs").glob("*/*.jpg"), key=lambda path: path.name)
    return [str(path) for path in paths], np.array([path.parent.name for path in paths])


def seconds(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def interleave(rounds, baseline, ours):
    """Times of both, in seconds: two arrays of length `rounds`, taken in turn."""
    times = [(baseline(), ours()) for _ in range(rounds)]
    return np.array(times).T


def report(name, baseline, ours):
    """Print the median ratio of the baseline's time to ours, and its range."""
    ratios = baseline / ours
    print(
        f"{name:42} {np.median(ratios):6.2f}  [{ratios.min():.2f}, {ratios.max():.2f}]"
        f"   {np.median(baseline):8.3f} s {np.median(ours):8.3f} s",
        flush=True,
    )
