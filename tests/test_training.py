"""Training on rows against plain Keras, which runs the whole network in every step."""

import logging

import keras
import numpy as np
from scipy.special import expit, softmax

from sktransfer import FineTunedConvNetClassifier
from sktransfer._images.decoding import decode
from sktransfer._images.sources import content_of
from sktransfer._networks.source import source_of
from sktransfer._training.suffix import initial_head

SEED = int(np.random.RandomState(0).randint(2**31 - 1))  # what random_state=0 comes to
RECIPE = {
    "unfreeze": 3,
    "batch_size": 32,
    "hidden_units": (16,),
    "dropout": 0.0,
    "augmentation": None,
    "head_epochs": 1,
    "fine_tune_epochs": 2,
    "optimizer": "rmsprop",
    "early_stopping": False,
    "random_state": 0,
}
RATES = (1e-3, 1e-5)  # of the head, then of fine-tuning


class ConstantRates(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        head_alone = not any(layer.name.startswith(("block", "conv")) for layer in self.layers)
        self.model.optimizer.learning_rate = RATES[0 if head_alone else 1]

    @property
    def layers(self):
        return self.model.layers[1:]


def whole_network(source, reduce, n_outputs):
    """The base and a head with the weights that ours begins with."""
    base = keras.models.clone_model(source)
    base.set_weights(source.get_weights())
    top = [reduce, keras.layers.Dense(16, "relu"), keras.layers.Dense(n_outputs)]
    x = base.outputs[0]
    for layer in top:
        x = layer(x)
    shapes = [weight.shape for layer in top for weight in layer.weights]
    weights = initial_head(shapes, np.random.default_rng([SEED, 0]))
    top[1].set_weights(weights[:2])
    top[2].set_weights(weights[2:])
    return keras.Model(base.inputs[0], x), base.layers


def train(model, base, first_trainable, loss, pixels, codes):
    """An epoch of the head, two with the top layers but for BatchNorm; how much changed."""
    done = 0
    for epochs, rate, first in ((1, RATES[0], None), (2, RATES[1], first_trainable)):
        free = False
        for layer in base:
            free = free or layer.name == first
            layer.trainable = free and not isinstance(layer, keras.layers.BatchNormalization)
        model.compile(keras.optimizers.RMSprop(rate), loss)
        before = model.get_weights()
        for _ in range(epochs):
            order = np.random.default_rng([SEED, 1, done]).permutation(len(codes))
            for start in range(0, len(codes), 32):
                chosen = order[start : start + 32]
                model.train_on_batch(pixels[chosen], codes[chosen])
            done += 1
    return sum(
        not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)
    )


def test_training_on_rows_is_training_the_whole_network(digits):
    X, y = digits
    chosen = np.flatnonzero(y >= 5)
    X, y, X_test = X[chosen[:80]], y[chosen[:80]], X[chosen[80:120]]
    fitted = FineTunedConvNetClassifier(
        "tiny", input_range=(0, 16), **RECIPE, keras_callbacks=[ConstantRates()]
    ).fit(X, y)
    pixels, test = (
        np.stack([decode(x, (32, 32), (0, 16)) for x in images]) / 127.5 - 1
        for images in (X, X_test)
    )
    model, base = whole_network(source_of("tiny").build().model, keras.layers.Flatten(), 5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert train(model, base, "block2_conv2", loss, pixels, y - 5) == 10
    for a, b in zip(model.get_weights(), fitted.model_.get_weights(), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a)
    expected = softmax(model.predict(test, verbose=0), axis=1)
    np.testing.assert_allclose(fitted.predict_proba(X_test), expected, atol=1e-4)


def test_a_folded_prefix_gives_the_same_probabilities(photographs, data_folder):
    """MobileNet below the cut has its BatchNorm folded, and rounds otherwise."""
    chosen = np.random.default_rng(0).permutation(2002)[:80]
    X, y = photographs[0][chosen], (photographs[1][chosen] == "dogs").astype(int)
    weights = data_folder / "keras_home/models/mobilenet_7_5_224_tf_no_top.h5"
    fitted = FineTunedConvNetClassifier(
        "mobilenet",
        weights=weights,
        backbone_params={"alpha": 0.75},
        input_size=(96, 96),
        **RECIPE,
        pooling="avg",
        keras_callbacks=[ConstantRates()],
    ).fit(X[:64], y[:64])
    pixels = np.stack([decode(content_of(path), (96, 96), (0, 255)) for path in X]) / 127.5 - 1
    source = keras.applications.MobileNet(
        alpha=0.75, include_top=False, weights=weights, input_shape=(96, 96, 3)
    )
    model, base = whole_network(source, keras.layers.GlobalAveragePooling2D(), 1)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    trained = train(model, base, "conv_pw_12", loss, pixels[:64], y[:64])
    assert trained == 3 + 4  # kernels without bias, and the head
    expected = expit(model.predict(pixels[64:], verbose=0))
    got = fitted.predict_proba(X[64:])[:, 1:]
    assert got.std() > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_fits_of_many_heads_are_no_repeated_tracing_to_tensorflow(digits, caplog):
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        for units in range(4, 11):  # TensorFlow warns at the fifth
            classifier = FineTunedConvNetClassifier(
                "tiny",
                input_range=(0, 16),
                unfreeze=0,
                hidden_units=(units,),
                head_epochs=1,
                early_stopping=False,
                augmentation=None,
            )
            classifier.fit(digits[0][:20], digits[1][:20] % 2).predict(digits[0][:2])
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records
