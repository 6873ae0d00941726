"""What scikit-learn's callbacks see of a fit."""

import pickle
import re
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from classifiers import classifier, five_to_nine, pixels_of
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tasks import Recorder

from sktransfer import PretrainedFeatureTransformer


@pytest.fixture(scope="module")
def sevens(digits):
    """80 images of five classes."""
    return five_to_nine(digits, 80)


def test_stages_and_epochs_of_a_fit(sevens):
    X, y = sevens
    recorder = Recorder()
    fitted = classifier(unfreeze=(1, 3)).set_callbacks(recorder).fit(X, y)
    assert recorder.outline() == [
        "100 × extract-features/images",  # of 240 views
        "extract-features",
        "stage-0/epoch",
        "stage-0",
        "2 × stage-1/epoch",
        "stage-1",
        "2 × stage-2/epoch",
        "stage-2",
        "",
    ]
    assert sum(name.endswith("epoch") for name in recorder.ended) == fitted.n_iter_
    again = Recorder()
    classifier(unfreeze=0, head_epochs=4, hidden_units=(4,)).set_callbacks(again).fit(X, y)
    assert again.outline() == ["extract-features", "4 × stage-0/epoch", "stage-0", ""]


def test_folds_and_the_last_fit_on_all_images(sevens):
    X, y = sevens
    frame = pd.DataFrame({"image": list(X)}, index=np.arange(80) + 1000)
    weights = np.linspace(0.5, 1.5, 80)
    recorder = Recorder()
    judged = classifier(early_stopping=True, fine_tune_learning_rate=0.1)
    judged.set_callbacks(recorder).fit(frame, pd.Series(y), sample_weight=weights)
    folds = [name for name in recorder.outline() if name.startswith("fold-1")]
    assert folds == ["fold-1/stage-0/epoch", "fold-1/stage-0", "fold-1/stage-1", "fold-1"]
    assert recorder.outline()[-4:] == ["refit/stage-0/epoch", "refit/stage-0", "refit", ""]
    seen = []
    for fold in ("fold-0", "fold-1", "fold-2"):
        X_fold, y_fold, metadata = recorder.given[f"{fold}/stage-1/epoch"]
        rows = X_fold.index.to_numpy() - 1000
        np.testing.assert_array_equal(y_fold, y[rows])
        np.testing.assert_array_equal(metadata["sample_weight"], weights[rows])
        seen.append(rows)
    assert sorted(np.concatenate(seen)) == sorted([*range(80)] * 2)
    assert recorder.given["refit/stage-0"][0].equals(frame)


