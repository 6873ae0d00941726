"""The embedded backbone: a small VGG, trained on the digits 0 to 4 of scikit-learn."""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("weights.safetensors")
FILTERS = {"block1": (16, 16), "block2": (32, 32), "block3": (48, 48)}


def build(input_shape):
    """The base, without a top and with random weights; layers named as in VGG."""
    import keras

    x = inputs = keras.Input(input_shape, name="input")
    for block, filters in FILTERS.items():
        for i, n in enumerate(filters, start=1):
            x = keras.layers.Conv2D(
                n, 3, padding="same", activation="relu", name=f"{block}_conv{i}"
            )(x)
        x = keras.layers.MaxPooling2D(2, name=f"{block}_pool")(x)
    return keras.Model(inputs, x, name="tiny")
