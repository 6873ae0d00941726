"""A fit in progress: stage after stage on rows, judged, and kept or rolled back."""

import copy
import math
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from functools import cached_property, partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sktransfer._exceptions import warn
from sktransfer._networks.frozen import adopt, load
from sktransfer._runtime.keras import keras
from sktransfer._runtime.progress import images_bar, progress_bar
from sktransfer._runtime.tasks import watch_extraction
from sktransfer._training.epochs import Batches, describe, train_epochs
from sktransfer._training.fitted import FittedNetwork
from sktransfer._training.heads import LinearHead, log_loss, views_within_memory
from sktransfer._training.stages import split
from sktransfer._training.suffix import (
    PREDICT_BATCH,
    SuffixSpec,
    borrowed,
    fresh_optimizer,
    initial_head,
)


def _common_epochs(histories):
    """Of each history, the positions of the epochs that all of them have."""
    numbered = []
    for history in histories:
        counts, positions = Counter(), {}
        for position, stage in enumerate(history["stage"]):
            positions[stage, counts[stage]] = position
            counts[stage] += 1
        numbered.append(positions)
    common = [key for key in numbered[0] if all(key in other for other in numbered)]
    return [[positions[key] for key in common] for positions in numbered]


def _measure(logits, examples):
    """The loss of each image and the accuracy, with weights as Keras takes them."""
    with np.errstate(invalid="ignore"):  # where training diverged
        losses = log_loss(logits, examples.y)
    chosen = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
    weights = examples.weights
    accuracy = np.average(chosen == examples.y, weights=weights) if weights.any() else math.nan
    return losses * weights, accuracy


