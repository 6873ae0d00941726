"""`FineTunedConvNetRegressor`."""

import numpy as np
import pytest
from classifiers import SIZE, five_to_nine, pixels_of, regressor, stored
from sklearn.callback import ScoringMonitor
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.multioutput import MultiOutputRegressor
from sklearn.preprocessing import MinMaxScaler

from sktransfer import (
    InvalidImagesWarning,
    PretrainedFeatureTransformer,
    TrainingHistoryDisplay,
)


@pytest.fixture(scope="module")
def some(digits):
    """80 images to train on, 40 to test; the number of each is what it says, in thousands."""
    X, y = five_to_nine(digits, 120)
    return X[:80], 1000.0 * y[:80], X[80:], 1000.0 * y[80:]


def test_numbers_are_learnt_and_predicted_in_their_units(some):
    X, y, X_test, y_test = some
    fitted = regressor().fit(X, y)
    predicted = fitted.predict(X_test)
    assert (predicted.shape, predicted.dtype, fitted.n_outputs_) == ((40,), np.float64, 1)
    assert fitted.score(X_test, y_test) == r2_score(y_test, predicted) > 0.4
    assert {"loss", "r2"} < set(fitted.history_)
    by_keras = fitted.model_.predict(pixels_of(X_test), verbose=0)[:, 0]
    np.testing.assert_allclose(by_keras, predicted, atol=1)
    unaltered = regressor(unfreeze=0).fit(X, y)
    assert unaltered.history_["r2"] == [pytest.approx(unaltered.score(X, y), abs=1e-5)]


def test_the_head_is_ridge_regression_on_standardised_channels(some):
    X, y, X_test, _ = some
    fitted = regressor(unfreeze=0, augmentation=None).fit(X, y)
    features = PretrainedFeatureTransformer("tiny", input_range=(0, 16), input_size=SIZE)
    rows = features.fit_transform(X)
    channels = np.sqrt(rows.var(axis=0).reshape(-1, 48).mean(axis=0))
    channels = np.maximum(channels, 0.1 * np.sqrt(np.mean(channels**2)))
    scale = np.tile(channels, rows.shape[1] // 48)
    z = (y - y.mean()) / y.std()
    plain = RidgeCV(np.logspace(-1, 5, 13)).fit((rows - rows.mean(axis=0)) / scale, z)
    assert fitted.head_alpha_ == plain.alpha_
    expected = plain.predict((features.transform(X_test) - rows.mean(axis=0)) / scale)
    np.testing.assert_allclose(
        fitted.predict(X_test), expected * y.std() + y.mean(), atol=0.01 * y.std()
    )
    assert regressor(unfreeze=0, head_alpha=7.0).fit(X, y).head_alpha_ == 7


def test_several_numbers_at_once(some):
    X, y, X_test, y_test = some
    both, both_test = (np.column_stack([z, -z / 1e6]) for z in (y, y_test))
    fitted = regressor().fit(X, both)
    assert fitted.predict(X_test).shape == (40, 2)
    assert fitted.n_outputs_ == 2
    assert fitted.score(X_test, both_test) > 0.4
    one_by_one = MultiOutputRegressor(regressor(unfreeze=0)).fit(X, both)
    assert one_by_one.predict(X_test).shape == (40, 2)


def test_held_out_images_judge_numbers(some):
    X, y, X_val, y_val = some
    judged = regressor(early_stopping=True).fit(X, y)
    assert {"val_loss", "val_r2"} < set(judged.history_)
    own = regressor(early_stopping=True, unfreeze=0).fit(X, y, X_val=X_val, y_val=y_val)
    assert own.history_["val_r2"] == [pytest.approx(own.score(X_val, y_val), abs=1e-4)]
    climbed = regressor(early_stopping=True, unfreeze="auto").fit(X, y)
    assert climbed.history_["stage"] == [0, 1, 1]
    in_epochs = regressor(hidden_units=(8,), head_epochs=3, unfreeze=0).fit(X, y)
    assert in_epochs.head_alpha_ is None
    assert in_epochs.n_iter_ == 3


def test_searches_meta_estimators_callbacks_and_curves(some):
    import matplotlib as mpl

    mpl.use("agg")
    X, y, _, _ = some
    search = GridSearchCV(regressor(), {"unfreeze": [0, 1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.2
    assert cross_val_predict(regressor(unfreeze=0), X, y, cv=2).shape == (80,)
    scaled = TransformedTargetRegressor(regressor(unfreeze=0), transformer=MinMaxScaler())
    plain = regressor(unfreeze=0).fit(X, y).predict(X)
    np.testing.assert_allclose(scaled.fit(X, y).predict(X), plain, rtol=1e-3)
    monitor = ScoringMonitor(scoring="r2")
    fitted = regressor().set_callbacks(monitor).fit(X, y)
    assert monitor.get_logs().data[0]["r2"] == pytest.approx(fitted.score(X, y))
    assert fitted.summary().kept == (True, True)
    display = TrainingHistoryDisplay.from_estimator(fitted)
    assert display.axes_[1].get_ylabel() == "r2"


@pytest.mark.parametrize("suffix", [".joblib", ".skops"])
def test_what_is_saved_comes_back_the_same(some, tmp_path, suffix):
    X, y, X_test, _ = some
    fitted = regressor(unfreeze=1).fit(X, y)
    again = stored(fitted, tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(again.predict(X_test), fitted.predict(X_test))


def test_bad_images_have_no_number(some, tmp_path):
    X, y, _, _ = some
    images = [*X[:40], str(tmp_path / "missing.png")]
    with pytest.warns(InvalidImagesWarning, match="left out"):
        fitted = regressor(unfreeze=0, on_error="nan").fit(images, y[:41])
    with pytest.warns(InvalidImagesWarning, match="NaN"):
        predicted = fitted.predict(images)
    assert np.isnan(predicted).tolist() == [False] * 40 + [True]


def test_sample_weights_count(some):
    X, y, X_test, _ = some
    weights = np.where(np.arange(80) < 50, 1.0, 0.0)
    wild = np.where(weights > 0, y, 1e9)
    weighted = regressor(unfreeze=0, head_alpha=10.0).fit(X, wild, sample_weight=weights)
    alone = regressor(unfreeze=0, head_alpha=10.0).fit(X[:50], y[:50])
    np.testing.assert_allclose(weighted.predict(X_test), alone.predict(X_test), rtol=1e-2)
