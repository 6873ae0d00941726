"""Stages of training on rows: the head alone, then ever more of the base."""

import copy
import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace

import keras
import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from sktransfer._epochs import Batches, train_epochs
from sktransfer._frozen import adopt, load
from sktransfer._linear_head import LinearHead, log_loss, views_within_memory
from sktransfer._persistence import FittedNetwork
from sktransfer._suffix import (
    PREDICT_BATCH,
    SuffixSpec,
    compiled,
    discard,
    initial_head,
)

FEWEST_JUDGES = 50  # where a split would hold out fewer images than this …
FOLDS = 3  # … so many folds judge by all of them


@dataclass(frozen=True)
class Stage:
    """A span of epochs with one set of trainable layers."""

    spec: SuffixSpec
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Training:
    """How to train: what all stages have in common."""

    optimizer: object
    batch_size: int
    augmentation_views: int | None
    augmented: bool
    head_C: float | None  # noqa: N815, as the parameter
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    callbacks: list
    seed: int
    verbose: int

    def view(self, epoch):
        """The view of every image in an epoch, counted over all stages."""
        if not self.augmented:
            return 0
        return 1 + (epoch % self.augmentation_views if self.augmentation_views else epoch)

    def draw(self, epoch, n_images):
        """The order and the view of the images in an epoch, counted over all stages."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        return rng.permutation(n_images), self.view(epoch)

    def views(self, epochs):
        """The views of so many epochs."""
        return tuple(dict.fromkeys(map(self.view, range(epochs))))


def split(examples, training):
    """Pairs of examples to train on and to judge by: one, or a few folds of few images.

    Raises
    ------
    ValueError
        There are too few images of a class.
    """
    everyone = np.arange(len(examples))
    smallest = np.bincount(examples.y).min()
    n_classes = examples.y.max() + 1
    held_out = max(math.ceil(training.validation_fraction * len(examples)), n_classes)
    seed = training.seed
    if held_out < FEWEST_JUDGES and smallest > 1:
        folds = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
        pairs = folds.split(everyone, examples.y)
    else:
        pairs = [
            train_test_split(
                everyone, test_size=held_out, stratify=examples.y, random_state=seed
            )
        ]
    return [(examples.take(train), examples.take(test)) for train, test in pairs]


def _mean_history(histories):
    """Means over folds, of the epochs that all of them ran."""
    numbered = []
    for history in histories:
        counts = Counter()
        numbered.append({})
        for position, stage in enumerate(history["stage"]):
            numbered[-1][stage, counts[stage]] = position
            counts[stage] += 1
    common = [key for key in numbered[0] if all(key in other for other in numbered)]
    result = {
        name: np.mean(
            [
                [history[name][positions[key]] for key in common]
                for history, positions in zip(histories, numbered, strict=True)
            ],
            axis=0,
        ).tolist()
        for name in histories[0]
    }
    return {**result, "stage": [stage for stage, _ in common]}


class Fit:
    """A fit in progress: the weights so far, the best ones, and the history."""

    def __init__(self, extractor, network, training):
        self._extractor, self._network, self._training = extractor, network, training
        self.history = defaultdict(list)
        self.best_epoch = None
        self.head_C, self.head_views = None, ()
        self.kept_stages = []
        self.weights = self.spec = None
        self._best_loss = math.inf

    def run(self, stages, examples, validation=None):
        """Train, and find out how far by a validation set, a split, folds, or not at all."""
        linear = stages[0].spec.head.is_linear
        if validation is not None:
            trials = [(examples, validation)]
        elif self._training.early_stopping and not (linear and len(stages) == 1):
            trials = split(examples, self._training)
        else:
            trials = []
        self._fill_cache(stages, examples, trials)
        if not trials:
            self._train(stages, examples)
        elif len(trials) == 1:
            self._train(stages, *trials[0])
            if validation is None and linear and self.spec == stages[0].spec:
                self._train_again(stages[:1], examples)
        else:
            self._judge_by_folds(stages, trials)
            if self.best_epoch is not None:
                self._train_again(self._up_to_best(stages), examples)
        self.history["kept"] = [n in self.kept_stages for n in self.history["stage"]]

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

    def _fill_cache(self, stages, examples, trials):
        """Compute what the cache lacks, at all cuts in one pass over the images."""
        training = self._training
        fresh = training.augmented and training.augmentation_views is None
        epochs = sum(stage.epochs for stage in stages)
        if stages[0].spec.head.is_linear:  # which is solved on all views, the unaltered too
            epochs = max(epochs, training.augmentation_views or 0)
            views = (0,) if fresh else tuple(dict.fromkeys((0, *training.views(epochs))))
        else:
            views = () if fresh else training.views(epochs)
        for part, wanted in ((examples, views), *((judges, (0,)) for _, judges in trials)):
            self._extractor.keep(part.images, wanted, part.rows)
            part.images.raise_if_bad()

    def _train(self, stages, train, validation=None):
        """One stage after the other, each from the best weights so far."""
        for number, stage in enumerate(stages):
            if number == 0 and stage.spec.head.is_linear:
                views = self._views_of_linear_head(stage, train)
                if views:
                    self._solve_head(stage, views, train, validation)
                    continue
            if stage.epochs:
                self._run_stage(number, stage, train, validation)

    def _without_stopping(self):
        """A fit of the same kind that runs through all epochs."""
        training = replace(self._training, early_stopping=False)
        return Fit(self._extractor, self._network, training)

    def _train_again(self, stages, examples):
        """Train on all examples, now that it is known how far."""
        final = self._without_stopping()
        final._train(stages, examples)
        self.weights, self.spec = final.weights, final.spec
        self.head_C, self.head_views = final.head_C, final.head_views
        self.kept_stages = final.kept_stages

    def _judge_by_folds(self, stages, trials):
        """The history over all epochs, as a mean over folds, and its best epoch."""
        histories = []
        for train, judges in trials:
            trial = self._without_stopping()
            trial._train(stages, train, judges)
            histories.append(trial.history)
        self.history |= _mean_history(histories)
        losses = np.nan_to_num(self.history["val_loss"], nan=math.inf)
        if np.isfinite(losses).any():
            self.best_epoch = int(losses.argmin())

    def _up_to_best(self, stages):
        """The stages as far as the best epoch."""
        epochs = Counter(self.history["stage"][: self.best_epoch + 1])
        last = max(epochs)
        return [
            replace(stage, epochs=epochs[number] if number == last else stage.epochs)
            for number, stage in enumerate(stages[: last + 1])
        ]

    def _views_of_linear_head(self, stage, train):
        """The views that a head without hidden layers is solved on, if memory allows."""
        views = (0,)
        if self._training.augmented:
            n_views = self._training.augmentation_views or stage.epochs
            views += self._training.views(n_views)
        n_features = math.prod(self._extractor.shape(stage.spec.cut))
        return views_within_memory(views, len(train), n_features)

    def _solve_head(self, stage, views, train, validation):
        """Stage 0 of a head without hidden layers, in one go."""
        unaltered = self._rows(train, 0, stage.spec.cut)
        rows = np.empty((len(views), *unaltered.shape), dtype=np.float32)
        rows[0] = unaltered
        for i, view in enumerate(views[1:], 1):
            rows[i] = self._rows(train, view, stage.spec.cut)
        head = LinearHead(rows, train.y, train.weights)
        self.head_C = self._training.head_C or head.choose_strength(self._training.seed)
        self.head_views = views
        self.weights = {"base": {}, "head": head.solve(self.head_C)}
        self.spec, self.best_epoch, self.kept_stages = stage.spec, 0, [0]
        loss, accuracy = self._measure(unaltered, train)
        self.history |= {"loss": [loss], "accuracy": [accuracy], "stage": [0]}
        if validation is not None:
            rows = self._rows(validation, 0, stage.spec.cut)
            loss, accuracy = self._measure(rows, validation)
            self.history |= {"val_loss": [loss], "val_accuracy": [accuracy]}
            self._best_loss = loss

    def _rows(self, examples, view, cut):
        items = [(row, view) for row in examples.rows]
        rows = self._extractor.rows(examples.images, items, cut, keep=False)
        return rows.reshape(len(items), -1)

    def _measure(self, rows, examples):
        """Loss and accuracy of a head alone, with weights as Keras takes them."""
        kernel, bias = self.weights["head"]
        logits = rows @ kernel + bias
        chosen = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
        right = chosen == examples.y
        losses = log_loss(logits, examples.y)
        weights = examples.weights
        accuracy = np.average(right, weights=weights) if weights.any() else math.nan
        return float(np.mean(losses * weights)), float(accuracy)

    def _batches(self, stage, examples):
        size = self._training.batch_size
        return Batches(self._extractor, stage.spec.cut, examples, size)

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
        watch = _Watch(self, suffix, number)
        train_epochs(
            suffix.model,
            stage.epochs,
            self._batches(stage, train),
            lambda epoch: self._training.draw(done + epoch, len(train)),
            validation and self._batches(stage, validation),
            [watch, *copy.deepcopy(self._training.callbacks)],
            self._training.verbose,
        )
        if watch.best is None:  # no epoch of this stage was better than all before
            return
        self.weights = {
            "base": {**self.weights["base"], **watch.best["base"]},
            "head": watch.best["head"],
        }
        self.spec = stage.spec
        self.kept_stages.append(number)


class _Watch(keras.callbacks.Callback):
    """Writes the history, keeps the best weights and stops where nothing improves."""

    def __init__(self, fit, suffix, number):
        super().__init__()
        self._fit, self._suffix, self._number = fit, suffix, number
        self._since_best = 0
        self.best = None

    def on_epoch_end(self, epoch, logs):
        fit = self._fit
        for name, value in logs.items():
            fit.history[name].append(float(value))
        fit.history["stage"].append(self._number)
        if not self._is_judged(logs):
            return
        if logs["val_loss"] < fit._best_loss:
            fit._best_loss = logs["val_loss"]
            self._since_best = 0
            self._keep()
        else:
            self._since_best += 1
            patience = fit._training.n_iter_no_change
            self.model.stop_training = self._since_best >= patience

    def on_train_end(self, logs):
        if not self._is_judged(logs):
            self._keep()

    def _is_judged(self, logs):
        return self._fit._training.early_stopping and "val_loss" in logs

    def _keep(self):
        self._fit.best_epoch = len(self._fit.history["loss"]) - 1
        self.best = self._suffix.get_weights()


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
