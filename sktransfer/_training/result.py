"""What training makes: epochs with their figures, and the best weights."""

import math
from dataclasses import dataclass, replace

import numpy as np

from sktransfer._training.fitted import SuffixSpec, Weights


@dataclass(frozen=True)
class Epoch:
    """One epoch of the history.

    Attributes
    ----------
    stage : int
    number : int
        In the stage, from 0.
    logs : dict
        Name of a figure → its value.
    losses : ndarray or None
        Of each image that judges it.
    """

    stage: int
    number: int
    logs: dict
    losses: np.ndarray | None = None


@dataclass(frozen=True)
class Result:
    """What training made so far.

    Attributes
    ----------
    epochs : tuple of Epoch
    weights : Weights or None
        The best so far, in `suffix`.
    suffix : SuffixSpec or None
    best_epoch : int or None
    kept : tuple of int
        Numbers of the stages of which something is kept.
    share : float
        Of the way from the weights before the last stage that is kept to its own.
    head_strength : float or None
    head_losses : dict or None
    head_views : tuple of int
        As the attributes `head_C_` or `head_alpha_`, `head_losses_` and `head_views_`, of the
        estimator.
    """

    epochs: tuple = ()
    weights: Weights | None = None
    suffix: SuffixSpec | None = None
    best_epoch: int | None = None
    kept: tuple = ()
    share: float = 0.0
    head_strength: float | None = None
    head_losses: dict | None = None
    head_views: tuple = ()

    def history(self):
        """As `FineTunedConvNetClassifier.history_`."""
        names = dict.fromkeys(name for epoch in self.epochs for name in epoch.logs)
        history = {name: [epoch.logs[name] for epoch in self.epochs] for name in names}
        history["stage"] = [epoch.stage for epoch in self.epochs]
        history["kept"] = [epoch.stage in self.kept for epoch in self.epochs]
        return history

    def is_improved_by(self, epoch):
        """Whether an epoch's losses are clearly less than those of the best one so far."""
        if self.best_epoch is None:
            return True
        return certain_gain(epoch.losses, self.epochs[self.best_epoch].losses) > 0

    def going_on_from(self, best_epoch, weights, stage):
        """The same with better weights, made by a stage."""
        return replace(
            self,
            weights=weights.after(self.weights),
            suffix=stage.suffix,
            best_epoch=best_epoch,
            kept=(*self.kept, stage.number),
            share=stage.share,
        )


def certain_gain(losses, others):
    """How much less they are in the mean than others, less one standard error of that."""
    gains = others - losses
    return gains.mean() - gains.std() / math.sqrt(len(gains))


def merged(results):
    """The epochs that all results have: means of their figures, the losses of all judges."""
    numbered = [{(epoch.stage, epoch.number): epoch for epoch in r.epochs} for r in results]
    common = [key for key in numbered[0] if all(key in others for others in numbered)]
    epochs = []
    for key in common:
        folds = [epochs_of[key] for epochs_of in numbered]
        names = folds[0].logs
        logs = {name: float(np.mean([epoch.logs[name] for epoch in folds])) for name in names}
        losses = np.concatenate([epoch.losses for epoch in folds])
        epochs.append(Epoch(*key, logs, losses))
    return Result(epochs=tuple(epochs))
