"""How busy the device is kept: ``python -m benchmarks.gpu [N_IMAGES]``.

For the backend that ``KERAS_BACKEND`` names, on a GPU if it finds one, else on the CPU, with
MobileNet (α 0.75, 224 px, random weights), in images a second:

- extraction: `transform` of decoded images, nothing kept, against Keras' `predict` on
  preprocessed tensors that are there;
- fine-tuning of half of the network: epochs of a fit whose rows are all kept, against Keras'
  `fit` of the same layers on tensors that are there.

Without a GPU it is a test of itself, and tells backends apart. Needs no data, and no more
than ten minutes.
"""

import sys
import tempfile
import time

import keras
import numpy as np

from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
from sktransfer._runtime.devices import gpu

SIZE = (224, 224)
NETWORK = {"backbone": "mobilenet", "backbone_params": {"alpha": 0.75}, "weights": None}
HALF = "conv_pw_6_relu"  # the last layer below the trained half
EPOCHS = 4  # of which the first, which compiles, does not count


class Clock(keras.callbacks.Callback):
    """Notes the seconds of each epoch, in one list: a fit copies its callbacks."""

    seconds = []  # noqa: RUF012

    def on_epoch_begin(self, epoch, logs=None):
        self._since = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._since)


def plain_network():
    return keras.applications.MobileNet(
        alpha=0.75, weights=None, include_top=False, input_shape=(*SIZE, 3), pooling="avg"
    )


def extraction(images, batch_size):
    """Seconds that `predict` takes on tensors, and `transform` on images."""
    network = plain_network()
    tensors = np.float32(images) / 127.5 - 1
    ours = PretrainedFeatureTransformer(
        **NETWORK, input_size=SIZE, pooling="avg", cache_dir=None
    ).fit(images[:1])
    ways = (
        lambda: network.predict(tensors, batch_size=batch_size, verbose=0),
        lambda: ours.transform(images),
    )
    return [_second_time(way) for way in ways]


def _second_time(way):
    way()  # which compiles
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def fine_tuning(images, labels, batch_size):
    """Seconds of an epoch of Keras' `fit` on tensors, and of ours on kept rows."""
    network = plain_network()
    below = network.get_layer(HALF).output
    top = keras.models.clone_model(keras.Model(below, network.outputs[0]))
    for layer in top.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    model = keras.Sequential([top, keras.layers.Dense(1)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    rows = np.random.default_rng(0).random((len(images), *below.shape[1:]), np.float32)
    model.fit(
        rows, labels, batch_size=batch_size, epochs=EPOCHS, callbacks=[Clock()], verbose=0
    )
    with tempfile.TemporaryDirectory() as cache:
        FineTunedConvNetClassifier(
            **NETWORK,
            input_size=SIZE,
            unfreeze=0.5,
            augmentation=None,
            early_stopping=False,
            fine_tune_epochs=EPOCHS,
            batch_size=batch_size,
            keras_callbacks=[Clock()],
            cache_dir=cache,
        ).fit(images, labels)
    plain, ours = Clock.seconds[:EPOCHS], Clock.seconds[-EPOCHS:]
    return [min(seconds[1:]) for seconds in (plain, ours)]


def main(n_images):
    device = gpu()
    images = np.random.default_rng(0).integers(0, 256, (n_images, *SIZE, 3), np.uint8)
    labels = np.arange(n_images) % 2
    print(f"{keras.config.backend()} on {device or 'the CPU'}, {n_images} images")
    print("| work | Keras, images/s | ours, images/s | ours / Keras |")
    print("|---|---|---|---|")
    for work, seconds in (
        ("extraction", extraction(images, 128 if device else 32)),
        ("fine-tuning half", fine_tuning(images, labels, 128 if device else 16)),
    ):
        plain, ours = (n_images / s for s in seconds)
        print(f"| {work} | {plain:,.0f} | {ours:,.0f} | {ours / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4096 if gpu() else 64)
