"""Several labels at once in `FineTunedConvNetClassifier`."""

import numpy as np
import pandas as pd
import pytest
from classifiers import classifier, five_to_nine, stored
from scipy.sparse import csr_array
from sklearn.callback import ScoringMonitor
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from tasks import Recorder

from sktransfer import TrainingHistoryDisplay

NAMES = ["even", "round", "great"]


@pytest.fixture(scope="module")
def some(digits):
    """80 images of five digits to train on and 40 to test, and three labels of each."""
    X, y = five_to_nine(digits, 120)
    labels = np.column_stack([y % 2 == 0, np.isin(y, [6, 8, 9]), y > 7]).astype(int)
    return X[:80], labels[:80], X[80:], labels[80:]


def test_labels_are_learnt_and_predicted(some):
    X, y, X_test, y_test = some
    fitted = classifier(head_C=None).fit(X, y)
    np.testing.assert_array_equal(fitted.classes_, [[0, 1]] * 3)
    assert fitted.label_names_ is None
    probabilities = fitted.predict_proba(X_test)
    assert (probabilities.shape, probabilities.dtype) == ((40, 3), np.float64)
    logits = fitted.decision_function(X_test)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    predicted = fitted.predict(X_test)
    np.testing.assert_array_equal(predicted, (probabilities > 0.5).astype(int))
    assert fitted.score(X_test, y_test) == (predicted == y_test).all(axis=1).mean() > 0.6
    assert {"loss", "subset_accuracy"} < set(fitted.history_)
    assert fitted.summary().trained_parameters[0] == 3 * 193
    assert fitted.model_.output_shape == (None, 3)


def test_the_form_of_y_changes_no_bit(some):
    X, y, X_test, _ = some
    expected = classifier(unfreeze=0).fit(X, y).decision_function(X_test)
    frame = pd.DataFrame(y.astype(bool), columns=NAMES)
    for same in (csr_array(y), y.tolist(), frame):
        fitted = classifier(unfreeze=0).fit(X, same)
        np.testing.assert_array_equal(fitted.decision_function(X_test), expected)
    assert fitted.label_names_.tolist() == NAMES


def test_held_out_images_judge_labels(some):
    X, y, X_val, y_val = some
    recorder = Recorder()
    own = classifier(early_stopping=True).set_callbacks(recorder)
    history = own.fit(X, csr_array(y)).history_
    assert {"val_loss", "val_subset_accuracy"} < set(history)
    assert [n for n in recorder.ended if n.startswith("fold-") and "/" not in n] == [
        f"fold-{i}" for i in range(3)
    ]
    own = classifier(early_stopping=True, unfreeze=0).fit(X, y, X_val=X_val, y_val=y_val)
    by_label = [log_loss(y_val[:, i], own.predict_proba(X_val)[:, i]) for i in range(3)]
    assert own.history_["val_loss"] == [pytest.approx(np.mean(by_label), rel=1e-4)]
    climbed = classifier(early_stopping=True, unfreeze="auto").fit(X, y)
    assert climbed.history_["stage"] == [0, 1, 1]


def test_searches_scorers_callbacks_and_curves(some):
    import matplotlib as mpl

    mpl.use("agg")
    X, y, _, _ = some
    for scoring in ("f1_macro", "average_precision", "roc_auc", "neg_log_loss"):
        for labels in (y, y[:, :2]):
            if scoring != "neg_log_loss":  # scikit-learn has it for single labels
                scores = cross_val_score(
                    classifier(unfreeze=0), X, labels, cv=2, scoring=scoring
                )
                assert scores.min() > 0.6, scoring
    search = GridSearchCV(classifier(), {"unfreeze": [0, 1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.4
    crossed = cross_val_predict(classifier(unfreeze=0), X, y, cv=2, method="predict_proba")
    assert average_precision_score(y, crossed) > 0.8
    monitor = ScoringMonitor(scoring="average_precision")
    fitted = classifier().set_callbacks(monitor).fit(X, y)
    assert monitor.get_logs().data[0]["average_precision"] == pytest.approx(
        average_precision_score(y, fitted.predict_proba(X))
    )
    display = TrainingHistoryDisplay.from_estimator(fitted)
    assert display.axes_[1].get_ylabel() == "subset_accuracy"


@pytest.mark.parametrize("suffix", [".joblib", ".skops"])
def test_what_is_saved_comes_back_the_same(some, tmp_path, suffix):
    X, y, X_test, _ = some
    fitted = classifier(unfreeze=1).fit(X, pd.DataFrame(y, columns=NAMES))
    again = stored(fitted, tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(again.predict_proba(X_test), fitted.predict_proba(X_test))
    assert again.label_names_.tolist() == NAMES
    np.testing.assert_array_equal(again.classes_, fitted.classes_)


def test_labels_that_are_always_alike_are_told_and_predicted(some):
    X, y, X_test, _ = some
    constant = np.column_stack([y, np.ones(80, int), np.zeros(80, int)])
    with (
        pytest.warns(UserWarning, match=r"no image has the labels \[4\]"),
        pytest.warns(UserWarning, match=r"all images have the labels \[3\]"),
    ):
        fitted = classifier(unfreeze=0).fit(X, constant)
    assert (fitted.predict(X_test)[:, 3:] == [1, 0]).all()


def test_weights_of_labels_and_images(some):
    X, y, X_test, _ = some
    by_label = [{0: 1, 1: 20}, {0: 1, 1: 1}, {0: 1, 1: 1}]
    plain = classifier(unfreeze=0).fit(X, y).predict_proba(X_test)
    weighted = classifier(unfreeze=0, class_weight=by_label).fit(X, y).predict_proba(X_test)
    by_image = classifier(unfreeze=0).fit(X, y, sample_weight=np.where(y[:, 0], 20.0, 1.0))
    assert weighted[:, 0].mean() > plain[:, 0].mean()
    np.testing.assert_allclose(by_image.predict_proba(X_test), weighted, rtol=1e-5)


def test_labels_that_people_have(some):
    """Missing labels, and one-hot labels."""
    X, y, _, _ = some
    one = y[:, 0].astype(float)
    for missing in (np.nan, None, pd.NA):
        labels = one.astype(object)
        labels[[3, 7]] = missing
        for some_form in (labels, pd.Series(labels)):
            message = r"NaN or None: 2 images have no label, in rows 3, 7\. .*SelfTraining"
            with pytest.raises(ValueError, match=message):
                classifier().fit(X, some_form)
    one_hot = np.eye(2, dtype=int)[y[:, 0]]
    with pytest.warns(UserWarning, match=r"pass y.argmax\(axis=1\)"):
        classifier(unfreeze=0).fit(X, one_hot)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        classifier().fit(X, y * 3 + np.arange(3))


def test_hundreds_of_classes(digits):
    X = digits[0][:400]
    y = np.arange(400) // 2
    fitted = classifier(unfreeze=1, fine_tune_epochs=1, augmentation=None).fit(X, y)
    assert fitted.predict_proba(X[:5]).shape == (5, 200)
    assert fitted.score(X, y) > 0.5