class Fit:
    """A fit in progress: the weights so far, the best ones, and the history.

    Parameters
    ----------
    backbone : BackboneSpec
    extractor : Extractor
    network : FrozenNetwork
    training : Training
    title : str
        What the bars of its stages begin with.
    """

    def __init__(self, backbone, extractor, network, training, title=""):
        self._backbone, self._extractor, self._network = backbone, extractor, network
        self._training, self._title = training, title
        fresh_optimizer(training.optimizer)  # or an error, before anything is computed
        self.history = defaultdict(list)
        self.best_epoch = None
        self.head_C, self.head_views = None, ()
        self.kept_stages = []
        self.weights = self.spec = None
        self._judgements = []  # of each epoch, the losses of the images that judge it

    def run(self, stages, examples, validation, begin):
        """Train, and find out how far by a validation set, a split, folds, or not at all.

        Parameters
        ----------
        stages : list of Stage
        examples, validation : Examples
            To train on, and of the user's own to judge by, or None.
        begin : callable
            Number of subtasks, at most → the `Task` that this is.

        Returns
        -------
        task : Task
            Not ended yet.
        """
        first, *others = stages
        first = replace(first, views=self._views_to_solve_on(first, len(examples)))
        stages = [first, *others]
        if validation is not None:
            trials = [(examples, validation)]
        elif self._training.early_stopping and (others or not first.views):
            trials = split(examples, self._training)
        else:
            trials = []
        pools = self._pools(stages, examples, trials)
        runs = len(trials) if len(trials) > 1 else len(stages)
        may_run_again = bool(trials) and validation is None
        task = begin(len(pools) + runs + may_run_again)
        self._fill_cache(pools, task)
        if not trials:
            self._train(stages, task, examples)
        elif len(trials) == 1:
            self._train(stages, task, *trials[0])
            if may_run_again and first.views and self.kept_stages == [0]:
                self._train_again([first], task, examples)
        else:
            self._judge_by_folds(stages, task, trials)
            if self.best_epoch is not None:
                self._train_again(self._up_to_best(stages), task, examples)
        self.history["kept"] = [n in self.kept_stages for n in self.history["stage"]]
        return task

    def fitted(self):
        """What predictions need, by the best weights."""
        if self.spec is None:
            raise ValueError(
                "training diverged: the loss is not a number; lower the learning rates"
            )
        return self._fitted(self.weights, self.spec)

    def state(self):
        """What the classifier predicts with, were the fit to stop here, or None."""
        return None if self.spec is None else {"_fitted": self.fitted()}

    def state_of(self, weights, stage):
        """The same by the weights of an epoch of a stage, kept or not."""
        return {"_fitted": self._fitted(self._on_those_kept(weights), stage.spec)}

    def _fitted(self, weights, spec):
        result = FittedNetwork(
            base=self._packed,
            weights=weights,
            suffix=asdict(spec),
            preprocessing=self._backbone.arithmetic,
            input_size=tuple(self._network.facts["input_size"]),
            input_range=self._backbone.input_range,
            precision=self._backbone.precision,
        )
        adopt(result.spec(), self._network)
        return result

    @cached_property
    def _packed(self):
        return self._network.pack()

    def _pools(self, stages, examples, trials):
        """Images, their views and rows that are needed, to train on and to judge by."""
        training = self._training
        fresh = training.augmented and training.augmentation_views is None
        epochs = sum(1 if stage.views else stage.epochs for stage in stages)
        views = dict.fromkeys((*stages[0].views, *training.views(epochs)))
        views = tuple(view for view in views if view == 0 or not fresh)
        pools = [(examples.images, views, examples.rows)]
        if trials:
            images = trials[0][1].images
            if images is not examples.images or 0 not in views:
                rows = np.concatenate([judges.rows for _, judges in trials])
                pools.append((images, (0,), rows))
        return pools

    def _fill_cache(self, pools, task):
        """Compute what the cache lacks, at all cuts in one pass over the images."""
        for images, views, rows in pools:
            watch = watch_extraction(self._training.verbose, task)
            self._extractor.keep(images, views, rows, watch)
            images.raise_if_bad()

    def _train(self, stages, task, train, validation=None):
        """One stage after the other, each from the best weights so far."""
        for stage in stages:
            subtask = task.begin(f"stage-{stage.number}", stage.n_epochs, train.rows)
            if stage.views:
                self._solve_head(stage, subtask, train, validation)
            elif stage.epochs:
                self._run_stage(stage, subtask, train, validation)
            if subtask.end(self.state):
                break

    def _without_stopping(self, title):
        """A fit of the same kind that runs through all epochs."""
        training = replace(self._training, early_stopping=False)
        return Fit(self._backbone, self._extractor, self._network, training, title)

    def _train_again(self, stages, task, examples):
        """Train on all examples, now that it is known how far."""
        final = self._without_stopping("all images, ")
        subtask = task.begin("refit", len(stages))
        final._train(stages, subtask, examples)
        subtask.end(final.state)
        self.weights, self.spec = final.weights, final.spec
        self.head_C, self.head_views = final.head_C, final.head_views
        self.kept_stages = final.kept_stages

    def _judge_by_folds(self, stages, task, trials):
        """The history over all epochs, as a mean over folds, and its best epoch."""
        fits = []
        for i, (train, judges) in enumerate(trials):
            fit = self._without_stopping(f"fold {i + 1}/{len(trials)}, ")
            subtask = task.begin(f"fold-{i}", len(stages), train.rows)
            fit._train(stages, subtask, train, judges)
            subtask.end(fit.state)
            fits.append(fit)
        common = _common_epochs([fit.history for fit in fits])
        for name in fits[0].history:
            values = [
                np.array(fit.history[name])[epochs]
                for fit, epochs in zip(fits, common, strict=True)
            ]
            mean = values[0] if name == "stage" else np.mean(values, axis=0)
            self.history[name] = mean.tolist()
        self._judgements = [
            np.concatenate([fit._judgements[i] for fit, i in zip(fits, epochs, strict=True)])
            for epochs in zip(*common, strict=True)
        ]
        for stage in stages:
            epoch = self._best_of(stage)
            if epoch is not None and self._is_better_than_before(epoch):
                self.best_epoch = epoch

    def _best_of(self, stage):
        """The epoch of a stage whose loss is the least."""
        epochs = [i for i, n in enumerate(self.history["stage"]) if n == stage.number]
        losses = np.array([self.history["val_loss"][i] for i in epochs])
        return epochs[np.nanargmin(losses)] if np.isfinite(losses).any() else None

    def _is_better_than_before(self, epoch):
        """Whether the best epoch of a stage is clearly better than the best before it."""
        if self.best_epoch is None:
            return True
        gains = self._judgements[self.best_epoch] - self._judgements[epoch]
        return gains.mean() > gains.std() / math.sqrt(len(gains))

    def _up_to_best(self, stages):
        """The stages as far as the best epoch."""
        last = self.history["stage"][self.best_epoch]
        epochs = self.history["stage"][: self.best_epoch + 1].count(last)
        return [*stages[:last], replace(stages[last], stop_after=epochs)]

    def _views_to_solve_on(self, stage, n_images):
        """The views that a head without hidden layers is solved on, as memory allows."""
        if not stage.spec.head.is_linear:
            return ()
        views = (0,)
        if self._training.augmented:
            n_views = self._training.augmentation_views or stage.epochs
            views += self._training.views(n_views)
        n_features = math.prod(self._extractor.shape(stage.spec.cut))
        return views_within_memory(views, n_images, n_features)

    def _bar(self, stage, total, text):
        title = f"{self._title}stage {stage.number}".capitalize()
        return progress_bar(self._training.verbose, title, total, text)

    def _solve_head(self, stage, task, train, validation):
        """Stage 0 of a head without hidden layers, in one go."""
        epoch = task.begin("epoch")
        with self._bar(stage, None, "solving the head") as advance:
            logs, weights = self._solve(stage, train, validation)
            advance(1, f"solved, {describe(logs)}")
        self.note(stage, logs)
        self._take(stage, 0, weights)
        epoch.end(self.state)

    def _solve(self, stage, train, validation):
        """The figures of a head and its weights, by the optimum on all of its views."""
        unaltered = self._rows(train, 0, stage.spec.cut)
        rows = np.empty((len(stage.views), *unaltered.shape), dtype=np.float32)
        rows[0] = unaltered
        for i, view in enumerate(stage.views[1:], 1):
            rows[i] = self._rows(train, view, stage.spec.cut)
        n_channels = self._extractor.shape(stage.spec.cut)[-1]
        head = LinearHead(rows, n_channels, train.y, train.weights)
        self.head_C = self._training.head_C or head.choose_strength(self._training.seed)
        self.head_views = stage.views
        kernel, bias = head.solve(self.head_C)
        losses, accuracy = _measure(unaltered @ kernel + bias, train)
        logs = {"loss": losses.mean(), "accuracy": accuracy}
        if validation is not None:
            rows = self._rows(validation, 0, stage.spec.cut)
            logs |= self._judge(rows @ kernel + bias, validation)
        return logs, {"base": {}, "head": [kernel, bias]}

    def _rows(self, examples, view, cut):
        items = [(row, view) for row in examples.rows]
        rows = self._extractor.rows(examples.images, items, cut, keep=False)
        examples.images.raise_if_bad()  # a file may have changed since
        return rows.reshape(len(items), -1)

    def _judge(self, logits, examples):
        """Figures of an epoch on images that are not trained on."""
        losses, accuracy = _measure(logits, examples)
        self._judgements.append(losses)
        return {"val_loss": losses.mean(), "val_accuracy": accuracy}

    def note(self, stage, logs):
        """Write an epoch into the history."""
        for name, value in logs.items():
            self.history[name].append(float(value))
        self.history["stage"].append(stage.number)

    def _take(self, stage, epoch, weights):
        """Go on from the weights of an epoch."""
        self.weights = self._on_those_kept(weights)
        self.spec, self.best_epoch = stage.spec, epoch
        self.kept_stages.append(stage.number)

    def _on_those_kept(self, weights):
        base = {**self.weights["base"], **weights["base"]} if self.weights else {}
        return {"base": base, "head": weights["head"]}

    def _run_stage(self, stage, task, train, validation):
        with borrowed(self._network, stage.spec, self._training.optimizer) as suffix:
            self._fit(suffix, stage, task, train, validation)

    def _fit(self, suffix, stage, task, train, validation):
        training, done = self._training, len(self.history["loss"])
        suffix.reset(self._initial_weights(suffix), training.seed + stage.number)
        judge = partial(self._judge_suffix, suffix, stage, validation)
        judged = training.early_stopping and validation is not None
        patience = training.n_iter_no_change if judged else None
        watch = _Watch(self, suffix, stage, task, patience)
        batches = Batches(self._extractor, stage.spec.cut, train, training.batch_size)
        with self._bar(
            stage, stage.n_epochs * batches.steps, f"epoch 1/{stage.n_epochs}"
        ) as advance:
            train_epochs(
                suffix.model,
                stage.n_epochs,
                batches,
                lambda epoch: training.draw(done + epoch, len(train)),
                judge if validation is not None else None,
                [
                    watch,
                    keras.callbacks.LearningRateScheduler(lambda epoch, _: stage.rate(epoch)),
                    *copy.deepcopy(training.callbacks),
                ],
                advance,
            )
        self._settle(stage, watch, judged)

    def _initial_weights(self, suffix):
        """Those of the stages kept so far, or of a new head."""
        if self.weights is not None:
            return self.weights
        rng = np.random.default_rng([self._training.seed, 0])
        return {"base": {}, "head": initial_head(suffix.head_shapes(), rng)}

    def _judge_suffix(self, suffix, stage, examples):
        batches = Batches(self._extractor, stage.spec.cut, examples, PREDICT_BATCH)
        read = batches.read(np.arange(len(examples)), view=0)
        logits = np.concatenate([suffix.logits(rows) for rows, _, _ in read])
        return self._judge(logits, examples)

    def _settle(self, stage, watch, judged):
        """Go on from a stage's weights, or from those before it."""
        if not judged and math.isfinite(self.history["loss"][-1]):
            watch.keep()
        if watch.weights is None:
            warn(
                f"stage {stage.number} was rolled back: its loss is not a number; "
                "lower its learning rate",
                ConvergenceWarning,
            )
        elif not judged or self._is_better_than_before(watch.epoch):
            self._take(stage, watch.epoch, watch.weights)


