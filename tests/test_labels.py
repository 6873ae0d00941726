"""`Labels` against scikit-learn, and images dealt out so that each part has its labels."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.utils import compute_sample_weight

from sktransfer._training.targets.labels import Labels
from sktransfer._training.targets.stratification import stratified_parts

N, K = 60, 4


@pytest.fixture
def case():
    """A target, the indicators of 60 images, and outputs of a network."""
    rng = np.random.default_rng(0)
    y = (rng.random((N, K)) < [0.1, 0.3, 0.5, 0.9]).astype(int)
    target, codes = Labels.learnt(y, None)
    return target, codes, rng.normal(0, 3, (N, K)).astype(np.float32)


def test_indicators_come_in_many_forms(case):
    _, codes, _ = case
    frame = pd.DataFrame(codes.astype(bool), columns=["a", "b", "c", "d"])
    for y in (codes.tolist(), list(codes), csr_array(codes), codes.astype(float), frame):
        target, learnt = Labels.learnt(y, None)
        np.testing.assert_array_equal(learnt, codes)
        np.testing.assert_array_equal(target.encode(y), codes)
    assert target.names.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="y_val has the columns"):
        target.encode(frame[["b", "a", "c", "d"]], "y_val")
    with pytest.raises(ValueError, match="y_val has 3 columns, and y 4"):
        target.encode(codes[:, :3], "y_val")
    with pytest.raises(ValueError, match="y is no indicator matrix"):
        Labels.learnt(codes + 1, None)


def test_losses_and_score_are_those_of_scikit_learn_and_keras(case):
    target, codes, outputs = case
    losses, probabilities = target.losses(outputs, codes), target.probabilities(outputs)
    by_label = [log_loss(codes[:, i], probabilities[:, i]) for i in range(K)]
    assert losses.mean() == pytest.approx(np.mean(by_label), rel=1e-5)
    floats = codes.astype(np.float32)
    assert float(target.keras_loss()(floats, outputs)) == pytest.approx(losses.mean(), 1e-5)
    assert np.isfinite(target.losses(np.sign(outputs) * np.float32(1e6), codes)).all()
    weights = np.random.default_rng(1).uniform(0, 2, N).astype(np.float32)
    outputs[:30] = np.where(codes[:30], 1, -1)  # or hardly one would be right
    expected = accuracy_score(codes, target.predictions(outputs), sample_weight=weights)
    assert 0.4 < expected < 0.7
    assert target.score(outputs, codes, weights) == pytest.approx(expected)
    metric = target.keras_metric()
    metric.update_state(floats, outputs, weights)
    assert metric.name == target.metric_name == "subset_accuracy"
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    assert np.isnan(target.score(outputs, codes, np.zeros(N)))


def test_weights_of_labels_are_multiplied_as_in_forests(case):
    codes = case[1]
    by_label = [{0: 1, 1: i + 2} for i in range(K)]
    for asked in ("balanced", by_label):
        target, _ = Labels.learnt(codes, asked)
        expected = compute_sample_weight(asked, codes)
        np.testing.assert_allclose(target.weights_of(codes), expected, rtol=1e-5)
    for wrong in ({0: 1, 1: 2}, by_label[1:]):
        with pytest.raises(ValueError, match="a list of a dict for each label"):
            Labels.learnt(codes, wrong)
    with pytest.raises(ValueError, match="negative or infinite"):
        Labels.learnt(codes, [{1: -1}] * K)


def test_a_linear_model_is_a_logistic_regression_for_each_label(case):
    target, codes, _ = case
    rows, weights = np.random.default_rng(0).normal(size=(N, 5)), np.linspace(0.5, 1.5, N)
    codes[:, 1] = 0
    model = target.linear_model(C=0.5).fit(rows, codes, weights)
    outputs = model.decision_function(rows)
    for i in (0, 2, 3):
        plain = LogisticRegression(C=0.5, max_iter=1000).fit(rows, codes[:, i], weights)
        np.testing.assert_allclose(outputs[:, i], plain.decision_function(rows))
    assert (outputs[:, 1] == np.log(0.5 / (N + 0.5))).all()


def test_labels_that_tell_nothing_are_told(case):
    codes = case[1]
    names = ["a", "b", "c", "d"]
    codes[:, 1], codes[0, 2], codes[1:, 2] = 0, 0, 1
    target, _ = Labels.learnt(pd.DataFrame(codes, columns=names), None)
    weights = np.ones(N)
    with pytest.warns(UserWarning, match=r"no image has the labels \['b'\]"):
        target.check(codes, weights)
    weights[0] = 0
    with (
        pytest.warns(UserWarning, match=r"no image has the labels \['b'\]"),
        pytest.warns(UserWarning, match=r"all images have the labels \['c'\]"),
    ):
        target.check(codes, weights)
    with pytest.raises(ValueError, match="nothing can be learnt"):
        target.check(codes, np.eye(N)[0])
    with pytest.warns(UserWarning, match=r"exactly one of the labels.*y.argmax\(axis=1\)"):
        Labels.learnt(np.eye(K, dtype=int)[np.arange(N) % K], None)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.1, 0.9)])
def test_each_part_has_its_share_of_images_and_labels(shares):
    rng = np.random.default_rng(3)
    labels = (rng.random((300, 6)) < [0.01, 0.02, 0.05, 0.1, 0.3, 0.6]).astype(int)
    counts = labels.sum(axis=0)
    parts = stratified_parts(labels, shares, seed=0)
    for part, share in enumerate(shares):
        assert abs((parts == part).sum() - share * 300) <= 6
        assert (abs(labels[parts == part].sum(axis=0) - share * counts) <= 2).all()
        assert labels[parts == part].any(axis=0)[counts >= len(shares)].all()
    np.testing.assert_array_equal(parts, stratified_parts(labels, shares, seed=0))
    assert (parts != stratified_parts(labels, shares, seed=1)).any()


def test_splits_and_folds(case):
    target, codes, _ = case
    train, judges = target.split(codes, 6, seed=0)
    assert sorted([*train, *judges]) == list(range(N))
    assert 4 <= len(judges) <= 10
    assert codes[judges].any(axis=0).all()
    folds = target.folds(codes, 3, seed=0)
    assert sorted(i for _, judges in folds for i in judges) == list(range(N))
    for train, judges in folds:
        assert sorted([*train, *judges]) == list(range(N))
