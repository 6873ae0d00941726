"""Make the weights of the embedded backbone: ``python -m sktransfer._tiny.train [FILE]``.

Trains on the digits 0 to 4 of scikit-learn, slightly turned, shifted and zoomed, and prints
two accuracies: on held-out digits 0 to 4, and that of the transfer it is made for: digits 5
to 9 from 10 labelled images a class. Takes about two minutes on 2 cores.
"""

import sys

import keras
import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer._decoding import decode
from sktransfer._tiny import WEIGHTS, build

SIZE = (32, 32)
EPOCHS = 60


def pixels(digits):
    """The digits as the backbone is given them: upsampled, from -1 to 1."""
    return np.stack([decode(d, SIZE, (0, 16)) for d in digits]) / 127.5 - 1


def train(x, y):
    keras.utils.set_random_seed(0)
    base = build((*SIZE, 3))
    augmented = inputs = keras.Input((*SIZE, 3))
    for layer in (
        keras.layers.RandomRotation(0.05, fill_mode="nearest"),
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomZoom(0.15, fill_mode="nearest"),
    ):
        augmented = layer(augmented)
    head = keras.layers.Dropout(0.5)(keras.layers.Flatten()(base(augmented)))
    head = keras.layers.Dense(5)(head)
    model = keras.Model(inputs, head)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * (len(x) // 32 + 1))
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-2),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, label_smoothing=0.1
        )
        if False
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=32, epochs=EPOCHS, verbose=0)
    return base, model


def transfer_accuracy(features, y, classifier):
    """Mean and spread over ten draws of 10 images a class."""
    splits = StratifiedShuffleSplit(10, train_size=50, random_state=0)
    scores = [
        classifier.fit(features[a], y[a]).score(features[b], y[b])
        for a, b in splits.split(features, y)
    ]
    return f"{np.mean(scores):.4f} ± {np.std(scores):.4f}"


def main(file=WEIGHTS):
    digits, y = load_digits(return_X_y=True)
    x = pixels(digits.reshape(-1, 8, 8))
    low = y < 5
    x_train, x_test, y_train, y_test = train_test_split(
        x[low], y[low], test_size=0.2, stratify=y[low], random_state=0
    )
    base, model = train(x_train, y_train)
    save_file({w.path: np.asarray(w) for w in base.weights}, file)
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    print(f"digits 0-4, held out: {accuracy:.4f}")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    features = base.predict(x[~low], verbose=0).reshape(sum(~low), -1)
    print("digits 5-9, 10 a class:")
    print("  features:  ", transfer_accuracy(features, y[~low], classifier))
    print("  raw pixels:", transfer_accuracy(digits[~low], y[~low], classifier))
    return base, x, y, low


if __name__ == "__main__":
    main(*sys.argv[1:])
