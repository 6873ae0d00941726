"""Do maps of evidence point at the animal? ``python -m benchmarks.activation_maps [N]``.

The pointing game (J. Zhang et al., "Top-Down Neural Attention by Excitation Backprop", 2016)
on images that are pasted together: photographs of a cat and of a dog lie in two quarters of an
aerial photograph. A hit is a map for "cats" whose maximum lies in the cat's quarter, and one
for "dogs" in the dog's; chance hits a quarter. N is how many images (default: 100). The model
is a logistic regression on features of 1,000 other photographs.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.accuracy import pets
from benchmarks.extraction import MOBILENET
from sktransfer import ActivationMapDisplay, PretrainedFeatureTransformer

SIDE = 224
HALF = SIDE // 2


def square(path, side):
    return Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)


def pasted(background, animals, quarters):
    """An image with animals in quarters of a background."""
    image = square(background, SIDE)
    for animal, quarter in zip(animals, quarters, strict=True):
        image.paste(square(animal, HALF), (quarter % 2 * HALF, quarter // 2 * HALF))
    return np.asarray(image)


def quarter_of_maximum(one):
    row, column = np.unravel_index(one.argmax(), one.shape)
    middle = (np.array(one.shape) - 1) / 2
    return 2 * (row > middle[0]) + (column > middle[1])


def main(n=100):
    X, X_test, y, y_test = pets(0)
    model = make_pipeline(
        PretrainedFeatureTransformer(**MOBILENET, pooling="avg"),
        StandardScaler(),
        LogisticRegression(C=0.01),
    ).fit(X, y)
    rng = np.random.default_rng(0)
    folder = Path(os.environ["SKTRANSFER_TEST_DATA"], "domains", "aerial")
    backgrounds = rng.choice(sorted(folder.glob("*/*.jpg")), n)
    names = ("cats", "dogs")
    animals = np.column_stack([rng.choice(X_test[y_test == name], n) for name in names])
    quarters = np.array([rng.permutation(4)[:2] for _ in range(n)])
    images = [pasted(*of) for of in zip(backgrounds, animals, quarters, strict=True)]
    for method in ("linear", "occlusion"):
        some = images if method == "linear" else images[: n // 4]
        for k, name in enumerate(names):
            display = ActivationMapDisplay.from_estimator(
                model, some, target=name, method=method
            )
            at = np.array([quarter_of_maximum(one) for one in display.maps])
            mine, others = quarters[: len(some), k], quarters[: len(some), 1 - k]
            print(
                f"{method}, {name}: {np.mean(at == mine):.0%} at it, "
                f"{np.mean(at == others):.0%} at the other animal, of {len(some)}",
                flush=True,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