@pytest.mark.parametrize(("fraction", "n_judges"), [(49 / 80, None), (50 / 80, 50)])
def test_where_a_split_would_judge_by_fewer_than_50_images_folds_do(
    sevens, fraction, n_judges
):
    X, y = sevens
    y = np.arange(80) % 2
    recorder = Recorder()
    recipe = {"unfreeze": 1, "fine_tune_epochs": 1, "validation_fraction": fraction}
    classifier(early_stopping=True, **recipe).set_callbacks(recorder).fit(X, y)
    folds = [name for name in recorder.ended if name.startswith("fold-") and "/" not in name]
    if n_judges is None:
        assert folds == ["fold-0", "fold-1", "fold-2"]
    else:
        assert folds == []
        trained_on = recorder.given["stage-0"][1]
        assert np.bincount(trained_on).tolist() == [(80 - n_judges) // 2] * 2


def test_images_of_ones_own_to_judge_by(sevens):
    X, y = sevens
    recorder = Recorder()
    judged = classifier(early_stopping=True, unfreeze=0).set_callbacks(recorder)
    judged.fit(list(X[:50]), list(y[:50]), X_val=X[50:], y_val=y[50:])
    outline = [name for name in recorder.outline() if not name.endswith("images")]
    assert outline == ["extract-features", "extract-features", "stage-0/epoch", "stage-0", ""]
    assert len(recorder.given["stage-0/epoch"][0]) == len(recorder.given[""][1]) == 50


class Logits(keras.callbacks.Callback):
    """Notes logits by the whole network after each epoch, in a list that copies share."""

    pixels, noted = None, []

    def on_epoch_end(self, epoch, logs=None):
        self.noted.append(self.model.predict_on_batch(self.pixels))


def test_a_scoring_monitor_sees_each_epoch_and_disturbs_none(sevens):
    X, y = sevens
    Logits.noted.clear()
    Logits.pixels = pixels_of(X) / 127.5 - 1
    recipe = {
        "unfreeze": "all",
        "dropout": 0.5,
        "fine_tune_epochs": 4,
        "fine_tune_learning_rate": 3e-3,
    }
    alone = classifier(**recipe, keras_callbacks=[Logits()]).fit(X, y)
    by_hand = [
        (
            np.mean(logits.argmax(axis=1) == y - 5),
            log_softmax(logits, axis=1)[np.arange(80), y - 5].mean(),
        )
        for logits in Logits.noted
    ]
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    monitored = classifier(**recipe, verbose=1).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs().data_as_pandas
    epochs = log[log["task_name"] == "epoch"]
    assert len(epochs) == monitored.n_iter_ == 5
    tuned = epochs[epochs["parent_task_id_path"] == (0, 2)][["accuracy", "neg_log_loss"]]
    np.testing.assert_allclose(tuned, by_hand, rtol=1e-4, atol=1e-6)
    assert tuned["neg_log_loss"].nunique() == 4
    head = classifier(unfreeze=0, dropout=0.5).fit(X, y)
    solved = epochs[epochs["parent_task_id_path"] == (0, 1)]["accuracy"]
    assert list(solved) == [head.score(X, y)]
    assert log["accuracy"][log["task_name"] == "fit"].item() == monitored.score(X, y)
    np.testing.assert_array_equal(alone.decision_function(X), monitored.decision_function(X))
    assert alone.history_ == monitored.history_


def test_an_epoch_is_that_of_all_stages_before(sevens):
    """The monitor's last value of a stage that is kept is what the fit up to it scores."""
    X, y = sevens
    monitor = ScoringMonitor(scoring="neg_log_loss")
    recipe = {"fine_tune_learning_rate": 1e-3, "hidden_units": (8,), "head_epochs": 2}
    classifier(unfreeze=(1, 3), **recipe).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs().data_as_pandas.set_index("task_id_path")["neg_log_loss"]
    for stage, unfreeze in ((1, 0), (2, 1), (3, (1, 3))):
        probabilities = classifier(unfreeze=unfreeze, **recipe).fit(X, y).predict_proba(X)
        expected = np.log(probabilities[np.arange(80), y - 5]).mean()
        assert log[0, stage] == log[0, stage, 1] == pytest.approx(expected, rel=1e-5)


def test_a_network_of_ones_own_is_monitored(sevens):
    X, y = sevens
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    monitor = ScoringMonitor(scoring="accuracy")
    own = classifier(
        backbone=keras.Model(inputs, outputs),
        input_size=None,
        preprocessing="rescale",
        unfreeze=1,
        augmentation=None,
        fine_tune_epochs=1,
    ).set_callbacks(monitor)
    assert own.fit(X, y).score(X, y) == monitor.get_logs().data[0]["accuracy"]


def test_a_callback_can_stop_a_stage_and_those_after_it(sevens):
    X, y = sevens
    recipe = {"unfreeze": (1, 3), "fine_tune_epochs": 5}
    epoch = Recorder(stop_after={("stage-1/epoch", 2)})
    fitted = classifier(**recipe).set_callbacks(epoch).fit(X, y)
    assert fitted.history_["stage"] == [0, 1, 1, 1, 2, 2, 2, 2, 2]
    stage = Recorder(stop_after={("stage-1", 2)})
    fitted = classifier(**recipe).set_callbacks(stage).fit(X, y)
    assert fitted.history_["stage"] == [0, 1, 1, 1, 1, 1]
    assert fitted.history_["kept"] == [True] * 6


def test_progress_of_a_pipeline(sevens, capsys):
    X, y = sevens
    pipeline = make_pipeline(
        PretrainedFeatureTransformer("tiny", input_range=(0, 16)),
        LogisticRegression(max_iter=1000),
    )
    pipeline.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("    PretrainedFeatureTransformer - extract-f") for line in lines
    )
    recorder = Recorder()
    features = clone(pipeline[0]).set_callbacks(recorder).fit_transform(X)
    assert recorder.outline() == ["extract-features", ""]  # nothing is left to compute
    np.testing.assert_array_equal(features, pipeline[0].transform(X))
    recorder = Recorder()
    clone(pipeline[0]).set_params(cache_dir=None).set_callbacks(recorder).fit_transform(X[:7])
    assert recorder.outline() == ["7 × extract-features/images", "extract-features", ""]
    assert recorder.given[""][0] is not None


