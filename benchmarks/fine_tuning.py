"""Fine-tuning against the plain script: ``python -m benchmarks.fine_tuning [quick]``.

Prints ratios (the plain script's time / ours) for 200 images, 30 epochs of the head and 30
with the top unfrozen, each as the tutorials have it: VGG16 at 150 px (random weights, block5,
a flattened dense head) with 8 augmented views and without augmentation, and MobileNet at
224 px (three layers, a pooled dense head).

The plain script runs the whole network in every epoch and augments inside the model: flip,
rotation 0.1, zoom 0.2. It is timed on warm epochs of each stage and scaled to 30, since it
would take most of an hour; ours runs in full, from an empty cache, after a warm-up fit that
builds and traces. Both run in turn, in one process. Takes about twenty minutes on 2 cores.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks._timing import interleave, photographs, report
from sktransfer import FineTunedConvNetClassifier, ImageAugmentation

IMAGES, EPOCHS, WARM_EPOCHS = 200, 30, 1
TUTORIAL = ImageAugmentation(
    rotation_range=36, width_shift_range=0, height_shift_range=0, zoom_range=0.2
)
VGG = {
    "backbone": "vgg16",
    "weights": None,
    "input_size": (150, 150),
    "unfreeze": "block5",
    "pooling": None,
    "hidden_units": (256,),
}
MOBILENET = {
    "backbone": "mobilenet",
    "backbone_params": {"alpha": 0.75},
    "input_size": (224, 224),
    "unfreeze": 3,
    "pooling": "avg",
    "hidden_units": (1024,),
}


def plain(paths, y, parameters, augmented):
    """Seconds of 30 + 30 epochs of plain Keras, scaled from warm epochs of each stage."""
    import keras

    size = parameters["input_size"]
    pixels = np.stack(
        [keras.utils.img_to_array(keras.utils.load_img(p, target_size=size)) for p in paths]
    )
    if parameters["backbone"] == "vgg16":
        base = keras.applications.VGG16(
            input_shape=(*size, 3), include_top=False, weights=None
        )
        preprocess, first = keras.applications.vgg16.preprocess_input, "block5_conv1"
    else:
        base = keras.applications.MobileNet(
            alpha=0.75, input_shape=(*size, 3), include_top=False, weights="imagenet"
        )
        preprocess, first = keras.applications.mobilenet.preprocess_input, "conv_pw_12"
    hidden = inputs = keras.Input((*size, 3))
    if augmented:
        for layer in (
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(0.1),
            keras.layers.RandomZoom(0.2),
        ):
            hidden = layer(hidden)
    pool = (
        keras.layers.GlobalAveragePooling2D if parameters["pooling"] else keras.layers.Flatten
    )
    hidden = pool()(base(preprocess(hidden), training=False))
    [units] = parameters["hidden_units"]
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(units, activation="relu")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    total = 0.0
    for rate, trainable in ((2e-5, False), (1e-5, True)):
        base.trainable = trainable
        free = False
        for layer in base.layers:
            free = free or layer.name == first
            layer.trainable = trainable and free
        model.compile(
            keras.optimizers.RMSprop(rate), keras.losses.BinaryCrossentropy(from_logits=True)
        )
        fit = {"batch_size": 20, "verbose": 0}
        model.fit(pixels[:40], y[:40], epochs=1, **fit)
        started = time.perf_counter()
        model.fit(pixels, y, epochs=WARM_EPOCHS, **fit)
        total += (time.perf_counter() - started) * EPOCHS / WARM_EPOCHS
    return total


def ours(paths, y, parameters, augmented, epochs=EPOCHS):
    """Seconds of a fit from an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        classifier = FineTunedConvNetClassifier(
            **parameters,
            dropout=0.5,
            head_epochs=epochs,
            fine_tune_epochs=epochs,
            head_learning_rate=2e-5,
            batch_size=20,
            early_stopping=False,
            augmentation=TUTORIAL if augmented else None,
            cache_dir=folder,
            random_state=0,
        )
        started = time.perf_counter()
        classifier.fit(paths, y)
        return time.perf_counter() - started


def main(mode="full"):
    rounds = 1 if mode == "quick" else 3
    paths, labels = photographs()
    chosen = np.linspace(0, len(paths) - 1, IMAGES).astype(int)
    paths, y = [paths[i] for i in chosen], (labels[chosen] == "dogs").astype(int)
    print(f"{'':42} ratio  [range]          plain      ours")
    for name, parameters, augmented in (
        ("MobileNet 224 px, 8 views", MOBILENET, True),
        ("VGG16 150 px, 8 views", VGG, True),
        ("VGG16 150 px, not augmented", VGG, False),
    ):
        ours(paths[::10], y[::10], parameters, augmented, epochs=1)
        times = interleave(
            rounds,
            lambda p=parameters, a=augmented: plain(paths, y, p, a),
            lambda p=parameters, a=augmented: ours(paths, y, p, a),
        )
        report(name, *times)


if __name__ == "__main__":
    main(*sys.argv[1:])
