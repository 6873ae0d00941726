"""How many images the host feeds a free network: ``python -m benchmarks.feeding``.

The network is run by an engine that only copies each batch, as a device that is fast without
limit would take it, and returns the first pixels for rows. Images come as arrays of the
network's size: what is left is the work of this package, in images a second

- of the main thread's processor time: identifying, look-ups, batches, writing. It is the limit
  however many processors decode;
- of the clock, with preprocessing in 1, 2 and 16 threads.
"""

import os
import tempfile
import time
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from sktransfer import PretrainedFeatureTransformer
from sktransfer._networks.engines import ENGINES

N_IMAGES, SIDE = 2000, 224
NETWORKS = {"mobilenet": "one division", "vgg16": "channels turned, means taken off"}


class FreeEngine:
    """An engine whose networks cost no more than a copy of a batch."""

    name = "keras"

    def key(self):
        return "free"

    def batch_sizes(self, info):
        return (1, 128)

    def takes(self, dtypes):
        return "uint8"

    def compile(self, prefix, precision):
        return FreeNetwork(prefix.model.outputs[0].shape[-1])


class FreeNetwork:
    """Takes the first numbers of an image for its row."""

    def __init__(self, n_features):
        self._n_features = n_features

    def submit(self, images):
        return images.copy()

    def fetch(self, images):
        return [images.reshape(len(images), -1)[:, : self._n_features]]


def measured(transformer, images):
    """Images a second of the main thread's processor time, and of the clock."""
    thread, clock = time.thread_time(), time.perf_counter()
    transformer.transform(images)
    seconds = time.thread_time() - thread, time.perf_counter() - clock
    return [f"{len(images) / s:,.0f}" for s in seconds]


def main():
    images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, SIDE, SIDE, 3), np.uint8)
    print("| preprocessing | threads | rows | images/s of the main thread | images/s |")
    print("|---|---|---|---|---|")
    with patch.dict(ENGINES, keras=FreeEngine()):
        for name, preprocessing in NETWORKS.items():
            for n_jobs in (1, 2, 16):
                with tempfile.TemporaryDirectory() as cache:
                    transformer = PretrainedFeatureTransformer(
                        name, weights=None, pooling="avg", cache_dir=cache, n_jobs=n_jobs
                    ).fit(images[:1])
                    transformer.transform(images[:1])  # which builds the network
                    for rows in ("computed", "kept"):
                        rates = " | ".join(measured(transformer, images))
                        print(f"| {preprocessing} | {n_jobs} | {rows} | {rates} |")


if __name__ == "__main__":
    main()
