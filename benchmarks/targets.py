"""Several labels an image, and numbers: ``python -m benchmarks.targets [WORD …]``.

Makes images of 96 × 96 pixels from real ones, whose truth is known:

- ``letters``, ``aerial``: two images of different classes, in two of four quadrants; textures
  in the others. The labels are both classes.
- ``count``: nine cells, 0 to 9 of them with a letter, the others with textures. The number is
  how many are letters.
- ``place``: a letter somewhere on a texture. The numbers are its row and its column.
- ``angle``: a photograph of a cat or a dog, turned by up to 45 degrees either way, and cut so
  that no corner shows. The number is the angle.

Prints a row of a table for each way to learn: means over three seeds ± their standard
deviation, on test images that are made of other images than the training images, and that
nothing was chosen by. A seed draws 200 training images and as many test images. With words,
only rows that have one of them in their first two cells.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import sys
import time
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads wait for one another

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import average_precision_score, f1_score, r2_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.domains import draw
from benchmarks.extraction import MOBILENET
from sktransfer import (
    FineTunedConvNetClassifier,
    FineTunedConvNetRegressor,
    ImageAugmentation,
    PretrainedFeatureTransformer,
)

SIDE, LARGEST_ANGLE = 96, 45
NETWORK = {**MOBILENET, "input_size": (SIDE, SIDE)}
SIZES = {"train": 200, "test": 200}
SEEDS = range(3)
VIEWS = {  # that keep what is asked
    "angle": {"augmentation": ImageAugmentation(rotation_range=0)},
    "place": {"augmentation": None},
}
TUNED = {
    "head alone": {"unfreeze": 0},
    "half, not judged": {"unfreeze": 0.5, "early_stopping": False},
    "default": {},
}
HEADER = "| images | way | {} | {} | seconds |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Sources:
    """Files of real images to make others of.

    Attributes
    ----------
    files, labels : ndarray of str
    textures : ndarray of str
    """

    files: np.ndarray
    labels: np.ndarray
    textures: np.ndarray

    @classmethod
    def of(cls, name, part):
        """Those of a set that are for a part: to train on, or to test on."""
        some, textures = draw(name, 1000, 0), draw("texture", 1000, 0)
        if part == "train":
            return cls(some.X, some.y, textures.X)
        return cls(some.X_test, some.y_test, textures.X_test)


def opened(path, side):
    """A file as a square of so many pixels."""
    with Image.open(path) as image:
        return image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)


def labelled(sources, rng):
    """Two classes in two of four quadrants, and an indicator of each class."""
    classes, half = np.unique(sources.labels), SIDE // 2
    chosen = rng.choice(len(classes), 2, replace=False)
    image = opened(rng.choice(sources.textures), SIDE)
    for quadrant, label in zip(rng.permutation(4), chosen, strict=False):
        cell = opened(rng.choice(sources.files[sources.labels == classes[label]]), half)
        image.paste(cell, (quadrant % 2 * half, quadrant // 2 * half))
    return image, np.isin(np.arange(len(classes)), chosen).astype(int)


def counted(sources, rng):
    """Nine cells, and how many of them show a letter."""
    count, side = rng.integers(10), SIDE // 3
    image = Image.new("RGB", (3 * side, 3 * side))
    for i, cell in enumerate(rng.permutation(9)):
        path = rng.choice(sources.files if i < count else sources.textures)
        image.paste(opened(path, side), (cell % 3 * side, cell // 3 * side))
    return image.resize((SIDE, SIDE)), float(count)


def placed(sources, rng):
    """A letter on a texture, and its row and column."""
    side = SIDE // 3
    row, column = rng.integers(SIDE - side, size=2)
    image = opened(rng.choice(sources.textures), SIDE)
    image.paste(opened(rng.choice(sources.files), side), (column, row))
    return image, np.array([row, column], dtype=float)


def turned(sources, rng):
    """A photograph, and the angle by which it was turned."""
    angle, side = rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE), round(SIDE * 2**0.5)
    image = opened(rng.choice(sources.files), side)
    image = image.rotate(angle, Image.Resampling.BILINEAR)
    edge = (side - SIDE) // 2
    return image.crop((edge, edge, edge + SIDE, edge + SIDE)), angle


LABELS = {"letters": ("letters", labelled), "aerial": ("aerial", labelled)}
NUMBERS = {
    "count": ("letters", counted),
    "place": ("letters", placed),
    "angle": ("cats_and_dogs", turned),
}


def images(name, part, seed):
    """Images and their truth."""
    source, make = (LABELS | NUMBERS)[name]
    sources, rng = Sources.of(source, part), np.random.default_rng([seed, part == "test"])
    pairs = [make(sources, rng) for _ in range(SIZES[part])]
    return np.stack([np.asarray(x) for x, _ in pairs]), np.array([y for _, y in pairs])


def on_frozen_features(model):
    transformer = PretrainedFeatureTransformer(**NETWORK, pooling="avg")
    return make_pipeline(transformer, StandardScaler(), model)


def label_model(way, name, seed):
    if way in TUNED:
        return FineTunedConvNetClassifier(**NETWORK, **TUNED[way], random_state=seed)
    logistic = LogisticRegressionCV(
        Cs=np.logspace(-4, 0, 5),
        scoring="neg_log_loss",
        max_iter=1000,
        use_legacy_attributes=False,
        l1_ratios=(0,),
    )
    return on_frozen_features(MultiOutputClassifier(logistic))


def number_model(way, name, seed):
    if way in TUNED:
        parameters = {**NETWORK, **TUNED[way], **VIEWS.get(name, {})}
        return FineTunedConvNetRegressor(**parameters, random_state=seed)
    return on_frozen_features(RidgeCV(np.logspace(-1, 5, 13)))


def label_scores(model, X, y):
    """Macro F1, and macro average precision."""
    probabilities = model.predict_proba(X)
    if isinstance(probabilities, list):  # as MultiOutputClassifier has them
        probabilities = np.column_stack([one[:, 1] for one in probabilities])
    f1 = f1_score(y, model.predict(X), average="macro")
    return f1, average_precision_score(y, probabilities, average="macro")


def number_scores(model, X, y):
    """R2, and the mean absolute error."""
    predicted = model.predict(X)
    return r2_score(y, predicted), np.abs(predicted - y).mean()


def row(name, way, make, judge):
    """A row of a table: what a way to learn comes to over all seeds."""
    scores, started = [], time.perf_counter()
    for seed in SEEDS:
        model = make(way, name, seed).fit(*images(name, "train", seed))
        scores.append(judge(model, *images(name, "test", seed)))
    seconds = (time.perf_counter() - started) / len(SEEDS)
    means, spreads = np.mean(scores, axis=0), np.std(scores, axis=0)
    cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(means, spreads, strict=True)]
    return f"| {name} | {way} | {' | '.join(cells)} | {seconds:.0f} |"


def table(names, baseline, make, judge, measures, words):
    print("\n" + HEADER.format(*measures))
    for way in (baseline, *TUNED):
        for name in names:
            if not words or {name, way} & set(words):
                print(row(name, way, make, judge), flush=True)


def main(*words):
    measures = ("macro F1", "average precision")
    one_by_one = "logistic regressions on frozen features"
    table(LABELS, one_by_one, label_model, label_scores, measures, words)
    measures = ("R2", "mean absolute error")
    ridge = "ridge regression on frozen features"
    table(NUMBERS, ridge, number_model, number_scores, measures, words)


if __name__ == "__main__":
    main(*sys.argv[1:])
