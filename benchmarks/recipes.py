"""What each way to train brings, over domains: ``python -m benchmarks.recipes [WORD …]``.

Fits what is not in ``docs/recipes.jsonl`` yet, a line of it for each fit, and can be stopped
and started again at any time. With words, only what has all of them in its line, such as
``MobileNet letters default``. ``python -m benchmarks.recipes tables`` prints the tables of
``docs/recipes.md`` instead: means over seeds of accuracy and log loss on test images that
nothing was chosen by, and differences to logistic regression on frozen features.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks import plain_tuning
from benchmarks.domains import SETS, draw, networks
from sktransfer import (
    FineTunedConvNetClassifier,
    ImageAugmentation,
    PretrainedFeatureTransformer,
)

RESULTS = Path("docs/recipes.jsonl")
BASELINE, PLAIN, DEFAULT = "logistic regression", "plain Keras", "default"


def views(factor=1, **others):
    """The default augmentation, so many times as strong."""
    return ImageAugmentation(
        rotation_range=10 * factor,
        width_shift_range=0.1 * factor,
        height_shift_range=0.1 * factor,
        zoom_range=0.1 * factor,
        **others,
    )


TUNED = {  # parameters of the classifier
    DEFAULT: {},
    "head alone": {"unfreeze": 0},
    "half, not judged": {"unfreeze": 0.5, "early_stopping": False},
    "all, not judged": {"unfreeze": "all", "early_stopping": False},
}
VIEWS = {
    "head alone, no views": {"unfreeze": 0, "augmentation": None},
    "head alone, views half as strong": {"unfreeze": 0, "augmentation": views(0.5)},
    "head alone, views twice as strong": {"unfreeze": 0, "augmentation": views(2)},
    "head alone, mirrored views": {"unfreeze": 0, "augmentation": views(horizontal_flip=True)},
}
LAYERS = {  # the ends of a block in the middle, of a late one, and of the last
    "MobileNet": ("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
    "EfficientNet-Lite0": ("block4c_add", "block6d_add", "top_relu"),
}
FROZEN = {  # features of these layers, for logistic regression
    BASELINE: [2],
    "features of a late layer": [1],
    "features of a layer in the middle": [0],
    "features of the late and the last layer": [1, 2],
    "features of all three layers": [0, 1, 2],
}
QUADRANTS = "features of the last layer, 2 × 2 positions"
SETTINGS = (
    BASELINE,
    *TUNED,
    PLAIN,
    *VIEWS,
    *[name for name in FROZEN if name != BASELINE],
    QUADRANTS,
)


@dataclass(frozen=True)
class Job:
    """One fit."""

    network: str
    set: str
    images: int
    seed: int
    setting: str

    def __str__(self):
        return " ".join(map(str, asdict(self).values()))


def jobs():
    """All of them, those that tell most first."""
    for seed in range(3):
        for setting in (BASELINE, *TUNED, PLAIN):
            for images in (20, 100):
                for name in SETS:
                    yield Job("MobileNet", name, images, seed, setting)
        for setting in (BASELINE, DEFAULT, "head alone"):
            yield Job("MobileNet", "cats_and_dogs", 500, seed, setting)
    for setting in SETTINGS:
        for network, images in (
            ("MobileNet", 20),
            ("MobileNet", 100),
            ("EfficientNet-Lite0", 100),
        ):
            for name in SETS:
                yield Job(network, name, images, 0, setting)


def regression(network, name, setting):
    """What a user of frozen features writes, its strength chosen by the least log loss."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    strengths = {"logisticregression__C": np.logspace(-4, 1, 6)}
    search = GridSearchCV(model, strengths, scoring="neg_log_loss")
    if setting == QUADRANTS:
        features = PretrainedFeatureTransformer(**network)
        return make_pipeline(features, FunctionTransformer(quadrants), search)
    layers = [LAYERS[name][place] for place in FROZEN[setting]]
    return make_pipeline(
        PretrainedFeatureTransformer(**network, layer=layers, pooling="avg"), search
    )


def quadrants(features):
    """Means over four overlapping quarters of 7 × 7 positions."""
    maps = features.reshape(len(features), 7, 7, -1)
    parts = [maps[:, i : i + 4, j : j + 4] for i in (0, 3) for j in (0, 3)]
    return np.hstack([part.mean(axis=(1, 2)) for part in parts])


