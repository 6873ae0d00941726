"""What `audit_images` finds and misses: ``python -m benchmarks.audit [WHAT ...] [SET ...]``.

``labels``: 5 % of the labels of each set are changed at random, seeds 0 to 4. What share of
the 5 % with the least ``label_quality`` are these (precision and recall are the same), against
cleanlab's self-confidence on the same out-of-fold probabilities; and precision and recall of
the suspects, against cleanlab's `find_label_issues`, where it is installed.

``copies``: 40 altered copies are added to each set, 10 of each kind: resized (to 40–80 %),
recompressed (quality 15–60), cropped (to 80–95 % of each side) and mirrored, all as JPEG. How
many are found, and how many of the other images are called duplicates, of which some are.

``time``: seconds for the 2,002 photographs, whose features are in the cache.

Without one of these words, all. Smoothing and weight of the label quality were chosen with
seeds 100 and 101, the least correlation of copies on 100 images of each set with other copies.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import importlib.util
import io
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks._timing import photographs
from benchmarks.domains import SETS
from benchmarks.extraction import MOBILENET
from sktransfer import PretrainedFeatureTransformer, audit_images
from sktransfer._audit.labels import FOLDS, doubts_of

FLIPPED, SEEDS = 0.05, range(5)
N_COPIES = 40


def images_of(name):
    """Paths and labels of all images of a set."""
    paths, labels = photographs()  # which makes a home for the weights, too
    if name == "cats_and_dogs":
        return np.array(paths), labels
    folder = Path(os.environ["SKTRANSFER_TEST_DATA"], "domains", name)
    paths = sorted(folder.glob("*/*.jpg"))
    return np.array([str(path) for path in paths]), np.array([p.parent.name for p in paths])


def transformer():
    return PretrainedFeatureTransformer(**MOBILENET, pooling="avg")


def flipped(codes, rng):
    """Labels of which some are changed, and which."""
    n, n_classes = len(codes), codes.max() + 1
    chosen = rng.choice(n, round(FLIPPED * n), replace=False)
    changed = codes.copy()
    changed[chosen] = (changed[chosen] + rng.integers(1, n_classes, len(chosen))) % n_classes
    return changed, np.isin(np.arange(n), chosen)


def top(scores, are_wrong):
    """The share of the wrong ones among as many with the least scores."""
    return are_wrong[np.argsort(scores, kind="stable")[: are_wrong.sum()]].mean()


def found(suspects, are_wrong):
    """Precision and recall of suspects, as text."""
    hits = (suspects & are_wrong).sum()
    return np.array([hits / max(suspects.sum(), 1), hits / are_wrong.sum()])


def labels(name):
    """The figures of one set: means over seeds."""
    X, y = images_of(name)
    features, codes = transformer().fit_transform(X), np.unique(y, return_inverse=True)[1]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    figures = []
    for seed in SEEDS:
        changed, are_wrong = flipped(codes, np.random.default_rng(seed))
        doubts = doubts_of(model, features, changed, features, seed)
        ours = [
            top(doubts.quality(), are_wrong),
            *found(doubts.are_suspect, are_wrong),
        ]
        figures.append([*ours, *_cleanlab(model, features, changed, are_wrong, seed)])
    return np.array(figures)


def _cleanlab(model, features, codes, are_wrong, seed):
    """The same figures of cleanlab, on the same probabilities."""
    if importlib.util.find_spec("cleanlab") is None:
        return [np.nan] * 3
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    made = cross_val_predict(model, features, codes, cv=folds, method="predict_proba")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        issues = find_label_issues(codes, made, n_jobs=1)
    return [top(get_label_quality_scores(codes, made), are_wrong), *found(issues, are_wrong)]


def encoded(image, quality=90):
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return file.getvalue()


def altered(path, kind, rng):
    """An altered copy of an image, as a file."""
    image = Image.open(path)
    width, height = image.size
    if kind == "resized":
        share = rng.uniform(0.4, 0.8)
        return encoded(image.resize((round(share * width), round(share * height))))
    if kind == "recompressed":
        return encoded(image, quality=int(rng.integers(15, 61)))
    if kind == "mirrored":
        return encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    w, h = (np.array(image.size) * rng.uniform(0.8, 0.95)).astype(int)
    left, upper = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    return encoded(image.crop((left, upper, left + w, upper + h)))


def copies(name, seed=0):
    """Copies found, of each kind; other images called duplicates; and these without copies."""
    kinds = ("resized", "recompressed", "cropped", "mirrored")
    X, _ = images_of(name)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(X), N_COPIES, replace=False)
    added = [altered(X[i], kinds[k % 4], rng) for k, i in enumerate(chosen)]
    report = audit_images([*X, *added], estimator=transformer(), n_jobs=2)
    pairs = {one.row: one.other for one in report.findings if "duplicate" in one.kind}
    hits = [pairs.get(len(X) + k) is not None for k in range(N_COPIES)]
    others = sum(row < len(X) for row in pairs)
    of_kinds = {kind: sum(hits[k::4]) for k, kind in enumerate(kinds)}
    return of_kinds, np.mean(hits), others, others / len(X)


def main(what=("labels", "copies", "time"), sets=SETS):
    if "labels" in what:
        print(
            "| set | top 5 %: ours | cleanlab | suspects, precision/recall: ours | cleanlab |"
        )
        print("|---|---|---|---|---|")
        for name in sets:
            figures = labels(name)
            m, s = figures.mean(axis=0), figures.std(axis=0)
            print(
                f"| {name} | {m[0]:.3f} ± {s[0]:.3f} | {m[3]:.3f} ± {s[3]:.3f} | "
                f"{m[1]:.2f}/{m[2]:.2f} | {m[4]:.2f}/{m[5]:.2f} |",
                flush=True,
            )
    if "copies" in what:
        print("| set | found of 40 | resized, recompressed, cropped, mirrored | others |")
        print("|---|---|---|---|")
        for name in sets:
            of_kinds, share, others, rate = copies(name)
            told = ", ".join(map(str, of_kinds.values()))
            print(f"| {name} | {share:.1%} | {told} | {others} ({rate:.2%}) |", flush=True)
    if "time" in what:
        X, y = images_of("cats_and_dogs")
        audit_images(X, y, estimator=transformer(), n_jobs=2)
        started, cpu = time.perf_counter(), time.process_time()
        audit_images(X, y, estimator=transformer(), n_jobs=2)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(f"{len(X)} photographs, warm: {wall:.1f} s, {cpu:.1f} s of processors")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    chosen = [a for a in arguments if a in SETS] or SETS
    main([a for a in arguments if a not in SETS] or ("labels", "copies", "time"), chosen)
