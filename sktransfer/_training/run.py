"""What all stages of a fit work with."""

from dataclasses import dataclass, replace

import numpy as np

from sktransfer._networks.frozen import adopt
from sktransfer._runtime.progress import progress_bar
from sktransfer._training.fitted import FittedNetwork
from sktransfer._training.suffix import borrowed


@dataclass(frozen=True)
class Settings:
    """How to train: what all stages have in common."""

    optimizer: object
    batch_size: int
    augmentation_views: int | None
    augmented: bool
    head_strength: float | None
    climbs: bool  # stages are a ladder's rungs, or follow each other
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    callbacks: list
    seed: int
    verbose: int

    def view(self, epoch):
        """The number of every image's view in an epoch, counted over all stages."""
        if not self.augmented:
            return 0
        return 1 + (epoch % self.augmentation_views if self.augmentation_views else epoch)

    def order(self, epoch, n_images):
        """The order of the images in an epoch, counted over all stages."""
        return np.random.default_rng([self.seed, 1, epoch]).permutation(n_images)

    def views(self, epochs):
        """The numbers of the views of so many epochs."""
        return tuple(dict.fromkeys(map(self.view, range(epochs))))


@dataclass(frozen=True)
class Run:
    """What all stages of a fit work with.

    Attributes
    ----------
    extractor : Extractor
    network : FrozenNetwork
    target : object
        As `targets` describes it.
    settings : Settings
    blank : FittedNetwork
        The fitted network, but for what training makes.
    title : str
        What the bars of its stages begin with.
    """

    extractor: object
    network: object
    target: object
    settings: Settings
    blank: FittedNetwork
    title: str = ""

    def without_stopping(self, title):
        """The same, through all epochs."""
        return replace(
            self, settings=replace(self.settings, early_stopping=False), title=title
        )

    def suffix(self, spec):
        """A context of a compiled suffix of that kind."""
        optimizer, precision = self.settings.optimizer, self.blank.precision
        return borrowed(self.network, spec, self.target, optimizer, precision)

    def fitted(self, weights, suffix):
        """What predictions need."""
        made = replace(self.blank, weights=weights, suffix=suffix)
        adopt(made.source(), self.network)
        return made

    def attributes(self, result):
        """What the estimator predicts with, were the fit to stop here, or None."""
        if result.weights is None:
            return None
        return {"_fitted": self.fitted(result.weights, result.suffix)}

    def bar(self, stage, total, text):
        title = f"{self.title}stage {stage.number}".capitalize()
        return progress_bar(self.settings.verbose, title, total, text)

    def judge(self, outputs, examples):
        """Losses of the images that judge, and the figures of an epoch on them."""
        losses, score = self.measure(outputs, examples)
        logs = {"val_loss": losses.mean(), f"val_{self.target.metric_name}": score}
        return losses, logs

    def measure(self, outputs, examples):
        """The weighted loss of each image, and the metric."""
        with np.errstate(invalid="ignore"):  # where training diverged
            losses = self.target.losses(outputs, examples.y)
        score = self.target.score(outputs, examples.y, examples.weights)
        return losses * examples.weights, score
