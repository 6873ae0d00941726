"""What a stage of training is, and how each kind of it runs.

A stage takes the `Result` of the stages before it and makes a new one. To add a kind of stage,
write a class with `number`, `suffix`, `n_epochs` and `run`.
"""

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sktransfer._exceptions import warn
from sktransfer._networks.engines.keras import seeded
from sktransfer._networks.info import Cut
from sktransfer._runtime.keras import keras
from sktransfer._training.epochs import Batches, describe, train_epochs
from sktransfer._training.fitted import SuffixSpec, Weights
from sktransfer._training.result import Epoch, Result
from sktransfer._training.solving import LinearHead
from sktransfer._training.suffix import PREDICT_BATCH, initial_head
from sktransfer._training.targets.strengths import StrengthChoice

WARM_UP = 0.2  # share of a stage's epochs
STEPS = 200  # of fine-tuning: fewer images get more epochs …
FEWEST_EPOCHS, MOST_EPOCHS = 10, 15  # … within these limits


def epochs_for(n_images, batch_size):
    """How many epochs of fine-tuning so many images get."""
    epochs = math.ceil(STEPS / math.ceil(n_images / batch_size))
    return min(max(epochs, FEWEST_EPOCHS), MOST_EPOCHS)


@dataclass(frozen=True)
class SolvedStage:
    """A head without hidden layers, solved to its optimum in one go.

    Attributes
    ----------
    number : int
    suffix : SuffixSpec
    views : tuple of int
        Numbers of the views that it is solved on; the first is 0.
    """

    number: int
    suffix: SuffixSpec
    views: tuple

    n_epochs = 1  # in the history
    share = 0.0  # of a way, as no weights come before

    def run(self, run, result, train, judges, task):
        """Solve the head.

        Parameters
        ----------
        run : Run
        result : Result
            Of the stages before.
        train, judges : Examples
            To train on, and to judge by, or None.
        task : Task
            Of this stage.

        Returns
        -------
        result : Result
        """
        epoch_task = task.begin("epoch")
        with run.bar(self, None, "solving the head") as advance:
            unaltered = self._rows(run, train, 0)
            head = self._linear_head(run, train, unaltered)
            choice = _choice(run, head)
            kernel, bias = head.solve(choice.best)
            losses, score = run.measure(unaltered @ kernel + bias, train)
            logs = {"loss": losses.mean(), run.target.metric_name: score}
            judged = None
            if judges is not None:
                outputs = self._rows(run, judges, 0) @ kernel + bias
                judged, val_logs = run.judge(outputs, judges)
                logs |= val_logs
            advance(1, f"solved, {describe(logs)}")
        epoch = Epoch(self.number, 0, _plain(logs), judged)
        result = replace(
            result,
            epochs=(*result.epochs, epoch),
            head_strength=choice.best,
            head_losses=choice.losses,
            head_views=self.views,
        ).going_on_from(len(result.epochs), Weights({}, [kernel, bias]), self)
        epoch_task.end(lambda: run.attributes(result))
        return result

    def _linear_head(self, run, train, unaltered):
        rows = np.empty((len(self.views), *unaltered.shape), dtype=np.float32)
        rows[0] = unaltered
        for i, number in enumerate(self.views[1:], 1):
            rows[i] = self._rows(run, train, number)
        n_channels = run.network.info.row_shape(self.suffix.cut)[-1]
        return LinearHead(rows, n_channels, train.y, train.weights, run.target)

    def _rows(self, run, examples, number):
        rows = examples.rows(run.extractor, number, self.suffix.cut)
        return rows.reshape(len(examples), -1)


@dataclass(frozen=True)
class TrainedStage:
    """A span of epochs with one set of trainable layers.

    The learning rate rises over the first epochs and falls like half a cosine over all of
    them, also where it is known that fewer are best, and the stage stops after these.

    Attributes
    ----------
    number : int
    suffix : SuffixSpec
    epochs : int
    learning_rate : float
        The highest.
    stop_after : int or None
        Epochs; None is all of them.
    share : float
        Of the way from the weights that it begins with to those it ends with, what is kept.
    """

    number: int
    suffix: SuffixSpec
    epochs: int
    learning_rate: float
    stop_after: int | None = None
    share: float = 1.0

    @property
    def n_epochs(self):
        """How many it has in the history, at most."""
        return self.stop_after or self.epochs

    def rate(self, epoch):
        """The learning rate of an epoch of this stage."""
        rising = min(1, (epoch + 1) / (WARM_UP * self.epochs))
        falling = (1 + math.cos(math.pi * (epoch + 0.5) / self.epochs)) / 2
        return self.learning_rate * rising * falling

    def run(self, run, result, train, judges, task):
        """Train from the best weights so far; parameters as in `SolvedStage.run`."""
        if self.epochs == 0:
            return result
        seed = run.settings.seed + self.number
        with run.suffix(self.suffix) as suffix, seeded(seed):
            suffix.reset(self._initial(run, result, suffix), seed)
            record = self._train(run, result, suffix, train, judges, task)
        return self._settled(result, record)

    def _initial(self, run, result, suffix):
        """The weights of the stages kept so far, or of a new head."""
        if result.weights is not None:
            return result.weights
        rng = np.random.default_rng([run.settings.seed, 0])
        return Weights({}, initial_head(suffix.head_shapes(), rng))

    def _train(self, run, result, suffix, train, judges, task):
        settings = run.settings
        record = _Record(run, self, suffix, result, task, train, judges)
        batches = Batches(run.extractor, self.suffix.cut, train, settings.batch_size)
        total = self.n_epochs * batches.steps
        with run.bar(self, total, f"epoch 1/{self.n_epochs}") as advance:
            train_epochs(
                suffix.model,
                self.n_epochs,
                batches,
                record.draw,
                None if judges is None else record.judge,
                [
                    record,
                    keras.callbacks.LearningRateScheduler(lambda epoch, _: self.rate(epoch)),
                    *copy.deepcopy(settings.callbacks),
                ],
                advance,
            )
        if not record.stops_early and math.isfinite(record.epochs[-1].logs["loss"]):
            record.keep()
        return record

    def _settled(self, result, record):
        """The result with a stage's weights, or with those before it."""
        made = replace(result, epochs=(*result.epochs, *record.epochs))
        if record.weights is None:
            warn(
                f"stage {self.number} was rolled back: its loss is not a number; lower its "
                "learning rate",
                ConvergenceWarning,
            )
            return made
        best = len(result.epochs) + record.best
        if record.stops_early and not result.is_improved_by(made.epochs[best]):
            return made
        return made.going_on_from(best, record.weights, self)


