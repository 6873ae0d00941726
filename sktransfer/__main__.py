"""The main job from a shell: ``python -m sktransfer [FOLDER]``."""

import argparse
import json
import os
import sys
import time
from collections import Counter

# Before TensorFlow is imported: its start-up messages are not about the user's job.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import joblib
import numpy as np
from sklearn.datasets import load_digits, load_files
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import (
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureTransformer, SktransferError, clear_cache

DESCRIPTION = """\
Classify a folder of photographs, one sub-folder for each class: features of a pretrained
network, then a logistic regression, cross-validated. Without a folder, show on handwritten
digits what features of a network bring that has seen other digits only.
"""


def main(arguments=None):
    """Run the command line; return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.folder is not None and not os.path.isdir(options.folder):
        parser.error(f"no folder {options.folder!r}")
    if options.output and not os.path.isdir(os.path.dirname(options.output) or "."):
        parser.error(f"no folder for {options.output!r}")
    if options.clear_cache:
        clear_cache()
    started = time.perf_counter()
    try:
        pipeline = _classify_folder(options) if options.folder else _show_digits()
    except (SktransferError, ValueError) as error:
        print(f"sktransfer: {error}", file=sys.stderr)
        return 1
    if options.output:
        joblib.dump(pipeline, options.output)
        print(f"\nfitted on all images and saved: {options.output}")
    print(f"\n{time.perf_counter() - started:.1f} s")
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        "python -m sktransfer",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="FOLDER/class/image")
    parser.add_argument("--backbone", default="vgg16", help="a name, or a .keras file")
    parser.add_argument(
        "--backbone-params",
        type=json.loads,
        metavar="JSON",
        help="""such as '{"alpha": 0.75}'""",
    )
    parser.add_argument("--weights", default="pretrained", help="a file of weights")
    parser.add_argument(
        "--preprocessing",
        default="backbone",
        choices=("backbone", "rescale", "none"),
        help="what a .keras file of your own takes: pixels from 0 to 1, or to 255",
    )
    parser.add_argument("--output", metavar="FILE", help="save the fitted Pipeline here")
    parser.add_argument(
        "--clear-cache", action="store_true", help="first forget all features computed so far"
    )
    return parser


def _show_digits():
    """Digits 5 to 9 from 10 images of each, by pixels and by features."""
    X, y = load_digits(return_X_y=True)
    X, y = X[y >= 5], y[y >= 5]
    pipelines = {
        "raw pixels": make_pipeline(LogisticRegression(max_iter=5000)),
        "transferred features": make_pipeline(
            PretrainedFeatureTransformer("tiny", image_shape=(8, 8), input_range=(0, 16)),
            LogisticRegression(max_iter=5000),
        ),
    }
    _print_counts(y)
    print("\naccuracy from 10 images a class, mean ± spread over 10 draws:")
    splits = StratifiedShuffleSplit(10, train_size=50, random_state=0)
    for name, pipeline in pipelines.items():
        scores = cross_val_score(pipeline, X, y, cv=splits)
        print(f"  {name:20}  {scores.mean():.3f} ± {scores.std():.3f}")
    train, test = next(splits.split(X, y))
    pipeline.fit(X[train], y[train])
    print("\nof the last, for the first draw:")
    _print_confusion(y[test], pipeline.predict(X[test]))
    return pipeline.fit(X, y)


def _classify_folder(options):
    """Cross-validate a classifier of the images in FOLDER/class/image."""
    files = load_files(options.folder, load_content=False)
    X, y = files.filenames, np.array([files.target_names[i] for i in files.target])
    smallest = min(Counter(y).values(), default=0)
    if len(set(y)) < 2 or smallest < 2:
        raise ValueError(
            f"{options.folder} needs two or more sub-folders, one for each class, of two or "
            f"more images each; it has {dict(Counter(y))}"
        )
    pipeline = make_pipeline(
        PretrainedFeatureTransformer(
            options.backbone,
            weights=options.weights,
            preprocessing=None if options.preprocessing == "none" else options.preprocessing,
            backbone_params=options.backbone_params,
            pooling="avg",
            verbose=1,
        ),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1000),
    )
    _print_counts(y)
    features = pipeline[0].fit_transform(X)  # with one progress bar, and then never again
    folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=0)
    predicted = cross_val_predict(pipeline[1:], features, y, cv=folds)
    right = [np.mean(predicted[test] == y[test]) for _, test in folds.split(X, y)]
    print(f"\naccuracy over {len(right)} folds: {np.mean(right):.4f} ± {np.std(right):.4f}")
    print()
    _print_confusion(y, predicted)
    pipeline[1:].fit(features, y)
    return pipeline


def _print_counts(y):
    print("images:", ", ".join(f"{n} {label}" for label, n in sorted(Counter(y).items())))


def _print_confusion(y, predicted):
    labels = sorted(set(y))
    names = [str(label) for label in labels]
    width = max(map(len, [*names, "10000"])) + 2
    print("true \\ predicted".ljust(18) + "".join(name.rjust(width) for name in names))
    for name, row in zip(names, confusion_matrix(y, predicted, labels=labels), strict=True):
        print(name.ljust(18) + "".join(str(n).rjust(width) for n in row))


if __name__ == "__main__":
    sys.exit(main())
