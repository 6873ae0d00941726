"""What each setting of fine-tuning brings: ``python -m benchmarks.recipes TABLE [PROBLEM …]``.

Prints one of the tables below, a line for each setting: accuracy and log loss, means over
five draws of training images and four folds of each, with the spread over draws. Nothing but
training images is looked at: the folds are of the training images, and the draws leave the
test images of ``benchmarks.accuracy`` to themselves only in part, which is why defaults are
reported there and not here.

Problems: cats and dogs with 25, 100 and 500 images a class on MobileNet (alpha 0.75, 224 px,
ImageNet), and ``digits``, 5 to 9 with 10 a class on the embedded network.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split

from benchmarks._timing import photographs
from sktransfer import FineTunedConvNetClassifier, ImageAugmentation

DRAWS, FOLDS = 5, 4
MOBILENET = {
    "backbone": "mobilenet",
    "backbone_params": {"alpha": 0.75},
    "input_size": (224, 224),
}
TINY = {"backbone": "tiny", "image_shape": (8, 8), "input_range": (0, 16)}
IMAGES_A_CLASS = {"digits": 10, "25": 25, "100": 100, "500": 500}

HEAD = {"unfreeze": 0}
STILL = {
    "rotation_range": 0,
    "width_shift_range": 0,
    "height_shift_range": 0,
    "zoom_range": 0,
}
UPRIGHT = ImageAugmentation(horizontal_flip=False)
TABLES = {
    "views": {
        "0": {**HEAD, "augmentation": None},
        **{str(n): {**HEAD, "augmentation_views": n} for n in (1, 2, 4, 8)},
    },
    "augmentation": {
        "none": {**HEAD, "augmentation": None},
        "flips alone": {**HEAD, "augmentation": ImageAugmentation(**STILL)},
        "moves alone": {**HEAD, "augmentation": UPRIGHT},
        "moves and flips": {**HEAD, "augmentation": ImageAugmentation()},
    },
    "pooling": {
        f"{pooling}, {kind}": {**HEAD, "pooling": pooling, "augmentation": augmentation}
        for pooling in ("avg", None)
        for kind, augmentation in (("no views", None), ("8 views, not mirrored", UPRIGHT))
    },
    "strength": {
        str(C): {**HEAD, "augmentation": UPRIGHT, "head_C": C}
        for C in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, None)
    },
    "depth": {
        str(depth): {"unfreeze": depth, "early_stopping": False} for depth in (0, 1, 3, 6)
    },
    "rate": {
        f"{rate:g}": {"fine_tune_learning_rate": rate, "early_stopping": False}
        for rate in (1e-6, 1e-5, 3e-5, 1e-4)
    },
}


def data(problem):
    """All images of a problem, their labels, and the network for it."""
    if problem == "digits":
        X, y = load_digits(return_X_y=True)
        return X[y >= 5], y[y >= 5], TINY
    paths, y = photographs()
    return np.array(paths), y, MOBILENET


def evaluate(classifier, X, y, images_a_class):
    """Accuracy and log loss of each draw, means over folds of its images."""
    size = images_a_class * len(np.unique(y))
    results = []
    for seed in range(DRAWS):
        drawn, _ = train_test_split(
            np.arange(len(y)), train_size=size, stratify=y, random_state=seed
        )
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        scores = cross_validate(
            classifier.set_params(random_state=seed),
            X[drawn],
            y[drawn],
            cv=folds,
            scoring=("accuracy", "neg_log_loss"),
            error_score="raise",
        )
        results.append((scores["test_accuracy"].mean(), -scores["test_neg_log_loss"].mean()))
    return np.array(results).T


def main(table, *problems):
    print(f"| {table} | problem | accuracy | log loss |\n|---|---|---|---|", flush=True)
    for problem in problems or IMAGES_A_CLASS:
        X, y, network = data(problem)
        for name, setting in TABLES[table].items():
            classifier = FineTunedConvNetClassifier(**{**network, **setting})
            accuracy, loss = evaluate(classifier, X, y, IMAGES_A_CLASS[problem])
            print(
                f"| {name} | {problem} | {accuracy.mean():.4f} ± {accuracy.std():.4f} "
                f"| {loss.mean():.4f} ± {loss.std():.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