def train(stages, run, examples, judges, task):
    """One stage after the other, each from the best weights so far.

    Returns
    -------
    result : Result
    """
    result = Result()
    for stage in stages:
        subtask = task.begin(f"stage-{stage.number}", stage.n_epochs, examples.positions)
        result = made = stage.run(run, result, examples, judges, subtask)
        if subtask.end(lambda made=made: run.attributes(made)):
            break
    return result


class _Record(keras.callbacks.Callback):
    """What a stage makes, epoch by epoch, and the weights of its best epoch.

    Parameters
    ----------
    run : Run
    stage : TrainedStage
    suffix : CompiledSuffix
    before : Result
        Of the stages before.
    task : Task
        Of the stage.
    train, judges : Examples
        To train on, and to judge by, or None.

    Attributes
    ----------
    epochs : list of Epoch
    best : int
        Position in `epochs` of the one whose weights are kept; -1 before there is one.
    weights : Weights or None
    stops_early : bool
    """

    def __init__(self, run, stage, suffix, before, task, train, judges):
        super().__init__()
        self._run, self._stage, self._suffix, self._before = run, stage, suffix, before
        self._task, self._train, self._judges = task, train, judges
        self.stops_early = run.settings.early_stopping and judges is not None
        self._least, self._losses = math.inf, None
        self._start = suffix.get_weights()
        self.epochs, self.best, self.weights = [], -1, None

    def draw(self, epoch):
        """The order of the images, and the number of their view."""
        counted, settings = len(self._before.epochs) + epoch, self._run.settings
        return settings.order(counted, len(self._train)), settings.view(counted)

    def judge(self):
        """Figures of an epoch on images that are not trained on."""
        outputs = outputs_for(self._judges, self._run, self._stage.suffix, self._suffix)
        self._losses, logs = self._run.judge(outputs, self._judges)
        return logs

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_task = self._task.begin("epoch")

    def on_epoch_end(self, epoch, logs):
        self.epochs.append(Epoch(self._stage.number, epoch, _plain(logs), self._losses))
        if self.stops_early:
            self._compare(logs["val_loss"])
        if self._epoch_task.end(self._attributes):
            self.model.stop_training = True

    def keep(self):
        """Keep the stage's share of the way to the weights as they are now."""
        self.best = len(self.epochs) - 1
        self.weights = self._start.towards(self._suffix.get_weights(), self._stage.share)

    def _compare(self, loss):
        if loss < self._least:
            self._least = loss
            self.keep()
        else:
            since_best = len(self.epochs) - 1 - self.best
            self.model.stop_training = since_best >= self._run.settings.n_iter_no_change

    def _attributes(self):
        """What the estimator predicts with by the weights of this epoch, kept or not."""
        weights = self._suffix.get_weights().after(self._before.weights)
        return {"_fitted": self._run.fitted(weights, self._stage.suffix)}


def outputs_for(examples, run, spec, suffix):
    """What a compiled suffix makes of unaltered images."""
    return _made_of(examples, run, spec, suffix.outputs)


def solved_again(weights, examples, run, spec, suffix):
    """Weights of a compiled suffix with its linear head solved on its unaltered images."""
    suffix.set_weights(weights)
    features = _made_of(examples, run, spec, suffix.features)
    if not np.isfinite(features).all():  # training diverged, and its losses will tell
        return weights
    n_channels = run.network.info.row_shape(Cut(run.network.info.output))[-1]
    head = LinearHead(features[None], n_channels, examples.y, examples.weights, run.target)
    return replace(weights, head=head.solve(_choice(run, head).best))


def _choice(run, head):
    """The strength of a linear head's penalty: as it was asked for, or by the data."""
    asked = run.settings.head_strength
    return (
        StrengthChoice.without_losses(asked)
        if asked
        else head.choose_strength(run.settings.seed)
    )


def _made_of(examples, run, spec, function):
    batches = Batches(run.extractor, spec.cut, examples, PREDICT_BATCH)
    read = batches.read(np.arange(len(examples)), view=0)
    return np.concatenate([function(rows) for rows, _, _ in read])


def _plain(logs):
    return {name: float(value) for name, value in logs.items()}
