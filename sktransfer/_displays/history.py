"""`TrainingHistoryDisplay`: loss and metrics against epochs, and the strength of the head."""

from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from sktransfer._displays.tiles import BLUE, ORANGE

NO_METRICS = ("loss", "stage", "kept")  # in a history, whose other figures are metrics
CURVES = (("", "training", BLUE), ("val_", "validation", ORANGE))  # prefix, label, colour
PANEL_INCHES = 4.0
STAR = {"marker": "*", "markersize": 13, "markeredgecolor": "black", "linestyle": ""}
ROLLED_BACK = {"alpha": 0.35, "linestyle": "--"}


class TrainingHistoryDisplay:
    """Loss and metrics against epochs, stage by stage.

    It is recommended to use `from_estimator` or `from_history` to create a display. All
    parameters are stored as attributes.

    Points are the figures of single epochs, lines their running means. A stage of a single
    epoch, such as a head that was solved, has no line. Stages that were rolled back stand on
    grey, with pale, dashed lines; a star marks the epoch whose weights were kept. Of a head
    whose strength was chosen by cross-validation, another panel shows the losses of all
    strengths, and a star the one that was chosen.

    Parameters
    ----------
    history : dict of list
        As `FineTunedConvNetClassifier.history_`: ``loss``, metrics such as ``accuracy`` and
        ``stage``, one entry an epoch, and, where they are known, ``val_loss``, the metrics
        with ``val_`` before their names, and ``kept``.
    best_epoch : int or None, default=None
        As `FineTunedConvNetClassifier.best_epoch_`.
    head_losses : dict of float or None, default=None
        As `FineTunedConvNetClassifier.head_losses_`.
    strength_name : str, default="strength"
        What the keys of `head_losses` are called.

    Attributes
    ----------
    axes_ : ndarray of shape (n_panels,) of matplotlib Axes
        Those of the loss, of each metric and, where they are drawn, of the head's losses.
    figure_ : matplotlib Figure
        The figure they are in.
    lines_ : dict of list of matplotlib Line2D
        The line of each stage, by the names in `history`: ``loss``, the metrics and, where
        they are known, all of them with ``val_``.

    See Also
    --------
    FineTunedConvNetClassifier, FineTunedConvNetRegressor : Whose training it shows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTunedConvNetClassifier, TrainingHistoryDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = FineTunedConvNetClassifier(
    ...     "tiny", unfreeze=1, image_shape=(8, 8), input_range=(0, 16), augmentation=None
    ... )
    >>> display = TrainingHistoryDisplay.from_estimator(classifier.fit(X[:100], y[:100]))
    >>> [axes.get_ylabel() for axes in display.axes_]
    ['loss', 'accuracy', 'cross-validated loss']
    """

    def __init__(
        self,
        *,
        history: dict[str, list],
        best_epoch: int | None = None,
        head_losses: Any = None,
        strength_name: str = "strength",
    ) -> None:
        self.history = history
        self.best_epoch = best_epoch
        self.head_losses = head_losses
        self.strength_name = strength_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, smoothing: float = 0.8, ax: ArrayLike | None = None
    ) -> Self:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : FineTunedConvNetClassifier or FineTunedConvNetRegressor
            Or a Pipeline that ends in one, or a search over it, whose best estimator is drawn.
        smoothing, ax
            As in `plot`.

        Returns
        -------
        display : TrainingHistoryDisplay

        Raises
        ------
        NotFittedError
            The estimator is not fitted.
        TypeError
            It has no history of training.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        trained = _trained_in(estimator)
        if not hasattr(trained, "history_"):
            raise TypeError(
                f"{type(estimator).__name__} has no history_: pass a fine-tuned estimator, a "
                "Pipeline that ends in one, or a search over it that was refitted"
            )
        display = cls(
            history=trained.history_,
            best_epoch=trained.best_epoch_,
            head_losses=getattr(trained, "head_losses_", None),
            strength_name="head_C" if hasattr(trained, "head_C_") else "head_alpha",
        )
        return display.plot(smoothing=smoothing, ax=ax)

    @classmethod
    def from_history(
        cls,
        history: dict[str, list],
        *,
        best_epoch: int | None = None,
        smoothing: float = 0.8,
        ax: ArrayLike | None = None,
    ) -> Self:
        """Draw a history.

        Parameters
        ----------
        history, best_epoch
            As in `TrainingHistoryDisplay`.
        smoothing, ax
            As in `plot`.

        Returns
        -------
        display : TrainingHistoryDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_history")
        return cls(history=history, best_epoch=best_epoch).plot(smoothing=smoothing, ax=ax)

    def plot(self, *, smoothing: float = 0.8, ax: ArrayLike | None = None) -> Self:
        """Draw it.

        Parameters
        ----------
        smoothing : float, default=0.8
            Of the lines: the weight of an epoch against that of the next one, from 0, which
            draws the figures as they are, to less than 1. A point of a line is the weighted
            mean of its epoch and of those before it in its stage.
        ax : array-like of matplotlib Axes, default=None
            For the loss, for each metric and, if there is one more, for the head's losses.
            None makes a new figure.

        Returns
        -------
        display : TrainingHistoryDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed: it comes with the extra ``sktransfer[plot]``.
        ValueError
            `smoothing` is not from 0 to less than 1.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing={smoothing} is not between 0 and less than 1")
        panels = ["loss", *_metrics_of(self.history)]
        n_panels = len(panels) + (self.head_losses is not None)
        if ax is None:
            import matplotlib.pyplot as plt

            size = (PANEL_INCHES * n_panels, 4)
            _, ax = plt.subplots(1, n_panels, figsize=size, layout="constrained")
        self.axes_ = np.asarray(ax, dtype=object).ravel()
        if len(self.axes_) not in (len(panels), n_panels):
            raise ValueError(f"ax holds {len(self.axes_)} axes, not one for each of {panels}")
        self.figure_ = self.axes_[0].figure
        self.lines_ = {}
        for axes, name in zip(self.axes_, panels, strict=False):
            self._draw(axes, name, smoothing)
        if len(self.axes_) > len(panels):
            self._draw_strengths(self.axes_[-1])
        return self

    def _draw_strengths(self, axes):
        strengths, losses = map(np.array, zip(*sorted(self.head_losses.items()), strict=True))
        axes.plot(strengths, losses, marker=".", color=ORANGE)
        best = losses.argmin()
        axes.plot(strengths[best], losses[best], color=ORANGE, label="chosen", **STAR)
        axes.set(xscale="log", xlabel=self.strength_name, ylabel="cross-validated loss")
        axes.set_title("solved head", fontsize="small")
        axes.legend()

    def _draw(self, axes, name, smoothing):
        from matplotlib.lines import Line2D

        spans, best, handles = list(_spans(self.history)), self.best_epoch, []
        for prefix, label, colour in CURVES:
            if prefix + name not in self.history:
                continue
            values = np.asarray(self.history[prefix + name], dtype=float)
            self.lines_[prefix + name] = [
                _draw_stage(axes, epochs, values[epochs], kept, smoothing, colour)
                for _, epochs, kept in spans
            ]
            handles.append(Line2D([], [], color=colour, marker=".", label=label))
            if best is not None:
                axes.plot(best, values[best], color=colour, **STAR)
        if best is not None:
            handles.append(Line2D([], [], color="black", label="weights kept", **STAR))
        for number, epochs, kept in spans:
            _mark_stage(axes, number, epochs, kept)
        axes.set(xlabel="epoch", ylabel=name, xlim=(-0.5, spans[-1][1].stop - 0.5))
        axes.locator_params("x", integer=True, min_n_ticks=1)
        axes.legend(handles=handles)


