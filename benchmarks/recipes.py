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
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from benchmarks.accuracy import MOBILENET, TINY, development, regression
from sktransfer import (
    FineTunedConvNetClassifier,
    ImageAugmentation,
    PretrainedFeatureTransformer,
)
from sktransfer._features.extractor import Extractor, find_info
from sktransfer._features.reading import ImageReader
from sktransfer._features.store import FeatureCache
from sktransfer._images.inputs import check_images
from sktransfer._networks.preprocessing import Preprocessing
from sktransfer._networks.source import source_of
from sktransfer._training.solving import LinearHead
from sktransfer._training.targets import Classes

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
    for name in ("none", "8", "a new one each epoch"):
        yield f"{name}, fine-tuned", {**TUNED, **counts[name]}


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
        yield name, {**HEAD, "augmentation": kind}


def strength():
    for C in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, None):
        yield f"head_C={C}", {**HEAD, "head_C": C}


def tuning():
    import keras

    yield "head alone", HEAD
    for depth in (1, 3, 6):
        yield f"unfreeze={depth}", {**TUNED, "unfreeze": depth}
    yield "unfreeze=3, rolled back unless better", {}
    for rate in (3e-5, 1e-4, 3e-4, 1e-3):
        yield f"rate {rate:g}", {**TUNED, "fine_tune_learning_rate": rate}
    for rate in (1e-4, 3e-4):
        yield f"rate {rate:g}, rolled back unless better", {"fine_tune_learning_rate": rate}
    for name, optimizer, rate in (
        ("RMSprop, 1e-5", "rmsprop", 1e-5),
        ("SGD with momentum, 1e-3", keras.optimizers.SGD(momentum=0.9), 1e-3),
    ):
        yield name, {**TUNED, "optimizer": optimizer, "fine_tune_learning_rate": rate}
    # At a rate that does harm, to see what tames it.
    fast = {**TUNED, "fine_tune_learning_rate": 1e-4}
    for name, factor in (
        ("constant", lambda epoch: 1),
        ("warm-up, then constant", lambda epoch: min(1, (epoch + 1) / 2)),
        ("no warm-up, half cosine", lambda e: (1 + math.cos(math.pi * (e + 0.5) / 10)) / 2),
    ):
        told = keras.callbacks.LearningRateScheduler(lambda epoch, f=factor: 1e-4 * f(epoch))
        yield f"rate 0.0001, {name}", {**fast, "keras_callbacks": [told]}
    yield "rate 0.0001, 20 epochs", {**fast, "fine_tune_epochs": 20}
    slower = {**fast, "optimizer": slower_below(0.5)}
    yield "rate 0.0001, each layer at half the rate of the next", slower
    averaged = keras.optimizers.Adam(
        use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=10
    )
    yield "rate 0.0001, averaged weights", {**fast, "optimizer": averaged}


def slower_below(factor):
    """Adam, each layer at a fraction of the learning rate of the layer above."""
    import keras

    @keras.saving.register_keras_serializable("benchmarks")
    class SlowerBelow(keras.optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            names = [known.path.rsplit("/", 1)[0] for known in self._trainable_variables]
            layers = list(dict.fromkeys(names))
            name = names[self._get_variable_index(variable)]
            below = len(layers) - 1 - layers.index(name)
            super().update_step(gradient, variable, learning_rate * factor**below)

    return SlowerBelow()


def sizes():
    for size in (224, 256, 288, 320, 352):
        yield f"{size} × {size}", partial(head_at_size, size=size)


def head_at_size(network, size):
    """None for digits, which are of 8 × 8 pixels."""
    if network is TINY:
        return None
    return FineTunedConvNetClassifier(**{**network, **HEAD, "input_size": (size, size)})


LAYERS = {  # the ends of the upper blocks
    "tiny": ["block1_pool", "block2_pool", "block3_pool"],
    "mobilenet": ["conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"],
}


def layers():
    for pooling, kind in (("avg", "averaged"), (None, "flattened")):
        for n_views in (0, 8):
            for depth, name in ((1, "the last layer"), (2, "the last two"), (3, "all three")):
                yield (
                    f"{name}, {kind}, {n_views or 'no'} views",
                    partial(head_on_layers, depth=depth, pooling=pooling, n_views=n_views),
                )


def head_on_layers(network, depth, pooling, n_views):
    """None where features would be too many: MobileNet's, flattened."""
    if network is MOBILENET and pooling is None:
        return None
    return HeadOnLayers(network, depth, pooling, n_views)


class HeadOnLayers(ClassifierMixin, BaseEstimator):
    """The head of `FineTunedConvNetClassifier` on the rows of several layers side by side."""

    def __init__(self, network, depth, pooling, n_views):
        self.network = network
        self.depth = depth
        self.pooling = pooling
        self.n_views = n_views

    def fit(self, X, y):
        target, codes = Classes.learnt(y, None)
        self.classes_ = target.classes
        views = [self._rows(X, view) for view in range(self.n_views + 1)]
        variances = [part.var(axis=0).mean(axis=0) for part in views[0]]
        self.scales_ = [np.sqrt(v) + (v == 0) for v in variances]  # of each channel
        rows = np.stack([self._side_by_side(parts) for parts in views])
        head = LinearHead(rows, 1, codes, np.ones(len(codes), dtype=np.float32), target)
        self.kernel_, self.bias_ = head.solve(head.choose_strength(0))
        return self

    def predict_proba(self, X):
        outputs = self._side_by_side(self._rows(X, 0)) @ self.kernel_ + self.bias_
        return Classes(self.classes_).probabilities(outputs)

    def _rows(self, X, view):
        """The rows of one view at each layer, of shape (n, positions, channels)."""
        transformer = PretrainedFeatureTransformer(**self.network)
        names = LAYERS[self.network["backbone"]][-self.depth :]
        network = transformer.get_params()
        size, params = network["input_size"], network["backbone_params"]
        source = source_of(network["backbone"], params=params, size=size)
        bounds = tuple(transformer.input_range)
        reader = ImageReader(bounds, None, Preprocessing(source.own_preprocessing()))
        cache = FeatureCache("default")
        info = find_info(source, cache)
        cuts = [info.cut_at(name, self.pooling) for name in names]
        views = ImageAugmentation()
        extractor = Extractor(source, info, cuts, reader, cache, augmentation=views)
        images = extractor.identify(check_images(transformer, X, reset=True))
        extractor.fill(images, (view,), range(len(X)))
        items = [(position, view) for position in range(len(X))]
        parts = extractor.rows(images, items, cuts)
        return [part.reshape(len(part), -1, part.shape[-1]) for part in parts]

    def _side_by_side(self, parts):
        scaled = [part / s for part, s in zip(parts, self.scales_, strict=True)]
        return np.hstack([part.reshape(len(part), -1) for part in scaled])


TABLES = {f.__name__: f for f in (views, augmentation, strength, sizes, tuning, layers)}


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
    images = {name: development(name) for name in problems or PROBLEMS}  # before Keras
    chosen = {}
    for name, (X, y) in images.items():
        network, splitter = PROBLEMS[name]
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
            if callable(setting):
                classifier = setting(network)
            else:
                classifier = FineTunedConvNetClassifier(**{**network, **setting})
            if classifier is None:
                print("| ", end="")
                continue
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
