"""`Classes` against scikit-learn, for two and more classes."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, log_loss

from sktransfer._training.targets.classes import Classes

LABELS = {2: ["cat", "dog"], 4: ["ant", "bee", "cat", "dog"]}
N = 60


@pytest.fixture(params=sorted(LABELS), ids="{} classes".format)
def case(request):
    """A target, the labels of 60 images, these encoded, and outputs of a network."""
    n_classes = request.param
    rng = np.random.default_rng(n_classes)
    labels = np.array(LABELS[n_classes])[rng.permutation(np.arange(N) % n_classes)]
    target, codes = Classes.learnt(labels, None)
    outputs = rng.normal(0, 3, (N, target.n_outputs)).astype(np.float32)
    return target, labels, codes, outputs


def test_labels_are_encoded_in_the_order_of_the_classes(case):
    target, labels, codes, _ = case
    np.testing.assert_array_equal(target.classes, np.unique(labels))
    np.testing.assert_array_equal(target.classes[codes], labels)
    np.testing.assert_array_equal(target.encode(labels[::-1]), codes[::-1])
    np.testing.assert_array_equal(target.encode(labels.tolist()), codes)
    assert target.encode(labels[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"y_val has labels that y does not have: \['elk'\]"):
        target.encode(["cat", "elk", "elk"], "y_val")


def test_one_output_for_two_classes_else_one_for_each(case):
    target = case[0]
    assert target.n_outputs == (1 if len(target.classes) == 2 else len(target.classes))


def test_losses_are_those_of_scikit_learn_and_keras(case):
    target, _, codes, outputs = case
    losses = target.losses(outputs, codes)
    assert losses.shape == (N,)
    weights = np.random.default_rng(0).uniform(0, 2, N)
    probabilities = target.probabilities(outputs)
    for w in (None, weights):
        expected = log_loss(codes, probabilities, sample_weight=w)
        assert np.average(losses, weights=w) == pytest.approx(expected, rel=1e-5)
    by_keras = target.keras_loss()(codes[:, np.newaxis].astype(np.float32), outputs)
    assert float(by_keras) == pytest.approx(losses.mean(), rel=1e-5)


def test_losses_of_great_outputs_are_finite(case):
    target, _, codes, outputs = case
    losses = target.losses(np.sign(outputs) * np.float32(1e6), codes)
    assert np.isfinite(losses).all()
    assert losses.min() == 0
    assert losses.max() >= 1e6


def test_probabilities_predictions_and_decision(case):
    target, _, _, outputs = case
    probabilities = target.probabilities(outputs)
    two = len(target.classes) == 2
    expected = expit(outputs) if two else softmax(outputs, axis=1)
    np.testing.assert_allclose(probabilities[:, 1:] if two else probabilities, expected, 1e-5)
    assert probabilities.shape == (N, len(target.classes))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    most_probable = target.classes[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(target.predictions(outputs), most_probable)
    decision = target.decision(outputs)
    np.testing.assert_array_equal(decision, outputs[:, 0] if two else outputs)
    np.testing.assert_array_equal(Classes(target.classes).predictions(outputs), most_probable)


def test_the_score_is_the_weighted_accuracy_also_by_keras(case):
    target, labels, codes, outputs = case
    weights = np.random.default_rng(1).uniform(0, 2, N).astype(np.float32)
    score = target.score(outputs, codes, weights)
    predictions = target.predictions(outputs)
    expected = accuracy_score(labels, predictions, sample_weight=weights)
    assert score == pytest.approx(expected)
    metric = target.keras_metric()
    assert metric.name == target.metric_name == "accuracy"
    metric.update_state(codes[:, np.newaxis].astype(np.float32), outputs, weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    assert np.isnan(target.score(outputs, codes, np.zeros(N)))


def test_a_split_holds_out_every_class(case):
    target, _, codes, _ = case
    n_classes = len(target.classes)
    for asked in (1, 20):
        held_out = target.n_held_out(asked)
        assert held_out == max(asked, n_classes)
        train, judges = target.split(codes, asked, seed=0)
        assert sorted([*train, *judges]) == list(range(N))
        assert np.bincount(codes[judges]).tolist() == [held_out // n_classes] * n_classes
        np.testing.assert_array_equal(target.split(codes, asked, seed=0)[1], judges)
        assert set(target.split(codes, asked, seed=1)[1]) != set(judges)


def test_folds_judge_by_each_image_once(case):
    target, _, codes, _ = case
    folds = target.folds(codes, 3, seed=0)
    assert len(folds) == 3
    assert sorted(i for _, judges in folds for i in judges) == list(range(N))
    for train, judges in folds:
        assert sorted([*train, *judges]) == list(range(N))
        assert np.ptp(np.bincount(codes[judges])) <= 1
    again = target.folds(codes, 3, seed=0)
    for (_, judges), (_, same) in zip(folds, again, strict=True):
        np.testing.assert_array_equal(judges, same)


def test_a_class_of_two_images_makes_two_folds_and_of_one_image_none():
    two, codes = Classes.learnt(np.array([0] * 20 + [1] * 2), None)
    assert len(two.folds(codes, 3, seed=0)) == 2
    one, codes = Classes.learnt(np.array([0] * 20 + [1]), None)
    assert one.folds(codes, 3, seed=0) == []
    with pytest.raises(ValueError, match="least populated class"):
        one.split(codes, 3, seed=0)


def test_weights_of_classes():
    labels = np.array(["dog"] * 3 + ["cat"])
    balanced, codes = Classes.learnt(labels, "balanced")
    np.testing.assert_allclose(balanced.weights_of(codes), [2 / 3] * 3 + [2], rtol=1e-6)
    by_label, codes = Classes.learnt(labels, {"cat": 5})
    assert by_label.weights_of(codes).tolist() == [1, 1, 1, 5]
    for wrong in (-1, np.inf):
        with pytest.raises(ValueError, match="negative or infinite"):
            Classes.learnt(labels, {"cat": wrong})


def test_what_nothing_can_be_learnt_from():
    target, codes = Classes.learnt(np.array([3, 3, 4]), None)
    target.check(codes, np.ones(3))
    with pytest.raises(ValueError, match=r"one class only, \[3\], not counting images"):
        target.check(codes, np.array([1, 1, 0]))
    alone, codes = Classes.learnt(np.array([3, 3]), None)
    with pytest.raises(ValueError, match="one class only"):
        alone.check(codes, np.ones(2))
    with pytest.raises(ValueError, match="continuous"):
        Classes.learnt(np.array([0.5, 1.2]), None)


def test_the_linear_model_has_the_outputs_of_the_network(case):
    target, _, codes, _ = case
    rows = np.random.default_rng(0).normal(size=(N, 5))
    model = target.linear_model(C=0.5).fit(rows, codes)
    assert model.C == 0.5
    outputs = model.decision_function(rows).reshape(N, -1)
    assert outputs.shape == (N, target.n_outputs)
    np.testing.assert_allclose(target.probabilities(outputs), model.predict_proba(rows))
