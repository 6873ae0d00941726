"""What a stage of training is, what all stages have in common, and what judges them."""

import math
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

FEWEST_JUDGES = 50  # where a split would hold out fewer images than this …
FOLDS = 3  # … so many folds judge by all of them
WARM_UP = 0.2  # share of a stage's epochs


@dataclass(frozen=True)
class Stage:
    """A span of epochs with one set of trainable layers, or a head to be solved.

    The learning rate rises over the first epochs and falls like half a cosine over all of
    them, also where it is known that fewer are best, and the stage stops after these.
    """

    number: int
    spec: object  # SuffixSpec
    epochs: int
    learning_rate: float
    stop_after: int | None = None
    views: tuple = ()  # that its head is solved on, instead of any epoch

    @property
    def n_epochs(self):
        """How many it has in the history, at most."""
        return 1 if self.views else self.stop_after or self.epochs

    def rate(self, epoch):
        """The learning rate of an epoch of this stage."""
        rising = min(1, (epoch + 1) / (WARM_UP * self.epochs))
        falling = (1 + math.cos(math.pi * (epoch + 0.5) / self.epochs)) / 2
        return self.learning_rate * rising * falling


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
