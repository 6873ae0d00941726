from dataclasses import replace

import numpy as np

from sktransfer._training.run import Settings
from sktransfer._training.stages import TrainedStage

SETTINGS = Settings(
    optimizer="adam",
    batch_size=32,
    augmentation_views=3,
    augmented=True,
    head_strength=None,
    climbs=False,
    early_stopping=True,
    validation_fraction=0.1,
    n_iter_no_change=5,
    callbacks=[],
    seed=0,
    verbose=0,
)


def test_the_learning_rate_rises_then_falls_like_half_a_cosine():
    stage = TrainedStage(1, None, epochs=20, learning_rate=0.1)
    rates = np.array([stage.rate(epoch) for epoch in range(20)])
    peak = rates.argmax()
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 1 <= peak <= 4
    assert 0.09 < rates[peak] <= 0.1
    assert rates[-1] < 0.001
    stopped = replace(stage, stop_after=5)  # which changes none of them
    assert [stopped.rate(epoch) for epoch in range(5)] == rates[:5].tolist()
    assert (stage.n_epochs, stopped.n_epochs) == (20, 5)


def test_views_are_taken_in_turn_or_a_new_one_every_epoch_or_none():
    assert [SETTINGS.view(epoch) for epoch in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    assert SETTINGS.views(7) == (1, 2, 3)
    fresh = replace(SETTINGS, augmentation_views=None)
    assert fresh.views(4) == (1, 2, 3, 4)
    assert replace(SETTINGS, augmented=False).views(4) == (0,)


def test_the_order_of_images_depends_on_the_seed_and_the_epoch_alone():
    order = SETTINGS.order(5, n_images=50)
    assert sorted(order) == list(range(50))
    np.testing.assert_array_equal(order, SETTINGS.order(5, 50))
    assert (order != SETTINGS.order(6, 50)).any()
    assert (order != replace(SETTINGS, seed=1).order(5, 50)).any()
