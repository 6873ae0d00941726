import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from classifiers import classifier, five_to_nine, regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sktransfer import TrainingHistoryDisplay

mpl.use("agg")

HISTORY = {
    "loss": [0.5, 0.4, 0.2, 0.3, 0.1],
    "accuracy": [0.6, 0.7, 0.8, 0.75, 0.95],
    "val_loss": [0.6, 0.5, 0.4, 0.9, 0.8],
    "val_accuracy": [0.5, 0.6, 0.7, 0.4, 0.3],
    "stage": [0, 1, 1, 2, 2],
    "kept": [True, True, True, False, False],
}


@pytest.fixture(autouse=True)
def _close():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def boundaries(axes):
    lines = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    return [left for left, right in lines if left == right]


def test_each_stage_is_a_line_of_running_means():
    display = TrainingHistoryDisplay.from_history(HISTORY, smoothing=0.8)
    assert set(display.lines_) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    head, first, second = display.lines_["loss"]
    np.testing.assert_allclose(head.get_xydata(), [[0, 0.5]])
    np.testing.assert_allclose(first.get_xydata(), [[1, 0.4], [2, (0.8 * 0.4 + 0.2) / 1.8]])
    np.testing.assert_allclose(second.get_xydata(), [[3, 0.3], [4, (0.8 * 0.3 + 0.1) / 1.8]])
    plain = TrainingHistoryDisplay.from_history(HISTORY, smoothing=0)
    drawn = np.concatenate([line.get_ydata() for line in plain.lines_["val_accuracy"]])
    np.testing.assert_allclose(drawn, HISTORY["val_accuracy"])


def test_a_line_lies_among_the_points_that_it_sums_up():
    losses = [10.0, 1.0, 0.9, 0.8, 0.7, 0.6]
    history = {"loss": losses, "accuracy": losses, "stage": [1] * 6}
    [line] = TrainingHistoryDisplay.from_history(history, smoothing=0.5).lines_["loss"]
    assert line.get_ydata()[-1] < 1  # and not a tenth of the first value higher


def test_stages_are_bounded_named_and_grey_if_rolled_back():
    display = TrainingHistoryDisplay(history=HISTORY).plot()
    for axes, name in zip(display.axes_, ("loss", "accuracy"), strict=True):
        assert axes.get_ylabel() == name
        assert boundaries(axes) == [0.5, 2.5]
        assert [t.get_text() for t in axes.texts] == [
            "head",
            "stage 1",
            "stage 2\nrolled back",
        ]
        [grey] = axes.patches
        assert (grey.get_x(), grey.get_width()) == (2.5, 2)
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
        assert legend == ["training", "validation"]
    styles = [line.get_linestyle() for line in display.lines_["val_loss"]]
    assert styles == ["-", "-", "--"]


@pytest.mark.parametrize("metric", ["r2", "subset_accuracy"])
def test_a_metric_has_its_own_name(metric):
    history = {name.replace("accuracy", metric): HISTORY[name] for name in HISTORY}
    display = TrainingHistoryDisplay.from_history(history)
    assert [axes.get_ylabel() for axes in display.axes_] == ["loss", metric]
    assert set(display.lines_) == {"loss", metric, "val_loss", f"val_{metric}"}


def test_each_metric_has_its_panel():
    history = {**HISTORY, "r2_of_width": HISTORY["accuracy"]}
    display = TrainingHistoryDisplay.from_history(history)
    assert [one.get_ylabel() for one in display.axes_] == ["loss", "accuracy", "r2_of_width"]


def test_the_losses_of_a_solved_head_by_strength(digits):
    X, y = five_to_nine(digits, 60)
    solved = classifier(augmentation=None, head_C=None, unfreeze=0).fit(X, y)
    display = TrainingHistoryDisplay.from_estimator(solved)
    axes = display.axes_[-1]
    curve, star = axes.lines
    assert dict(curve.get_xydata()) == pytest.approx(solved.head_losses_)
    assert star.get_xdata() == [solved.head_C_]
    assert (axes.get_xlabel(), axes.get_xscale()) == ("head_C", "log")
    assert classifier(augmentation=None, unfreeze=0).fit(X, y).head_losses_ is None
    numbers = regressor(augmentation=None, unfreeze=0).fit(X, np.column_stack([y, y**2]))
    assert min(numbers.head_losses_, key=numbers.head_losses_.get) == numbers.head_alpha_
    axes = TrainingHistoryDisplay.from_estimator(numbers).axes_[-1]
    assert axes.get_xlabel() == "head_alpha"


def test_of_pipelines_and_searches_what_was_trained_is_drawn(digits):
    X, y = five_to_nine(digits, 60)
    pipe = Pipeline([("same", "passthrough"), ("tuned", classifier(augmentation=None))])
    search = GridSearchCV(pipe, {"tuned__unfreeze": [0]}, cv=2).fit(X, y)
    display = TrainingHistoryDisplay.from_estimator(search)
    assert display.history == search.best_estimator_[-1].history_


def test_a_history_without_validation():
    history = {name: HISTORY[name] for name in ("loss", "accuracy", "stage")}
    display = TrainingHistoryDisplay.from_history(history)
    assert set(display.lines_) == {"loss", "accuracy"}
    assert not display.axes_[0].patches


def test_from_an_estimator_onto_axes_of_ones_own(digits, tmp_path):
    import matplotlib.pyplot as plt

    X, y = five_to_nine(digits, 60)
    estimator = classifier(augmentation=None, fine_tune_epochs=1, early_stopping=True)
    with pytest.raises(NotFittedError):
        TrainingHistoryDisplay.from_estimator(estimator)
    estimator.fit(X, y, X_val=X[:20], y_val=y[:20])
    figure, axes = plt.subplots(2, 1)
    display = TrainingHistoryDisplay.from_estimator(estimator, ax=axes)
    assert display.history == estimator.history_
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes)
    legend = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert legend == ["training", "validation", "weights kept"]
    star = [line for line in axes[0].lines if line.get_marker() == "*"][-1]
    assert star.get_xdata() == [estimator.best_epoch_]
    figure.savefig(tmp_path / "curves.png")


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="smoothing=1 "):
        TrainingHistoryDisplay.from_history(HISTORY, smoothing=1)
    with pytest.raises(ValueError, match="1 axes, not one for each"):
        TrainingHistoryDisplay.from_history(HISTORY, ax=[mpl.figure.Figure().add_subplot()])
    other = LogisticRegression().fit([[0], [1]], [0, 1])
    with pytest.raises(TypeError, match="Regression has no history_: pass a fine-tuned"):
        TrainingHistoryDisplay.from_estimator(other)


def test_matplotlib_is_imported_only_to_draw():
    code = """
import sys
sys.modules["matplotlib"] = None  # as if it were not there
from sktransfer import TrainingHistoryDisplay
try:
    TrainingHistoryDisplay(history={}).plot()
except ImportError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("TrainingHistoryDisplay.plot requires matplotlib.")
