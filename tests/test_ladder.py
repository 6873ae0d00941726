"""`unfreeze="auto"`: held-out images decide how deep and how fast to fine-tune."""

import warnings

import keras
import numpy as np
import pytest
from classifiers import classifier, five_to_nine, pixels_of
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tasks import Recorder

from sktransfer import FineTunedConvNetClassifier

FAST = {"fine_tune_learning_rate": 1e-3, "fine_tune_epochs": 10, "pooling": "avg"}


def ladder(**parameters):
    return classifier(**{"unfreeze": "auto", "early_stopping": True, **parameters})


def kept_stages(fitted):
    stages, kept = fitted.history_["stage"], fitted.history_["kept"]
    return {stage for stage, is_kept in zip(stages, kept, strict=True) if is_kept}


@pytest.fixture(scope="module")
def split(digits):
    """Images to train on and to test on, of digits that the network does not know."""
    X, y = five_to_nine(digits, 500)
    return X[:80], y[:80], X[200:], y[200:]


def test_it_is_the_default():
    assert FineTunedConvNetClassifier().unfreeze == "auto"


def test_it_goes_as_far_as_is_better(split):
    X, y, X_test, y_test = split
    head = ladder(unfreeze=0, pooling="avg").fit(X, y)
    climbed = ladder(**FAST).fit(X, y)
    best = climbed.history_["stage"][climbed.best_epoch_]
    assert kept_stages(climbed) == {0, best} > {0}
    assert climbed.n_iter_ == 1 + 10  # of the one rung that folds judge
    losses = [log_loss(y_test, fitted.predict_proba(X_test)) for fitted in (head, climbed)]
    assert losses[1] < 0.9 * losses[0]


def regression_on(model, X, y, X_test, C):
    """Logits of a logistic regression on what the last layer of a network is given."""
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-1]
    features = keras.Model(model.input, last.input)
    rows, rows_test = (features.predict(pixels_of(x), verbose=0) for x in (X, X_test))
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    return regression.fit(rows, y).decision_function(rows_test)


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_what_is_kept_lies_on_the_way_that_training_on_all_images_goes(split, rate):
    X, y, X_test, _ = split
    recipe = {**FAST, "fine_tune_learning_rate": rate, "head_C": 0.03}
    climbed = ladder(**recipe).fit(X, y)
    outright = classifier(**recipe, unfreeze=0.5, early_stopping=False).fit(X, y)
    head = classifier(**recipe, unfreeze=0).fit(X, y)
    share = climbed.fine_tuned_share_
    assert 0 < share <= outright.fine_tuned_share_ == 1
    assert head.fine_tuned_share_ == 0
    ends = [fitted.model_.get_weights() for fitted in (head, outright, climbed)]
    lie_on_the_way = [
        np.allclose(kept, start + share * (end - start), rtol=1e-4, atol=1e-6)
        for start, end, kept in zip(*ends, strict=True)
    ]
    assert all(lie_on_the_way[:-2])
    if not all(lie_on_the_way):  # the head was solved again
        expected = regression_on(climbed.model_, X, y, X_test, C=0.03)
        np.testing.assert_allclose(climbed.decision_function(X_test), expected, atol=0.01)


def test_the_whole_network_is_tried_where_half_of_it_is_better(split):
    X, y, X_val, y_val = split
    recorder = Recorder()
    own = ladder(**FAST).set_callbacks(recorder).fit(X, y, X_val=X_val, y_val=y_val)
    tasks = [name for name in recorder.ended if "/" not in name]
    assert tasks == [
        "extract-features",
        "extract-features",
        "stage-0",
        "stage-1",
        "stage-2",
        "",
    ]
    assert own.n_iter_ == 1 + 10 + 10
    assert kept_stages(own) > {0}
    losses = own.history_["val_loss"]
    assert losses[10] < losses[0]
    assert log_loss(y_val, own.predict_proba(X_val)) < losses[0]


