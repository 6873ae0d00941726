"""What each setting of fine-tuning brings: ``python -m benchmarks.recipes TABLE [PROBLEM …]``.

Prints one of the tables below in Markdown, a line for each setting, a column for each problem:
accuracy, its difference to logistic regression on the frozen features of the same draw (means
over draws ± standard deviation), and log loss.

Problems: ``digits``, 5 to 9 with 10 a class on the embedded network, 20 draws; cats and dogs
on MobileNet (alpha 0.75, 224 px, ImageNet) with ``25`` and ``100`` a class, five draws, and
``400``, five folds. All of it among images kept for development: one half of the digits, and
the 1,000 training images of the first split of ``benchmarks.accuracy``; what a draw leaves is
tested on.
The test images of ``benchmarks.accuracy``, where the outcome is reported, are not looked at.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import math
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from benchmarks.accuracy import MOBILENET, TINY, development, regression
from sktransfer import FineTunedConvNetClassifier, ImageAugmentation

PROBLEMS = {
    "digits": (TINY, StratifiedShuffleSplit(20, train_size=50, random_state=1)),
    "25": (MOBILENET, StratifiedShuffleSplit(5, train_size=50, random_state=1)),
    "100": (MOBILENET, StratifiedShuffleSplit(5, train_size=200, random_state=1)),
    "400": (MOBILENET, StratifiedKFold(5, shuffle=True, random_state=1)),
}
HEAD = {"unfreeze": 0}
TUNED = {"early_stopping": False}


def views():
    counts = {"none": {"augmentation": None}}
    counts |= {str(n): {"augmentation_views": n} for n in (1, 2, 4, 8)}
    counts["20"] = {"augmentation_views": None, "head_epochs": 20}
    for name, setting in counts.items():
        yield f"{name}, head alone", {**HEAD, **setting}
    counts["a new one each epoch"] = counts.pop("20")
    for name, setting in counts.items():
        yield f"{name}, fine-tuned", {**TUNED, **setting}


def augmentation():
    kinds = {"none": None}
    for name, factor in (("half", 0.5), ("default", 1), ("double", 2)):
        kinds[name] = ImageAugmentation(
            rotation_range=10 * factor,
            width_shift_range=0.1 * factor,
            height_shift_range=0.1 * factor,
            zoom_range=0.1 * factor,
        )
    kinds["default, mirrored"] = ImageAugmentation(horizontal_flip=True)
    kinds["default, sheared by 10°"] = ImageAugmentation(shear_range=10)
    for name, kind in kinds.items():
        yield f"{name}, head alone", {**HEAD, "augmentation": kind}
    for name, kind in kinds.items():
        yield f"{name}, fine-tuned", {**TUNED, "augmentation": kind}


def strength():
    for C in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, None):
        yield f"head_C={C}", {**HEAD, "head_C": C}


def tuning():
    import keras

    yield "head alone", HEAD
    for depth in (1, 3, 6):
        yield f"{depth} layers", {**TUNED, "unfreeze": depth}
    yield "3 layers, rolled back unless better", {}
    for rate in (1e-5, 1e-4, 1e-3):
        yield f"rate {rate:g}", {**TUNED, "fine_tune_learning_rate": rate}
    for name, optimizer, rate in (
        ("RMSprop, 1e-4", "rmsprop", 1e-4),
        ("SGD with momentum, 1e-2", keras.optimizers.SGD(momentum=0.9), 1e-2),
        ("AdamW, 3e-4", "adamw", 3e-4),
    ):
        yield name, {**TUNED, "optimizer": optimizer, "fine_tune_learning_rate": rate}
    for name, factor in (
        ("constant rate", lambda epoch: 1),
        ("warm-up, then constant", lambda epoch: min(1, (epoch + 1) / 2)),
        ("no warm-up, half cosine", lambda e: (1 + math.cos(math.pi * (e + 0.5) / 10)) / 2),
    ):
        told = keras.callbacks.LearningRateScheduler(lambda epoch, f=factor: 3e-4 * f(epoch))
        yield name, {**TUNED, "keras_callbacks": [told]}
    for epochs in (5, 20):
        yield f"{epochs} epochs", {**TUNED, "fine_tune_epochs": epochs}
    yield "each layer at half the rate of the next", {**TUNED, "optimizer": slower_below(0.5)}
    averaged = keras.optimizers.Adam(
        use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=10
    )
    yield "averaged weights", {**TUNED, "optimizer": averaged}


def slower_below(factor):
    """Adam, each layer at a fraction of the learning rate of the layer above."""
    import keras

    @keras.saving.register_keras_serializable("benchmarks")
    class SlowerBelow(keras.optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            layers = list(dict.fromkeys(map(layer_of, self._trainable_variables)))
            below = len(layers) - 1 - layers.index(layer_of(variable))
            super().update_step(gradient, variable, learning_rate * factor**below)

    def layer_of(variable):
        return variable.path.rsplit("/", 1)[0]

    return SlowerBelow()


TABLES = {function.__name__: function for function in (views, augmentation, strength, tuning)}


def evaluate(classifier, X, y, splits):
    """Accuracy and log loss on what each draw leaves."""
    results = []
    for seed, (train, test) in enumerate(splits):
        fitted = clone(classifier)
        if "random_state" in fitted.get_params():
            fitted.set_params(random_state=seed)
        probabilities = fitted.fit(X[train], y[train]).predict_proba(X[test])
        right = fitted.classes_[probabilities.argmax(axis=1)] == y[test]
        results.append((right.mean(), log_loss(y[test], probabilities)))
    return np.array(results).T


def main(table, *problems):
    chosen = {}
    for name in problems or PROBLEMS:
        network, splitter = PROBLEMS[name]
        X, y = development(name)
        splits = list(splitter.split(X, y))
        baseline, loss = evaluate(regression(network), X, y, splits)
        chosen[name] = network, X, y, splits, baseline, loss
    print(f"| {table} | " + " | ".join(chosen) + " |")
    print("|---" * (len(chosen) + 1) + "|")
    cells = [f"{a.mean():.4f} ± {a.std():.4f}; {b.mean():.3f}" for *_, a, b in chosen.values()]
    print("| logistic regression | " + " | ".join(cells) + " |", flush=True)
    for name, setting in TABLES[table]():
        print(f"| {name} ", end="", flush=True)
        for network, X, y, splits, baseline, _ in chosen.values():
            classifier = FineTunedConvNetClassifier(**{**network, **setting})
            accuracy, loss = evaluate(classifier, X, y, splits)
            won = accuracy - baseline
            print(
                f"| {accuracy.mean():.4f}, {won.mean():+.4f} ± {won.std():.4f}; "
                f"{loss.mean():.3f} ",
                end="",
                flush=True,
            )
        print("|", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
