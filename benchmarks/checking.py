"""What the check before computing costs: ``python -m benchmarks.checking``.

Before any image is computed, each is read, hashed and opened, so that all bad rows are named
at once. Prints the time of that as a share of a cold extraction (MobileNet, 224 px, pooled),
the median of interleaved rounds with its range, and how long 2,000 photographs take to fail
that have one bad file among them.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data. Takes about
five minutes on 2 cores.
"""

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks._timing import interleave, photographs, seconds
from sktransfer import InvalidImagesError, PretrainedFeatureTransformer

ROUNDS = 5
IMAGES = 2000
MOBILENET = {
    "backbone": "mobilenet",
    "backbone_params": {"alpha": 0.75},
    "input_size": (224, 224),
    "pooling": "avg",
}


def extract(paths):
    with tempfile.TemporaryDirectory() as folder:
        PretrainedFeatureTransformer(**MOBILENET, cache_dir=folder).fit_transform(paths)


def fail(paths):
    """Nothing but the check, since one of the files is missing."""
    try:
        extract([*paths, "missing.jpg"])
    except InvalidImagesError:
        return
    raise AssertionError("the missing file was not noticed")


def main():
    paths = photographs()[0][:IMAGES]
    extract(paths[:20])
    whole, check = interleave(
        ROUNDS, lambda: seconds(lambda: extract(paths)), lambda: seconds(lambda: fail(paths))
    )
    shares = check / whole
    print(
        f"check / cold extraction of {len(paths)} photographs: {np.median(shares):.3f} "
        f"[{shares.min():.3f}, {shares.max():.3f}]   {np.median(check):.2f} s of "
        f"{np.median(whole):.1f} s"
    )


if __name__ == "__main__":
    main()
