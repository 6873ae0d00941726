import pickle

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sktransfer import (
    BadRow,
    CacheWarning,
    FineTunedConvNetClassifier,
    InvalidImagesError,
    InvalidImagesWarning,
    PretrainedFeatureTransformer,
    SktransferError,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
LABELS = [0, 1] * 6
ROWS = [BadRow(3, "cat.jpg", "does not exist"), BadRow(17, None, "is empty (0 bytes)")]


def test_an_error_about_rows_names_all_of_them():
    error = InvalidImagesError(ROWS)
    assert isinstance(error, ValueError)
    assert isinstance(error, SktransferError)
    assert error.rows == ROWS
    assert "2 rows of X" in str(error)
    assert "row 3: cat.jpg does not exist" in str(error)
    assert "row 17: is empty (0 bytes)" in str(error)


def test_an_error_about_rows_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(InvalidImagesError(ROWS)))
    assert error.rows == ROWS
    assert str(error) == str(InvalidImagesError(ROWS))


def tiny(**parameters):
    return PretrainedFeatureTransformer("tiny", pooling="avg", **parameters)


def fit_on_dark_images():
    cross_val_score(make_pipeline(tiny(), DummyClassifier()), IMAGES / 255, LABELS, cv=2)


def transform_what_is_missing():
    tiny(on_error="nan").set_output(transform="pandas").fit_transform(["missing.png"])


def transform_with_a_full_cache():
    make_pipeline(tiny(), "passthrough").fit_transform(IMAGES)


def train_too_fast():
    FineTunedConvNetClassifier(
        "tiny",
        unfreeze="all",
        head_C=1.0,
        augmentation=None,
        optimizer="sgd",
        fine_tune_learning_rate=1e20,
        fine_tune_epochs=2,
        random_state=0,
    ).fit(IMAGES, LABELS)


@pytest.mark.parametrize(
    ("act", "category"),
    [
        (fit_on_dark_images, UserWarning),
        (transform_what_is_missing, InvalidImagesWarning),
        (transform_with_a_full_cache, CacheWarning),
        (train_too_fast, ConvergenceWarning),
    ],
)
def test_a_warning_points_at_the_line_of_the_user(act, category, monkeypatch):
    if category is CacheWarning:
        monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", "1")
    with pytest.warns(category) as caught:
        act()
    ours = [warning for warning in caught if warning.category is category]
    assert {warning.filename for warning in ours} == {__file__}
    assert all(warning.lineno > act.__code__.co_firstlineno for warning in ours)
