"""`Numbers` against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import mean_squared_error, r2_score

from sktransfer._training.targets.numbers import Numbers

N = 60


@pytest.fixture(params=[1, 3], ids="{} outputs".format)
def case(request):
    """A target, the numbers of 60 images, these encoded, weights, and outputs."""
    rng = np.random.default_rng(0)
    y = rng.normal(
        [1e6, 0, -3][: request.param], [5, 1e-3, 2][: request.param], (N, request.param)
    )
    y = y[:, 0] if request.param == 1 else y
    weights = rng.uniform(0, 2, N).astype(np.float32)
    target, codes = Numbers.learnt(y, weights)
    return target, y, codes, weights, codes + rng.normal(0, 0.5, codes.shape)


def test_numbers_are_standardised_and_come_back(case):
    target, y, codes, weights, _ = case
    assert codes.shape == (N, target.n_outputs)
    np.testing.assert_allclose(np.average(codes, axis=0, weights=weights), 0, atol=1e-6)
    np.testing.assert_allclose(np.average(codes**2, axis=0, weights=weights), 1, rtol=1e-5)
    np.testing.assert_allclose(target.predictions(codes), y, rtol=1e-12)
    np.testing.assert_allclose(
        target.encode(pd.DataFrame(y) if y.ndim == 2 else list(y)), codes
    )


def test_losses_and_score_are_those_of_scikit_learn_and_keras(case):
    target, y, codes, weights, outputs = case
    losses = target.losses(outputs, codes)
    assert losses.mean() == pytest.approx(mean_squared_error(codes, outputs))
    floats = [array.astype(np.float32) for array in (codes, outputs)]
    assert float(target.keras_loss()(*floats)) == pytest.approx(losses.mean(), rel=1e-5)
    expected = r2_score(y, target.predictions(outputs), sample_weight=weights)
    assert target.score(outputs, codes, weights) == pytest.approx(expected)
    metric = target.keras_metric()
    metric.update_state(*floats, weights)
    assert metric.name == target.metric_name == "r2"
    assert float(metric.result()) == pytest.approx(expected, rel=1e-4)
    assert np.isnan(target.score(outputs, codes, np.eye(N)[0]))
    assert np.isnan(target.score(np.full_like(outputs, np.nan), codes, weights))


def test_the_linear_head_is_ridge_regression_by_generalised_cross_validation(case):
    target, _, codes, weights, _ = case
    rows = np.random.default_rng(1).normal(size=(N, 5))
    alpha = target.choose_strength(rows, codes, weights, seed=0).best
    chosen = RidgeCV(np.logspace(-1, 5, 13)).fit(rows, codes, sample_weight=weights)
    assert alpha == chosen.alpha_
    model = target.linear_model(alpha).fit(rows, codes, sample_weight=weights)
    expected = Ridge(alpha).fit(rows, codes, sample_weight=weights).predict(rows)
    np.testing.assert_allclose(model.predict(rows), expected)


def test_splits_and_folds(case):
    target, _, codes, _, _ = case
    train, judges = target.split(codes, 6, seed=0)
    assert len(judges) == target.n_held_out(6) == 6
    assert sorted([*train, *judges]) == list(range(N))
    folds = target.folds(codes, 3, seed=0)
    assert sorted(i for _, judges in folds for i in judges) == list(range(N))
    assert len(target.folds(codes[:2], 3, seed=0)) == 2
    assert target.folds(codes[:1], 3, seed=0) == []
    assert target.n_held_out(1) == 2


def test_what_is_no_number_or_teaches_nothing_is_refused():
    ones = np.ones(3)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        Numbers.learnt([1, np.nan, 2], ones)
    with pytest.raises(ValueError, match="could not convert"):
        Numbers.learnt(["a", "b", "c"], ones)
    target, codes = Numbers.learnt([7, 7, 7], ones)
    assert target.predictions(codes).tolist() == [7, 7, 7]
    target.check(codes, ones)
    with pytest.raises(ValueError, match="y_val has 2 columns, and y 1"):
        target.encode(np.ones((3, 2)), "y_val")
    with pytest.warns(DataConversionWarning, match="column-vector"):
        Numbers.learnt([[1], [2], [3]], ones)
