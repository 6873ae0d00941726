import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer

COMMON = {"input_range": (0, 16), "input_size": (16, 16)}
N_FEATURES = 2 * 2 * 48


def frozen(**parameters):
    defaults = {"pooling": None, "unfreeze": 0, "augmentation": None, "random_state": 0}
    return FineTunedConvNetClassifier("tiny", **COMMON, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def some(digits):
    X, y = digits
    return X[:150], y[:150], X[150:200]


@pytest.mark.parametrize("pooling", [None, "avg"])
@pytest.mark.parametrize("classes", [2, 10])
def test_it_is_logistic_regression_on_standardised_channels(some, pooling, classes):
    X, y, X_test = some
    y = y % classes
    weights = np.random.default_rng(0).uniform(0, 2, len(y))
    ours = frozen(pooling=pooling, head_C=0.01).fit(X, y, sample_weight=weights)
    features = PretrainedFeatureTransformer("tiny", pooling=pooling, **COMMON)
    rows = features.fit_transform(X)
    variances = StandardScaler().fit(rows, sample_weight=weights).var_
    channels = np.sqrt(variances.reshape(-1, 48).mean(axis=0))
    channels = np.maximum(channels, 0.1 * np.sqrt(np.mean(channels**2)))  # one is never active
    scale = np.tile(channels, rows.shape[1] // 48)
    plain = LogisticRegression(C=0.01, tol=1e-6, max_iter=1000)
    plain.fit(rows / scale, y, sample_weight=weights)
    expected = plain.predict_proba(features.transform(X_test) / scale)
    np.testing.assert_allclose(ours.predict_proba(X_test), expected, atol=2e-3)
    assert ours.head_C_ == 0.01
    assert ours.head_views_ == (0,)
    assert ours.history_["stage"] == [0]


def test_the_strength_is_chosen_by_held_out_images(some):
    X, y, _ = some
    fitted = frozen().fit(X, y)
    assert fitted.head_C_ in (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
    noise = frozen().fit(X, np.random.default_rng(0).integers(0, 2, len(y)))
    assert noise.head_C_ < fitted.head_C_


def test_it_sees_the_images_and_all_their_views(some):
    X, y = some[0][:50], some[1][:50]
    views = {"augmentation": "default", "augmentation_views": 4, "head_C": 0.01}
    assert frozen(**views).fit(X, y).head_views_ == (0, 1, 2, 3, 4)
    fresh = frozen(**{**views, "augmentation_views": None}, head_epochs=2)
    assert fresh.fit(X, y).head_views_ == (0, 1, 2)


def test_memory_bounds_the_views_and_then_the_method(some):
    X, y, X_test = some[0][:50], some[1][:50], some[2]
    views = {"augmentation": "default", "augmentation_views": 4, "head_C": 0.01}
    one_view = 50 * N_FEATURES * 12 / 2**20
    with sklearn.config_context(working_memory=2.5 * one_view):
        assert frozen(**views).fit(X, y).head_views_ == (0, 1)
    with sklearn.config_context(working_memory=0.5 * one_view):
        in_batches = frozen(**views, head_epochs=3).fit(X, y)
    assert in_batches.head_views_ == ()
    assert in_batches.head_C_ is None
    assert in_batches.history_["stage"] == [0, 0, 0]
    assert in_batches.predict(X_test).shape == (50,)


def test_a_class_of_one_image_is_no_obstacle(some):
    X, y, _ = some
    y = np.where(np.arange(len(y)) == 3, 77, y)
    fitted = frozen().fit(X, y)
    assert fitted.predict(X[3:4]) == 77