class _Watch(keras.callbacks.Callback):
    """Writes the history, and keeps the weights of the best epoch.

    Parameters
    ----------
    fit : Fit
    suffix : CompiledSuffix
    stage : Stage
    task : Task
        Of the stage.
    patience : int or None
        Epochs without improvement before the stage is stopped. None keeps no weights.
    """

    def __init__(self, fit, suffix, stage, task, patience):
        super().__init__()
        self._fit, self._suffix, self._stage, self._patience = fit, suffix, stage, patience
        self._task = task
        self._least, self._since_best = math.inf, 0
        self.epoch = self.weights = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_task = self._task.begin("epoch")

    def on_epoch_end(self, epoch, logs):
        self._fit.note(self._stage, logs)
        if self._patience is not None:
            self._judge(logs["val_loss"])
        if self._ask_callbacks():
            self.model.stop_training = True

    def _judge(self, loss):
        if loss < self._least:
            self._least, self._since_best = loss, 0
            self.keep()
        else:
            self._since_best += 1
            self.model.stop_training = self._since_best >= self._patience

    def _ask_callbacks(self):
        """End the epoch's task; whether a callback wants the stage to end."""
        return self._epoch_task.end(
            lambda: self._fit.state_of(self._suffix.get_weights(), self._stage)
        )

    def keep(self):
        """Keep the weights as they are now."""
        self.epoch = len(self._fit.history["loss"]) - 1
        self.weights = self._suffix.get_weights()


def predict_logits(fitted, extractor, images, optimizer, verbose):
    """The logits of images, on rows at the extractor's only cut."""
    spec = SuffixSpec.from_plain(fitted.suffix)
    logits = np.empty((len(images), spec.head.n_outputs), dtype=np.float32)
    with (
        borrowed(load(fitted.spec()), spec, optimizer) as suffix,
        images_bar(verbose, "Predicting", len(images)) as advance,
    ):
        suffix.set_weights(fitted.weights)
        for start in range(0, len(images), PREDICT_BATCH):
            chosen = range(start, min(start + PREDICT_BATCH, len(images)))
            rows = extractor.rows(images, [(row, 0) for row in chosen], spec.cut)
            logits[start : chosen.stop] = suffix.logits(rows)
            advance(len(chosen))
    return logits
