"""Make the embedded weights: ``python -m benchmarks.tiny [FILE]``.

Trains on the digits 0 to 4 of scikit-learn, slightly turned, shifted and zoomed. Mirrored,
upside-down and transposed digits are classes of their own, which makes features that know
more of strokes than five classes would ask for. Prints two accuracies: on held-out digits 0
to 4, and that of the transfer it is made for, digits 5 to 9 from 10 labelled images a class.
Takes about two minutes on 2 cores.
"""

import sys

import keras
import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score, train_test_split

from sktransfer._images.decoding import decode
from sktransfer._networks.tiny import WEIGHTS, build

SIZE = (32, 32)
EPOCHS = 20
BATCH_SIZE = 32


def pixels(digits):
    """The digits as the backbone is given them: upsampled, from -1 to 1."""
    return np.stack([decode(digit, SIZE, (0, 16)) for digit in digits]) / 127.5 - 1


def with_mirror_images(x, y):
    """Four times as many images, of four times as many classes."""
    images = [x, x[:, :, ::-1], x[:, ::-1], x.transpose(0, 2, 1, 3)]
    return np.concatenate(images), np.concatenate([y + 5 * i for i in range(4)])


def train(x, y):
    """The base, and the whole classifier around it."""
    base = build((*SIZE, 3))
    hidden = inputs = keras.Input((*SIZE, 3))
    for layer in (
        keras.layers.RandomRotation(0.05, fill_mode="nearest"),
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomZoom(0.15, 0.15, fill_mode="nearest"),
        base,
        keras.layers.Flatten(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(int(y.max()) + 1),
    ):
        hidden = layer(hidden)
    model = keras.Model(inputs, hidden)
    steps = EPOCHS * (len(x) // BATCH_SIZE + 1)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(2e-3, steps), 1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    return base, model


def transfer_accuracy(features, y):
    """Mean and spread over ten draws of 10 images a class."""
    splits = StratifiedShuffleSplit(10, train_size=50, random_state=0)
    scores = cross_val_score(LogisticRegression(max_iter=5000), features, y, cv=splits)
    return f"{scores.mean():.3f} ± {scores.std():.3f}"


def main(file=WEIGHTS):
    keras.utils.set_random_seed(0)
    digits, y = load_digits(return_X_y=True)
    x, known = pixels(digits.reshape(-1, 8, 8)), y < 5
    x_train, x_test, y_train, y_test = train_test_split(
        x[known], y[known], test_size=0.2, stratify=y[known], random_state=0
    )
    base, model = train(*with_mirror_images(x_train, y_train))
    save_file({weight.path: np.asarray(weight) for weight in base.weights}, file)
    accuracy = np.mean(model.predict(x_test, verbose=0)[:, :5].argmax(1) == y_test)
    print(f"digits 0 to 4, held out:  {accuracy:.3f}")
    features = base.predict(x[~known], verbose=0).reshape(sum(~known), -1)
    print("digits 5 to 9, 10 images a class:")
    print("  features  ", transfer_accuracy(features, y[~known]))
    print("  raw pixels", transfer_accuracy(digits[~known], y[~known]))


if __name__ == "__main__":
    main(*sys.argv[1:])