def run(job):
    """Accuracy, log loss and seconds of a job, and what the classifier chose."""
    some, network = draw(job.set, job.images, job.seed), networks()[job.network]
    chosen = {}
    if job.setting == PLAIN:
        probabilities, seconds = plain_tuning.tune(job.network, some, job.seed)
    elif job.setting in TUNED | VIEWS:
        parameters = {**network, **(TUNED | VIEWS)[job.setting], "random_state": job.seed}
        with tempfile.TemporaryDirectory() as folder:
            cache = folder if job.setting == DEFAULT else "default"  # its seconds are cold
            model = FineTunedConvNetClassifier(**parameters, cache_dir=cache)
            probabilities, seconds = predicted(model, some)
        stage = model.history_["stage"][model.best_epoch_]
        chosen = {"stage": stage, "share": model.fine_tuned_share_}
    else:
        probabilities, seconds = predicted(regression(network, job.network, job.setting), some)
    classes = np.unique(some.y)
    probabilities = np.array(probabilities, dtype=np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return {
        "accuracy": accuracy_score(some.y_test, classes[probabilities.argmax(axis=1)]),
        "log_loss": log_loss(some.y_test, probabilities, labels=classes),
        "seconds": seconds,
        **chosen,
    }


def predicted(model, some):
    """Probabilities of the test images, and the seconds of fitting and predicting."""
    started = time.perf_counter()
    probabilities = model.fit(some.X, some.y).predict_proba(some.X_test)
    return probabilities, time.perf_counter() - started


def results():
    """Job → what came of it, of those that are done."""
    done = {}
    if RESULTS.is_file():
        for line in RESULTS.read_text().splitlines():
            fields = json.loads(line)
            job = Job(**{name: fields.pop(name) for name in Job.__dataclass_fields__})
            done[job] = fields
    return done


def tables():
    """Print a table for each network and number of images."""
    done = results()
    for network, images in dict.fromkeys((job.network, job.images) for job in jobs()):
        seen = {j: r for j, r in done.items() if (j.network, j.images) == (network, images)}
        if not seen:
            continue
        sets = [name for name in SETS if any(job.set == name for job in seen)]
        print(f"\n### {network}, {images} images a class\n")
        print(f"| setting | {' | '.join(sets)} | mean |")
        print("|---" * (len(sets) + 2) + "|")
        for setting in SETTINGS:
            cells = [cell(seen, name, setting) for name in sets]
            if not any(cells):
                continue
            gains = [gain(seen, name, setting).mean() for name in sets]
            mean = f"{np.mean(gains):+.4f}" if all(cells) else ""
            print(f"| {setting} | {' | '.join(cells)} | {mean} |")


def cell(seen, name, setting):
    """Accuracy, its difference to the baseline, log loss and seconds; or nothing."""
    found = [r for job, r in seen.items() if (job.set, job.setting) == (name, setting)]
    if not found:
        return ""
    accuracy, loss, seconds = (
        np.array([r[key] for r in found]) for key in ("accuracy", "log_loss", "seconds")
    )
    parts = [f"{accuracy.mean():.4f}"]
    if setting != BASELINE:
        won = gain(seen, name, setting)
        spread = f" ± {won.std():.4f}" if len(won) > 1 else ""
        parts[0] += f", {won.mean():+.4f}{spread}"
    return "; ".join([*parts, f"{loss.mean():.3f}", f"{seconds.mean():.0f} s"])


def gain(seen, name, setting):
    """Differences in accuracy to the baseline, of the seeds that have both."""
    of = {
        wanted: {j.seed: r for j, r in seen.items() if (j.set, j.setting) == (name, wanted)}
        for wanted in (BASELINE, setting)
    }
    both = of[BASELINE].keys() & of[setting].keys()
    gains = [of[setting][s]["accuracy"] - of[BASELINE][s]["accuracy"] for s in sorted(both)]
    return np.array(gains or [np.nan])


def main(*words):
    if words == ("tables",):
        tables()
        return
    done = results()
    for job in dict.fromkeys(jobs()):
        if job in done or any(word not in str(job).split() for word in words):
            continue
        line = asdict(job) | run(job)
        with RESULTS.open("a") as file:
            print(json.dumps(line), file=file)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
