"""Epochs of training on rows: what `model.fit` does, on batches of our own reading.

The input pipeline of `model.fit` runs on threads of TensorFlow's that, on two cores and in
every other epoch, leave one core to the training: 130 instead of 60 ms a step (MobileNet, 20
images).
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from sktransfer._runtime.devices import whole_batches
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras
from sktransfer._runtime.threads import Workers, behind

READERS = 2  # threads, each of which reads a batch ahead


@dataclass(frozen=True)
class Examples:
    """Some images, with what is to be predicted of each.

    Attributes
    ----------
    images : Images
    positions : ndarray of int
        Which of the images.
    y : ndarray
        As the target encodes it.
    weights : ndarray of float32
    """

    images: object
    positions: np.ndarray
    y: np.ndarray
    weights: np.ndarray

    def __len__(self):
        return len(self.positions)

    def take(self, chosen):
        return Examples(
            self.images, self.positions[chosen], self.y[chosen], self.weights[chosen]
        )

    def rows(self, extractor, number, cut):
        """The rows of one view of each, at a cut."""
        items = [(position, number) for position in self.positions]
        # What is to be kept was computed before.
        [rows] = extractor.rows(self.images, items, [cut], keep=False)
        self.images.raise_if_bad()  # a file may have changed since
        return rows


def train_epochs(model, epochs, batches, draw, judge, callbacks, advance):
    """Train a compiled model, as `model.fit` does.

    Parameters
    ----------
    model : keras.Model
    epochs : int
    batches : Batches
    draw : callable
        Epoch → the order of the images, and their view.
    judge : callable or None
        After each epoch: () → figures, by name, that callbacks see beside those of training.
    callbacks : list of keras.callbacks.Callback
    advance : callable
        That of a `progress_bar` over all steps.
    """
    callbacks = keras.callbacks.CallbackList(
        callbacks, model=model, epochs=epochs, steps=batches.steps
    )
    size = whole_batches(batches.size)
    model.stop_training = False
    callbacks.on_train_begin()
    for epoch in range(epochs):
        callbacks.on_epoch_begin(epoch)
        means = _RunningMeans()
        for step, batch in enumerate(batches.read(*draw(epoch))):
            callbacks.on_train_batch_begin(step)
            with held_back():
                figures = model.train_on_batch(*padded(batch, size), return_dict=True)
            means.add(figures, *batch)
            callbacks.on_train_batch_end(step, means.logs())
            advance(1)
        logs = means.logs()
        if judge is not None:
            logs |= judge()
        callbacks.on_epoch_end(epoch, logs)
        advance(0, f"epoch {epoch + 1}/{epochs}, {describe(logs)}")
        if model.stop_training:
            break
    with held_back():  # where weights are averaged, the averages become the weights
        model.optimizer.finalize_variable_values(model.trainable_weights)
    callbacks.on_train_end(logs)


def padded(batch, size):
    """A batch of so many images, by images of weight 0: all have one shape, compiled once.

    Keras takes the mean of the loss over all images, so the others weigh more.
    """
    n = len(batch[0])
    if n == size:
        return batch
    rows, y, weights = (filled(array, size) for array in batch)
    return rows, y, weights * np.float32(size / n)


def filled(array, size):
    """An array of so many items, by zeros at its end."""
    zeros = np.zeros((size - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, zeros])


def describe(logs):
    """A few words on the figures of an epoch, beside a bar."""
    return ", ".join(f"{k} {logs[k]:.3g}" for k in ("loss", "val_loss") if k in logs)


class _RunningMeans:
    """Over the batches of an epoch, of which Keras reports each by itself.

    As in `model.fit`: of the loss by numbers of images, of metrics by their weights.
    """

    def __init__(self):
        self._sums, self._shares = Counter(), Counter()

    def add(self, logs, rows, y, weights):
        for name, value in logs.items():
            share = len(rows) if name == "loss" else float(weights.sum())
            self._sums[name] += share * float(value)
            self._shares[name] += share

    def logs(self):
        return {name: total / (self._shares[name] or 1) for name, total in self._sums.items()}


class Batches:
    """Rows, classes and weights of images, by batches that are read while others are used."""

    def __init__(self, extractor, cut, examples, size):
        self._extractor, self._cut, self._examples = extractor, cut, examples
        self.n_images = len(examples)
        self.size = min(size, self.n_images)
        self.steps = math.ceil(self.n_images / self.size)

    def read(self, order, view):
        """The batches of one view of the images, in an order of positions."""
        parts = np.split(order, range(self.size, self.n_images, self.size))
        with Workers(READERS, "sktransfer-read") as readers:
            tasks = (readers.submit(self._read, part, view) for part in parts)
            for task in behind(tasks, READERS):
                yield task.result()

    def _read(self, chosen, view):
        some = self._examples.take(chosen)
        rows = some.rows(self._extractor, view, self._cut)
        y = some.y.reshape(len(some), -1).astype(np.float32)
        return rows, y, some.weights