def _trained_in(estimator):
    """What was trained: the best estimator of a search, the last step of a Pipeline."""
    if hasattr(estimator, "best_estimator_"):
        return _trained_in(estimator.best_estimator_)
    return _trained_in(estimator[-1]) if isinstance(estimator, Pipeline) else estimator


def _metrics_of(history):
    """The names of the figures beside the loss."""
    return [n for n in history if n not in NO_METRICS and not n.startswith("val_")]


def _spans(history):
    """The number of each stage, its epochs as a slice, and whether it was kept."""
    stages = np.asarray(history["stage"])
    kept = history.get("kept", [True] * len(stages))
    starts = [0, *np.flatnonzero(np.diff(stages)) + 1, len(stages)]
    for start, stop in pairwise(starts):
        yield int(stages[start]), slice(int(start), int(stop)), bool(kept[start])


def _smooth(values, smoothing):
    """Means of each value and those before it, the less weighted the earlier they are.

    Divided by the sum of the weights: else the first value would weigh most for long.
    """
    sums = np.array(list(accumulate(values, lambda total, x: smoothing * total + x)))
    weights = accumulate(np.ones(len(values)), lambda total, x: smoothing * total + x)
    return sums / np.array(list(weights))


def _draw_stage(axes, epochs, values, kept, smoothing, colour):
    """The points of a stage and its line, which is returned."""
    x = np.arange(epochs.start, epochs.stop)
    alone = len(x) == 1
    axes.plot(x, values, ".", color=colour, alpha=0.9 if alone and kept else 0.35)
    style = {} if kept else ROLLED_BACK
    [line] = axes.plot(x, _smooth(values, smoothing), color=colour, **style)
    return line


def _mark_stage(axes, number, epochs, kept):
    """The name of a stage above it, a boundary before it, and grey if it was rolled back."""
    left, right = epochs.start - 0.5, epochs.stop - 0.5
    if epochs.start:
        axes.axvline(left, color="0.6", linewidth=0.8)
    if not kept:
        axes.axvspan(left, right, color="0.93", zorder=0)
    name = f"stage {number}" if number else "head"
    axes.text(
        (left + right) / 2,
        1.02,
        name if kept else f"{name}\nrolled back",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize="small",
        color="black" if kept else "0.4",
    )