def test_what_makes_it_worse_is_not_kept_and_nothing_bolder_is_tried(split):
    X, y, X_val, y_val = split
    spoiled = ladder(**{**FAST, "fine_tune_learning_rate": 1.0})
    spoiled.fit(X, y, X_val=X_val, y_val=y_val)
    assert spoiled.history_["stage"] == [0] + [1] * 10
    assert kept_stages(spoiled) == {0}
    assert (spoiled.best_epoch_, spoiled.fine_tuned_share_) == (0, 0)
    assert spoiled.summary().kept == (True, False, None)
    assert str(spoiled.summary()).split()[-4:] == ["yes", "no", "not", "tried"]
    head = ladder(unfreeze=0, pooling="avg").fit(X, y)
    outputs = [fitted.decision_function(X_val) for fitted in (spoiled, head)]
    np.testing.assert_array_equal(*outputs)


def test_a_few_judges_without_an_error_are_no_proof_that_one_may_be_surer(split):
    X, y, X_test, y_test = split
    head = ladder(unfreeze=0, pooling="avg").fit(X, y)
    sure = np.argsort(-head.predict_proba(X_test).max(axis=1))[:10]
    assert head.score(X_test[sure], y_test[sure]) == 1
    surer = ladder(**FAST).fit(X, y, X_val=X_test[sure], y_val=y_test[sure])
    losses = surer.history_["val_loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert kept_stages(surer) == {0}


def test_training_that_diverges_is_rolled_back(split):
    X, y, X_val, y_val = split
    for rate in (1e9, 1e12):
        wild = ladder(**{**FAST, "fine_tune_learning_rate": rate, "fine_tune_epochs": 1})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # at some rates
            wild.fit(X, y, X_val=X_val, y_val=y_val)
        assert kept_stages(wild) == {0}
        assert np.isfinite(wild.decision_function(X_val)).all()


def test_its_tasks_are_the_stages_of_each_fold_and_the_last_fit(split):
    X, y, _, _ = split
    recorder = Recorder()
    ladder(**FAST).set_callbacks(recorder).fit(X, y)
    tried = [name for name in recorder.ended if name.startswith("stage-1/fold-")]
    assert [name for name in tried if name.count("/") == 1] == [
        f"stage-1/fold-{i}" for i in range(3)
    ]
    assert recorder.ended.count("stage-1/fold-2/epoch") == 10
    seen = [recorder.given[f"stage-0/fold-{i}"][1] for i in range(3)]
    assert sum(map(len, seen)) == 2 * len(y)
    assert len(recorder.given["refit"][1]) == len(y)
    assert recorder.ended[-2:] == ["refit", ""]


def test_where_nothing_judges_the_first_rung_is_taken(split):
    X, y, X_test, _ = split
    blind = ladder(**FAST, early_stopping=False).fit(X, y)
    assert len(blind.summary().cuts) == 2
    half = classifier(**FAST, unfreeze=0.5, early_stopping=False).fit(X, y)
    outputs = [fitted.decision_function(X_test) for fitted in (blind, half)]
    np.testing.assert_array_equal(*outputs)


def test_it_says_before_it_starts_how_much_work_it_is(split, capsys):
    X, y, X_val, y_val = split
    quick = ladder(fine_tune_epochs=2, verbose=1)
    quick.fit(X, y)
    in_folds = "Fine-tuning: at most 6 passes over 80 images\n"  # 3 × 2 of 2/3, and 2 of all
    assert in_folds in capsys.readouterr().err
    quick.fit(X, y, X_val=X_val, y_val=y_val)
    both_rungs = "Fine-tuning: at most 4 passes over 80 images\n"
    assert both_rungs in capsys.readouterr().err


def test_fewer_images_get_more_epochs_unless_their_number_is_given(split):
    X, y, _, _ = split
    few = classifier(unfreeze=1, fine_tune_epochs=None, batch_size=5).fit(X, y)
    assert few.n_iter_ == 1 + 13  # of 16 steps
    fewer = few.set_params(batch_size=16).fit(X[:30], y[:30])
    assert fewer.n_iter_ == 1 + 15
    assert few.set_params(fine_tune_epochs=3).fit(X, y).n_iter_ == 1 + 3
