"""Fine-tuning as a good practitioner writes it in Keras, in a process of its own.

The whole network is trained, BatchNorm frozen, with Adam: its rate rises to 1e-4 over two
epochs and falls like half a cosine over the others, of 20 in all. Images are turned, shifted
and zoomed as `sktransfer.ImageAugmentation` does by default, inside the model.

``python -m benchmarks.plain_tuning`` reads a job from standard input, a line of JSON: the
network's name, paths and codes to train on, paths to test on, and a seed. It answers with a
line of JSON: the probabilities of each class, and the seconds that training and testing took.
sktransfer is not imported here, so that TensorFlow runs with its own settings.
"""

import json
import math
import os
import subprocess
import sys
import time

from benchmarks.plain import AS_STARTED, SETTING, decoded

EPOCHS, WARM_UP, BATCH, RATE = 20, 2, 32, 1e-4
SIZE = (224, 224)


def tune(network, draw, seed):
    """Probabilities of the test images of a draw, and seconds, from a new process."""
    codes = {label: i for i, label in enumerate(sorted(set(draw.y)))}
    job = [network, list(draw.X), [codes[label] for label in draw.y], list(draw.X_test), seed]
    others = {name: os.environ[name] for name in os.environ if name != SETTING}
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.plain_tuning"],
        input=json.dumps(job),
        env={**others, **AS_STARTED, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


def base(network):
    """A network without its top, for pixels from 0 to 255."""
    import keras

    if network == "EfficientNet-Lite0":
        folder = os.environ["SKTRANSFER_TEST_DATA"]
        return keras.models.load_model(f"{folder}/networks/efficientnet_lite0.keras")
    inputs = keras.Input((*SIZE, 3))
    mobilenet = keras.applications.MobileNet(
        alpha=0.75, input_shape=(*SIZE, 3), include_top=False, weights="imagenet"
    )
    return keras.Model(inputs, mobilenet(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))


def model_on(network, n_classes):
    """The network, with augmentation below and a new head above."""
    import keras

    x = inputs = keras.Input((*SIZE, 3))
    x = keras.layers.RandomRotation(10 / 360, fill_mode="nearest")(x)
    x = keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest")(x)
    x = keras.layers.RandomZoom((-0.1, 0.1), (-0.1, 0.1), fill_mode="nearest")(x)
    x = base(network)(x)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return model


def rate(epoch, _):
    """The learning rate of an epoch."""
    if epoch < WARM_UP:
        return RATE * (epoch + 1) / (WARM_UP + 1)
    return RATE * (1 + math.cos(math.pi * (epoch - WARM_UP) / (EPOCHS - WARM_UP))) / 2


def serve():
    import keras
    import numpy as np

    network, X, y, X_test, seed = json.loads(sys.stdin.readline())
    started = time.perf_counter()
    keras.utils.set_random_seed(seed)
    model = model_on(network, len(set(y)))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        decoded(X, SIZE),
        np.array(y),
        batch_size=BATCH,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[keras.callbacks.LearningRateScheduler(rate)],
    )
    probabilities = model.predict(decoded(X_test, SIZE), verbose=0)
    print(json.dumps([probabilities.tolist(), time.perf_counter() - started]))


if __name__ == "__main__":
    serve()
