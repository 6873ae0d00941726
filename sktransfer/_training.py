"""Stages of training on rows: the head alone, then ever more of the base."""

import copy
import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace

import keras
import numpy as np
from scipy.special import logsumexp
from sklearn.model_selection import StratifiedKFold, train_test_split

from sktransfer._frozen import adopt, load
from sktransfer._linear_head import LinearHead, views_within_memory
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
class Examples:
    """Some rows of images, their classes as integers and their weights."""

    images: object
    rows: np.ndarray
    y: np.ndarray
    weights: np.ndarray

    def __len__(self):
        return len(self.rows)

    def take(self, chosen):
        return Examples(self.images, self.rows[chosen], self.y[chosen], self.weights[chosen])


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
        """Train on all examples, or on those that are not needed to judge by."""
        linear = stages[0].spec.head.is_linear
        trials = [] if validation is None else [(examples, validation)]
        if not trials and self._training.early_stopping and not (linear and len(stages) == 1):
            trials = split(examples, self._training)
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
        if stages[0].spec.head.is_linear:
            unaltered = [examples]
            epochs = max(epochs, training.augmentation_views or 0)
        else:
            unaltered = []
        for part in (*unaltered, *(judges for _, judges in trials)):
            self._extractor.keep(part.images, (0,), part.rows)
            part.images.raise_if_bad()
        if not fresh:
            self._extractor.keep(examples.images, training.views(epochs), examples.rows)
            examples.images.raise_if_bad()

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

    def _train_again(self, stages, examples):
        """Train on all examples, now that it is known how far."""
        final = Fit(
            self._extractor, self._network, replace(self._training, early_stopping=False)
        )
        final._train(stages, examples)
        self.weights, self.spec = final.weights, final.spec
        self.head_C, self.head_views = final.head_C, final.head_views
        self.kept_stages = final.kept_stages

    def _judge_by_folds(self, stages, trials):
        """The history over all epochs, as a mean over folds, and its best epoch."""
        histories = []
        for train, judges in trials:
            trial = Fit(
                self._extractor, self._network, replace(self._training, early_stopping=False)
            )
            trial._train(stages, train, judges)
            histories.append(trial.history)
        for name in histories[0]:
            mean = np.mean([history[name] for history in histories], axis=0)
            self.history[name] = mean.tolist()
        self.history["stage"] = histories[0]["stage"]
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
        first = self._rows(train, views[0], stage.spec.cut)
        rows = np.empty((len(views), *first.shape), dtype=np.float32)
        rows[0] = first
        for i, view in enumerate(views[1:], 1):
            rows[i] = self._rows(train, view, stage.spec.cut)
        head = LinearHead(rows, train.y, train.weights)
        self.head_C = self._training.head_C or head.choose_strength(self._training.seed)
        self.head_views = views
        self.weights = {"base": {}, "head": head.solve(self.head_C)}
        self.spec, self.best_epoch, self.kept_stages = stage.spec, 0, [0]
        loss, accuracy = self._measure(first, train)
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
        if logits.shape[1] == 1:
            logits = np.column_stack([np.zeros_like(logits), logits])
        of_class = logits[np.arange(len(rows)), examples.y]
        losses = logsumexp(logits, axis=1) - of_class
        right = logits.argmax(axis=1) == examples.y
        weights = examples.weights
        return float(np.mean(losses * weights)), float(np.average(right, weights=weights))

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
        self.kept_stages.append(number)


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
        if not (training.early_stopping and "val_loss" in logs):
            if epoch + 1 == self._stage.epochs:
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
