from dataclasses import replace

import numpy as np
import pytest

from sktransfer._training.epochs import Examples
from sktransfer._training.stages import FEWEST_JUDGES, FOLDS, Stage, Training, split

TRAINING = Training(
    optimizer="adam",
    batch_size=32,
    augmentation_views=3,
    augmented=True,
    head_C=None,
    early_stopping=True,
    validation_fraction=0.1,
    n_iter_no_change=5,
    callbacks=[],
    seed=0,
    verbose=0,
)


def examples(y):
    y = np.asarray(y)
    return Examples(None, np.arange(len(y)), y, np.ones(len(y), dtype=np.float32))


def test_the_learning_rate_rises_then_falls_like_half_a_cosine():
    stage = Stage(1, None, epochs=20, learning_rate=0.1)
    rates = np.array([stage.rate(epoch) for epoch in range(20)])
    peak = rates.argmax()
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 1 <= peak <= 4
    assert 0.09 < rates[peak] <= 0.1
    assert rates[-1] < 0.001
    stopped = replace(stage, stop_after=5)  # which changes none of them
    assert [stopped.rate(epoch) for epoch in range(5)] == rates[:5].tolist()


def test_many_images_are_split_once_and_few_into_folds():
    many = examples(np.arange(10 * FEWEST_JUDGES) % 2)
    [(train, judges)] = split(many, TRAINING)
    assert len(judges) == FEWEST_JUDGES
    assert np.bincount(judges.y).tolist() == [FEWEST_JUDGES // 2] * 2
    assert sorted([*train.rows, *judges.rows]) == many.rows.tolist()
    few = examples(np.arange(60) % 2)
    folds = split(few, TRAINING)
    assert len(folds) == FOLDS
    assert sorted(row for _, judges in folds for row in judges.rows) == few.rows.tolist()


def test_a_class_of_two_images_makes_two_folds_and_of_one_image_none():
    assert len(split(examples([0] * 20 + [1] * 2), TRAINING)) == 2
    with pytest.raises(ValueError, match="least populated class"):
        split(examples([0] * 20 + [1]), TRAINING)


def test_views_are_taken_in_turn_or_a_new_one_every_epoch_or_none():
    assert [TRAINING.view(epoch) for epoch in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    assert TRAINING.views(7) == (1, 2, 3)
    fresh = replace(TRAINING, augmentation_views=None)
    assert fresh.views(4) == (1, 2, 3, 4)
    assert replace(TRAINING, augmented=False).views(4) == (0,)
    order, view = TRAINING.draw(5, n_images=50)
    assert sorted(order) == list(range(50))
    assert view == TRAINING.view(5)
    np.testing.assert_array_equal(order, TRAINING.draw(5, 50)[0])
    assert (order != TRAINING.draw(6, 50)[0]).any()
