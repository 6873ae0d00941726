"""What a million images and a hundred million take, on paper: ``python -m benchmarks.scale``.

Measures what one core does in a second, in seconds of the processor, so that other work on the
machine does not count: reading and hashing photographs, decoding them, computing their pooled
features with three networks, and looking these up. From this, it prints bytes and hours.

All is assumed to grow in proportion: images are divided among machines, and nothing is
computed twice. No GPU is measured. For GPUs, the table says how long their hosts take to feed
them, each with a machine of its own: all cores decode, and one thread hands images over
(`benchmarks.feeding`). A network may take longer.

Needs photographs as in `benchmarks`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["OMP_NUM_THREADS"] = "1"  # a core, not a machine

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.base import clone

from benchmarks._timing import chosen
from benchmarks.extraction import MOBILENET, RESNET, VGG
from sktransfer import PretrainedFeatureTransformer
from sktransfer._images.decoding import decode
from sktransfer._images.sources import content_of, digest_of

SIZE = MOBILENET["input_size"]
NETWORKS = {  # name → its parameters, and how many photographs are enough
    "MobileNet (α 0.75)": (MOBILENET, 200),
    "ResNet50": (RESNET, 40),
    "VGG16": ({**VGG, "input_size": SIZE}, 20),
}
SIZES = (1_000_000, 100_000_000)
CORES = 16  # of a machine
FED = 5000  # images a second that one thread hands to a GPU
GPUS = (1, 8)
N_FOUND = 400  # images to look up
UNITS = {"h": 3600, "min": 60, "s": 1}


@dataclass(frozen=True)
class Rates:
    """What one core does with photographs.

    Attributes
    ----------
    nbytes : float
        Of a photograph's file.
    identified, decoded : float
        Photographs a second.
    """

    nbytes: float
    identified: float
    decoded: float


@dataclass(frozen=True)
class Network:
    """What one core does with a network.

    Attributes
    ----------
    pooled, flattened : int
        Bytes of the features of an image.
    computed, found : float
        Images a second, from their paths to features: cold, and from the cache.
    """

    name: str
    pooled: int
    flattened: int
    computed: float
    found: float


def rate(function, n):
    """Calls of a function that go through n images, as images a second of the processor."""
    started = time.process_time()
    function()
    return n / (time.process_time() - started)


def rates():
    paths, _ = chosen(400)
    contents = [content_of(path) for path in paths]
    return Rates(
        nbytes=np.mean([Path(path).stat().st_size for path in paths]),
        identified=rate(lambda: [digest_of(content_of(path)) for path in paths], len(paths)),
        decoded=rate(
            lambda: [decode(c, SIZE, (0, 255)) for c in contents],
            len(paths),
        ),
    )


def measured(name, parameters, n_images):
    """The `Network` of that name."""
    paths, _ = chosen(n_images)
    pooled = PretrainedFeatureTransformer(
        **parameters, pooling="avg", cache_dir=None, n_jobs=1
    ).fit(paths)
    pooled.transform(paths[:4])  # the network is loaded
    flattened = clone(pooled).set_params(pooling=None).fit(paths)
    with tempfile.TemporaryDirectory() as folder:
        pooled.set_params(cache_dir=folder)
        return Network(
            name,
            pooled=4 * math.prod(pooled.feature_shape_),
            flattened=4 * math.prod(flattened.feature_shape_),
            computed=rate(lambda: pooled.transform(paths), n_images),
            found=rate(lambda: pooled.transform(paths * (N_FOUND // n_images)), N_FOUND),
        )


def in_bytes(n):
    """A number of bytes, in the unit that suits it."""
    unit = "GB" if n < 1e12 else "TB"
    return f"{n / (1e9 if unit == 'GB' else 1e12):,.3g} {unit}"


def duration(seconds):
    """A time, in the unit that suits it."""
    unit, size = next((unit, size) for unit, size in UNITS.items() if seconds >= 2 * size)
    return f"{seconds / size:,.0f} {unit}"


def show_rates(photographs, networks):
    print(
        f"A second of one core: {photographs.identified:,.0f} photographs of "
        f"{photographs.nbytes / 1000:.0f} kB read and hashed, or {photographs.decoded:,.0f} "
        "decoded."
    )
    print(
        "\n| network | computed | from the cache | pooled | flattened |\n" + "|---" * 5 + "|"
    )
    for network in networks:
        print(
            f"| {network.name} | {network.computed:.2g}/s | {network.found:,.0f}/s "
            f"| {network.pooled / 1000:.1f} kB | {network.flattened / 1000:,.0f} kB |"
        )


def show_table(photographs, networks):
    titles = [
        "images",
        "network",
        "files",
        "pooled",
        "flattened",
        f"{CORES} cores, computed",
        f"machines of {CORES} cores to compute them in a day",
        f"{CORES} cores, from the cache",
        *(f"fed to {n} GPU{'s' * (n > 1)}" for n in GPUS),
    ]
    print(f"\n| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    fed = min(FED, CORES * photographs.decoded)
    for n in SIZES:
        for network in networks:
            seconds = n / network.computed / CORES
            cells = [
                f"{n:,}",
                network.name,
                in_bytes(n * photographs.nbytes),
                in_bytes(n * network.pooled),
                in_bytes(n * network.flattened),
                duration(seconds),
                f"{np.ceil(seconds / 86400):.0f}",
                duration(n / network.found / CORES),
                *(duration(n / fed / gpus) for gpus in GPUS),
            ]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    photographs = rates()
    networks = [measured(name, *how) for name, how in NETWORKS.items()]
    show_rates(photographs, networks)
    show_table(photographs, networks)