def test_progress_of_a_pipeline_that_ends_with_the_classifier(sevens, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    X, y = sevens
    pipeline = make_pipeline("passthrough", classifier(fine_tune_epochs=2))
    pipeline.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    lines = [re.split(" *━+ *", line) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == [
        "Pipeline - fit",
        "  Pipeline - fit-final-estimator | FineTunedConvNetClassifier - fit #1",
        "    FineTunedConvNetClassifier - extract-features #0",
        "    FineTunedConvNetClassifier - stage-0 #1",
        "    FineTunedConvNetClassifier - stage-1 #2",
    ]
    assert all(done.startswith("100% ") for _, done in lines)


def test_progress_and_scores_of_a_search_in_two_processes(sevens, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    X, y = sevens
    monitor = ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(classifier(fine_tune_epochs=3).set_callbacks(monitor))
    grid = {"finetunedconvnetclassifier__unfreeze": [0, 1]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    shown = capsys.readouterr().out.splitlines()
    lines = [re.sub(r"[\s━]*100%.*", "", line) for line in shown]  # bars may be blank
    nested = "        FineTunedConvNetClassifier - stage-{0} #{1}"
    assert lines.count(nested.format(0, 1)) == 4
    assert lines.count(nested.format(1, 2)) == 2
    assert sum("candidate-split-evaluation" in line for line in lines) == 4
    log = monitor.get_logs().data_as_pandas
    assert log["estimator_name"].unique() == ["FineTunedConvNetClassifier"]
    epochs = log[log["task_name"] == "epoch"]["task_id_path"]
    refit = len(search.best_estimator_[-1].history_["loss"])
    assert len(epochs) == 2 * 1 + 2 * 4 + refit
    assert epochs.is_unique


def test_progress_of_an_estimator_alone(sevens, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    X, y = sevens
    transformer = PretrainedFeatureTransformer("tiny", input_range=(0, 16))
    transformer.set_callbacks(ProgressBar()).fit_transform(X)
    classifier(fine_tune_epochs=2).set_callbacks(ProgressBar()).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  PretrainedFeatureTransformer - extract-f") for line in lines)
    assert any(line.startswith("  FineTunedConvNetClassifier - stage-1") for line in lines)


def test_images_are_extracted_under_their_candidates_and_folds(sevens, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    X, y = sevens
    features = PretrainedFeatureTransformer("tiny", input_range=(0, 16), cache_dir=None)
    pipeline = make_pipeline(features, LogisticRegression(max_iter=1000))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, cv=2, n_jobs=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    lines = [line.lstrip() for line in capsys.readouterr().out.splitlines()]
    begins = "PretrainedFeatureTransformer - extract-f"
    assert sum(line.startswith(begins) for line in lines) == 5
    evaluations = [i for i, line in enumerate(lines) if "candidate-split-evaluation" in line]
    assert len(evaluations) == 4  # and a last fit on all images
    for first, last in zip(evaluations, [*evaluations[1:], len(lines)], strict=True):
        assert any("extract-f" in line for line in lines[first:last])


def test_callbacks_survive_pickling_and_cloning(sevens):
    X, y = sevens
    monitor = ScoringMonitor(scoring="accuracy")
    for estimator in (classifier(unfreeze=0), PretrainedFeatureTransformer("tiny")):
        estimator.set_callbacks(monitor)
        assert clone(estimator)._skl_callbacks == [monitor]
        [restored] = pickle.loads(pickle.dumps(estimator))._skl_callbacks
        assert isinstance(restored, ScoringMonitor)
    restored = pickle.loads(
        pickle.dumps(classifier(unfreeze=0).set_callbacks(monitor).fit(X, y))
    )
    restored.fit(X, y)
    assert len(restored._skl_callbacks[0].get_logs(select="all")) == 2


def test_callbacks_of_cached_features_import_no_keras(sevens):
    X, _ = sevens
    transformer = PretrainedFeatureTransformer("tiny", input_range=(0, 16), verbose=1)
    transformer.fit_transform(X)
    code = """
import sys
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sktransfer import PretrainedFeatureTransformer
X, y = load_digits(return_X_y=True)
transformer = PretrainedFeatureTransformer("tiny", input_range=(0, 16), verbose=1)
transformer.set_callbacks(ProgressBar()).fit_transform(X[y >= 5][:80].reshape(-1, 8, 8))
assert not {"keras", "tensorflow", "PIL"} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "80/80 images, 80 cached" in result.stderr
