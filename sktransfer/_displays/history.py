"""`TrainingHistoryDisplay`: loss and metric against epochs."""

from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

NO_METRICS = ("loss", "stage", "kept")  # in a history, whose other figure is the metric
CURVES = (("", "training", "C0"), ("val_", "validation", "C1"))  # prefix, label, colour
STAR = {"marker": "*", "markersize": 13, "markeredgecolor": "black", "linestyle": ""}
ROLLED_BACK = {"alpha": 0.35, "linestyle": "--"}


class TrainingHistoryDisplay:
    """Loss and metric against epochs, stage by stage.

    It is recommended to use `from_estimator` or `from_history` to create a display. All
    parameters are stored as attributes.

    Points are the figures of single epochs, lines their running means. A stage of a single
    epoch, such as a head that was solved, has no line. Stages that were rolled back stand on
    grey, with pale, dashed lines; a star marks the epoch whose weights were kept.

    Parameters
    ----------
    history : dict of list
        As `FineTunedConvNetClassifier.history_`: ``loss``, a metric such as ``accuracy`` and
        ``stage``, one entry an epoch, and, where they are known, ``val_loss``, the metric
        with ``val_`` before its name, and ``kept``.
    best_epoch : int or None, default=None
        As `FineTunedConvNetClassifier.best_epoch_`.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib Axes
        Those of the loss and of the metric.
    figure_ : matplotlib Figure
        The figure they are in.
    lines_ : dict of list of matplotlib Line2D
        The line of each stage, by the names in `history`: ``loss``, the metric and, where
        they are known, both with ``val_``.

    See Also
    --------
    FineTunedConvNetClassifier, FineTunedConvNetRegressor : Whose training it shows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTunedConvNetClassifier, TrainingHistoryDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = FineTunedConvNetClassifier(
    ...     "tiny", image_shape=(8, 8), input_range=(0, 16), augmentation=None
    ... )
    >>> display = TrainingHistoryDisplay.from_estimator(classifier.fit(X[:100], y[:100]))
    >>> [axes.get_ylabel() for axes in display.axes_]
    ['loss', 'accuracy']
    """

    def __init__(self, *, history: dict[str, list], best_epoch: int | None = None) -> None:
        self.history = history
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, smoothing: float = 0.8, ax: ArrayLike | None = None
    ) -> Self:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : FineTunedConvNetClassifier or FineTunedConvNetRegressor
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
            It has no history of training, as a Pipeline or a search has not: its last step
            does.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "history_"):
            raise TypeError(
                f"{type(estimator).__name__} has no history_: pass the fine-tuned estimator "
                "itself, such as pipeline[-1] or search.best_estimator_"
            )
        display = cls(history=estimator.history_, best_epoch=estimator.best_epoch_)
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
            Of the lines: the weight of the epochs before against that of an epoch itself,
            from 0, which draws the figures as they are, to less than 1. Each stage begins
            anew.
        ax : array-like of 2 matplotlib Axes, default=None
            For the loss and for the metric. None makes a new figure.

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
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        self.axes_ = np.asarray(ax, dtype=object).ravel()
        panels = ("loss", _metric_of(self.history))
        if len(self.axes_) != 2:
            raise ValueError(f"ax holds {len(self.axes_)} axes, not one for each of {panels}")
        self.figure_ = self.axes_[0].figure
        self.lines_ = {}
        for axes, name in zip(self.axes_, panels, strict=True):
            self._draw(axes, name, smoothing)
        return self

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


def _metric_of(history):
    """The name of the figure beside the loss."""
    names = [name for name in history if not name.startswith("val_")]
    return next(name for name in names if name not in NO_METRICS)


def _spans(history):
    """The number of each stage, its epochs as a slice, and whether it was kept."""
    stages = np.asarray(history["stage"])
    kept = history.get("kept", [True] * len(stages))
    starts = [0, *np.flatnonzero(np.diff(stages)) + 1, len(stages)]
    for start, stop in pairwise(starts):
        yield int(stages[start]), slice(int(start), int(stop)), bool(kept[start])


def _smooth(values, smoothing):
    """Exponential smoothing: a value against the mean of those before it."""
    return list(accumulate(values, lambda mean, x: smoothing * mean + (1 - smoothing) * x))


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
