import keras
import numpy as np
import pytest
from networks import extractor

from sktransfer._networks.info import Cut
from sktransfer._training.epochs import Batches, Examples, train_epochs


def silent(steps, text=None):
    pass


@pytest.fixture(scope="module")
def examples(digits):
    """An extractor, its cut, and 50 digits with parities and weights."""
    X, y = digits
    made, [cut] = extractor({None: "avg"}, input_range=(0, 16), cache_dir=None)
    images = made.identify(list(X[:50]))
    weights = np.linspace(0.5, 1.5, 50, dtype=np.float32)
    return made, cut, Examples(images, np.arange(50), (y[:50] % 2).astype(int), weights)


def logistic_regression():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((48,)), keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
    )
    return model


def test_batches_hold_each_image_once_and_in_order(examples):
    reader, cut, some = examples
    order = np.random.default_rng(0).permutation(50)
    batches = Batches(reader, cut, some, 16)
    assert batches.steps == 4
    rows, y, weights = zip(*batches.read(order, view=0), strict=True)
    assert [len(part) for part in rows] == [16, 16, 16, 2]
    [expected] = reader.rows(some.images, [(i, 0) for i in order], [cut])
    np.testing.assert_array_equal(np.concatenate(rows), expected)
    np.testing.assert_array_equal(np.concatenate(y)[:, 0], some.y[order])
    np.testing.assert_array_equal(np.concatenate(weights), some.weights[order])


def test_some_of_the_examples(examples):
    _, _, some = examples
    chosen = some.take(np.array([7, 3]))
    assert len(chosen) == 2
    assert chosen.images is some.images
    assert chosen.positions.tolist() == [7, 3]
    assert chosen.y.tolist() == some.y[[7, 3]].tolist()
    assert chosen.weights.tolist() == some.weights[[7, 3]].tolist()


def test_a_reader_that_fails_says_so_in_the_training(examples):
    reader, _, some = examples
    with pytest.raises(ValueError, match="not in list"):
        list(Batches(reader, Cut(3), some, 16).read(np.arange(50), 0))


def test_epochs_are_those_of_model_fit(examples):
    reader, cut, some = examples
    [rows] = reader.rows(some.images, [(i, 0) for i in range(50)], [cut])
    plain, ours = logistic_regression(), logistic_regression()
    target = some.y[:, np.newaxis].astype(np.float32)
    history = plain.fit(
        rows,
        target,
        sample_weight=some.weights,
        batch_size=16,
        epochs=3,
        shuffle=False,
        verbose=0,
    ).history
    seen = keras.callbacks.History()
    train_epochs(
        ours,
        3,
        Batches(reader, cut, some, 16),
        lambda epoch: (np.arange(50), 0),
        lambda: {"val_loss": 0.5},
        [seen],
        silent,
    )
    for a, b in zip(plain.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert seen.history.pop("val_loss") == [0.5] * 3
    assert seen.history.keys() == history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(seen.history[name], values, rtol=1e-4)


def test_callbacks_can_stop_and_see_every_batch(examples):
    reader, cut, some = examples

    class StopAfterTwo(keras.callbacks.Callback):
        steps = epochs = 0

        def on_train_batch_end(self, batch, logs):
            self.steps += 1
            assert np.isfinite(logs["loss"])

        def on_epoch_end(self, epoch, logs):
            self.epochs += 1
            self.model.stop_training = epoch == 1

    stop = StopAfterTwo()
    batches = Batches(reader, cut, some, 16)
    train_epochs(
        logistic_regression(),
        9,
        batches,
        lambda epoch: (np.arange(50), 0),
        None,
        [stop],
        silent,
    )
    assert (stop.epochs, stop.steps) == (2, 8)
