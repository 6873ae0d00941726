"""Stages of training on rows: the head alone, then ever more of the base."""

import copy
import math
from collections import defaultdict
from dataclasses import asdict, dataclass

import keras
import numpy as np

from sktransfer._frozen import adopt, load
from sktransfer._persistence import FittedNetwork
from sktransfer._suffix import (
    PREDICT_BATCH,
    SuffixSpec,
    compiled,
    discard,
    initial_head,
)


@dataclass(frozen=True)
class Stage:
    """A span of epochs with one set of trainable layers."""

    spec: SuffixSpec
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Examples:
    """Some rows of images, their classes as integers and their weights."""

    images: object
    rows: np.ndarray
    y: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Training:
    """How to train: what all stages have in common."""

    optimizer: object
    batch_size: int
    augmentation_views: int | None
    augmented: bool
    early_stopping: bool
    n_iter_no_change: int
    callbacks: list
    seed: int
    verbose: int

    def view(self, epoch):
        """The view of every image in an epoch, counted over all stages."""
        if not self.augmented:
            return 0
        return 1 + (epoch % self.augmentation_views if self.augmentation_views else epoch)


class Fit:
    """A fit in progress: the weights so far, the best ones, and the history."""

    def __init__(self, extractor, network, training):
        self._extractor, self._network, self._training = extractor, network, training
        self.history = defaultdict(list)
        self.best_epoch = None
        self.weights = self.spec = None
        self._best_loss = math.inf

    def run(self, stages, train, validation):
        """Train one stage after the other, each from the best weights so far."""
        self._fill_cache(sum(stage.epochs for stage in stages), train, validation)
        for number, stage in enumerate(stages):
            if stage.epochs:
                self._run_stage(number, stage, train, validation)

    def fitted(self, spec):
        """What predictions need, by the best weights."""
        if self.spec is None:
            raise ValueError(
                "training diverged: the loss is not a number; lower the learning rates"
            )
        result = FittedNetwork(
            base=self._network.pack(),
            weights=self.weights,
            suffix=asdict(self.spec),
            preprocessing=spec.arithmetic,
            input_size=tuple(self._network.facts["input_size"]),
            input_range=spec.input_range,
        )
        adopt(result.spec(), self._network)
        return result

    def _fill_cache(self, epochs, train, validation):
        """Compute what the cache lacks, at all cuts in one pass over the images."""
        fresh = self._training.augmented and self._training.augmentation_views is None
        views = () if fresh else {self._training.view(epoch) for epoch in range(epochs)}
        for examples, wanted in ((validation, (0,)), (train, sorted(views))):
            if examples is not None:
                self._extractor.keep(examples.images, wanted, examples.rows)
                examples.images.raise_if_bad()

    def _run_stage(self, number, stage, train, validation):
        suffix = compiled(self._network, stage.spec, self._training.optimizer)
        with suffix.lock:
            try:
                self._fit(suffix, number, stage, train, validation)
            except BaseException:
                discard(suffix)
                raise

    def _fit(self, suffix, number, stage, train, validation):
        seed, done = self._training.seed, len(self.history["loss"])
        if self.weights is None:
            rng = np.random.default_rng([seed, 0])
            self.weights = {"base": {}, "head": initial_head(suffix.head_shapes(), rng)}
        suffix.reset(self.weights, stage.learning_rate, seed=seed + number)
        watch = _Watch(self, suffix, number, stage)
        rows = _Rows(self._extractor, stage.spec.cut, train, self._training, done)
        suffix.model.fit(
            rows,
            epochs=stage.epochs,
            validation_data=validation
            and _Rows(self._extractor, stage.spec.cut, validation, self._training),
            callbacks=[watch, rows.on_epoch(), *copy.deepcopy(self._training.callbacks)],
            verbose=self._training.verbose,
            shuffle=False,
        )
        if watch.best is None:  # no epoch of this stage was better than all before
            return
        self.weights = {
            "base": {**self.weights["base"], **watch.best["base"]},
            "head": watch.best["head"],
        }
        self.spec = stage.spec


class _Watch(keras.callbacks.Callback):
    """Writes the history, keeps the best weights and stops where nothing improves."""

    def __init__(self, fit, suffix, number, stage):
        super().__init__()
        self._fit, self._suffix, self._number, self._stage = fit, suffix, number, stage
        self._since_best = 0
        self.best = None

    def on_epoch_end(self, epoch, logs):
        fit, training = self._fit, self._fit._training
        for name, value in logs.items():
            fit.history[name].append(float(value))
        fit.history["stage"].append(self._number)
        last = epoch + 1 == self._stage.epochs
        if not training.early_stopping:
            if last:
                self._keep(len(fit.history["loss"]) - 1)
            return
        if logs["val_loss"] < fit._best_loss:
            fit._best_loss = logs["val_loss"]
            self._since_best = 0
            self._keep(len(fit.history["loss"]) - 1)
        else:
            self._since_best += 1
            self.model.stop_training = self._since_best >= training.n_iter_no_change

    def _keep(self, epoch):
        self._fit.best_epoch = epoch
        self.best = self._suffix.get_weights()


class _Rows(keras.utils.PyDataset):
    """Batches of rows, read as they are needed, in an order of our own."""

    def __init__(self, extractor, cut, examples, training, epochs_done=None):
        super().__init__()
        self._extractor, self._cut, self._examples = extractor, cut, examples
        self._training, self._done = training, epochs_done
        self._order, self._view = np.arange(len(examples.y)), 0
        self.begin(0)

    def begin(self, epoch):
        """Draw the order and the view of an epoch of this stage; validation has neither."""
        if self._done is not None:
            number = self._done + epoch
            self._view = self._training.view(number)
            rng = np.random.default_rng([self._training.seed, 1, number])
            self._order = rng.permutation(len(self._examples.y))

    def on_epoch(self):
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.begin(epoch)
        )

    def __len__(self):
        return math.ceil(len(self._order) / self._training.batch_size)

    def __getitem__(self, index):
        size = self._training.batch_size
        chosen = self._order[index * size : (index + 1) * size]
        rows = self._extractor.rows(
            self._examples.images,
            [(row, self._view) for row in self._examples.rows[chosen]],
            self._cut,
            keep=False,  # what is to be kept was computed before
        )
        y = self._examples.y[chosen]
        return rows, y[:, np.newaxis].astype(np.float32), self._examples.weights[chosen]


def predict_logits(fitted, extractor, images, optimizer):
    """The logits of images, on rows at the extractor's only cut."""
    spec = SuffixSpec.from_plain(fitted.suffix)
    suffix = compiled(load(fitted.spec()), spec, optimizer)
    logits = np.empty((len(images), spec.head.n_outputs), dtype=np.float32)
    with suffix.lock:
        suffix.reset(fitted.weights)
        for start in range(0, len(images), PREDICT_BATCH):
            chosen = range(start, min(start + PREDICT_BATCH, len(images)))
            rows = extractor.rows(images, [(row, 0) for row in chosen], spec.cut)
            logits[start : chosen.stop] = suffix.logits(rows)
    return logits
