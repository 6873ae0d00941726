"""Ratios of times, from interleaved runs: the machine's noise falls on both alike."""

import atexit
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

HEADER = "| what | against | ratio | plain | ours |\n|---|---|---|---|---|"


class Comparison(NamedTuple):
    """Seconds that the plain way and ours took, in turn."""

    what: str
    against: str
    plain: np.ndarray
    ours: np.ndarray

    def __str__(self):
        """A row of a table in Markdown: the median ratio, its range, median times."""
        ratios = self.plain / self.ours
        times = [f"{np.median(seconds):.3g} s" for seconds in (self.plain, self.ours)]
        ratio = f"{np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}]"
        return f"| {self.what} | {self.against} | {ratio} | {' | '.join(times)} |"


def compare(what, against, plain, ours, rounds):
    """Run both in turn; each is a function that returns its seconds."""
    times = np.array([(plain(), ours()) for _ in range(rounds)]).T
    return Comparison(what, against, *times)


def timed(function):
    """A function that returns the seconds which `function` takes."""

    def measure():
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    return measure


def show(comparisons):
    """Print them as they come."""
    print(HEADER)
    for comparison in comparisons:
        print(comparison, flush=True)


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


def chosen(n):
    """So many photographs of both classes, and their classes as integers."""
    paths, labels = photographs()
    some = np.linspace(0, len(paths) - 1, n).astype(int)
    return [paths[i] for i in some], (labels[some] == "dogs").astype(int)
