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
from sklearn.preprocessing import StandardScaler

from benchmarks import plain_tuning
from benchmarks.domains import SETS, draw, networks
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer

RESULTS = Path("docs/recipes.jsonl")
BASELINE, PLAIN = "logistic regression", "plain Keras"
SETTINGS = {  # of the classifier
    "default": {},
    "head alone": {"unfreeze": 0},
}


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
        for setting in (BASELINE, *SETTINGS, PLAIN):
            for images in (100, 20):
                for name in SETS:
                    yield Job("MobileNet", name, images, seed, setting)
    for seed in range(3):
        for setting in (BASELINE, *SETTINGS):
            for name in SETS:
                yield Job("EfficientNet-Lite0", name, 100, seed, setting)
    for seed in range(3):
        for setting in (BASELINE, *SETTINGS):
            yield Job("MobileNet", "cats_and_dogs", 500, seed, setting)


def regression(network):
    """What a user of frozen features writes, its strength chosen by the least log loss."""
    features = PretrainedFeatureTransformer(**network, pooling="avg")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    strengths = {"logisticregression__C": np.logspace(-4, 1, 11)}
    return make_pipeline(features, GridSearchCV(model, strengths, scoring="neg_log_loss"))


def run(job):
    """Accuracy, log loss and seconds of a job."""
    some, network = draw(job.set, job.images, job.seed), networks()[job.network]
    notes = {}
    if job.setting == PLAIN:
        probabilities, seconds = plain_tuning.tune(job.network, some, job.seed)
    elif job.setting == BASELINE:
        model = regression(network)
        probabilities, seconds = predicted(model, some)
    else:
        parameters = {**network, **SETTINGS[job.setting], "random_state": job.seed}
        with tempfile.TemporaryDirectory() as cold:
            model = FineTunedConvNetClassifier(**parameters, cache_dir=cold)
            probabilities, seconds = predicted(model, some)
        stage = model.history_["stage"][model.best_epoch_]
        notes = {"stage": stage, "share": model.fine_tuned_share_}
    classes = np.unique(some.y)
    probabilities = np.array(probabilities, dtype=np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return {
        "accuracy": accuracy_score(some.y_test, classes[probabilities.argmax(axis=1)]),
        "log_loss": log_loss(some.y_test, probabilities, labels=classes),
        "seconds": seconds,
        **notes,
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
        for setting in dict.fromkeys(job.setting for job in jobs()):
            cells = [cell(seen, name, setting) for name in sets]
            gains = [gain(seen, name, setting).mean() for name in sets]
            mean = f"{np.mean(gains):+.4f}" if all(cells) else ""
            print(f"| {setting} | {' | '.join(cells)} | {mean} |")


def cell(seen, name, setting):
    """Accuracy, its difference to the baseline, log loss and minutes; or nothing."""
    found = [r for job, r in seen.items() if (job.set, job.setting) == (name, setting)]
    if not found:
        return ""
    accuracy, loss, seconds = (
        np.array([r[key] for r in found]) for key in ("accuracy", "log_loss", "seconds")
    )
    won = gain(seen, name, setting)
    return (
        f"{accuracy.mean():.4f}, {won.mean():+.4f} ± {won.std():.4f}; {loss.mean():.3f}; "
        f"{seconds.mean():.0f} s"
    )


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
