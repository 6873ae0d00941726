"""
From 40 lines to 8
==================

What a tutorial of transfer learning does by hand, and the same with this package.
"""

# %%
# 100 images of digits. The network was trained on other digits. (A tutorial would download
# VGG16 here. We take the small network of this package out of a fitted classifier.)

import keras
import numpy as np
from sklearn.datasets import load_digits

from sktransfer import FineTunedConvNetClassifier

X, y = load_digits(return_X_y=True)
other = FineTunedConvNetClassifier("tiny", input_range=(0, 16), unfreeze=0, random_state=0)
whole = other.fit(X[y < 5].reshape(-1, 8, 8)[:100], y[y < 5][:100]).model_
base = keras.Model(whole.input, whole.get_layer("block3_pool").output)

X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]
X_train, y_train, X_test, y_test = X[:100], y[:100], X[100:], y[100:]

# %%
# By hand
# -------
# First the images: three channels, the size that the network takes, and the range of its
# pixels. Then labels become numbers from 0. Each step is easy to forget.

keras.utils.set_random_seed(0)
classes, codes = np.unique(y_train, return_inverse=True)


def prepare(images):
    pixels = np.repeat(images[..., np.newaxis], 3, axis=-1) * (255 / 16)
    pixels = keras.ops.image.resize(pixels, (32, 32), interpolation="bilinear")
    return keras.ops.convert_to_numpy(pixels)


# %%
# Some images are held out, and must not be augmented.

order = np.random.default_rng(0).permutation(len(X_train))
held_out, trained = order[:20], order[20:]
augment = keras.Sequential(
    [
        keras.layers.RandomRotation(10 / 360, fill_mode="nearest"),
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomZoom(0.1, fill_mode="nearest"),
    ]
)
inputs = keras.Input((32, 32, 3))

# %%
# The head is trained on the frozen network. ``training=False`` keeps BatchNorm as it is.

base.trainable = False
features = keras.layers.Flatten()(base(augment(inputs), training=False))
features = keras.layers.Dropout(0.2)(features)
outputs = keras.layers.Dense(len(classes), activation="softmax")(features)
model = keras.Model(inputs, outputs)


def train(rate, epochs):
    model.compile(
        optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy"
    )
    model.fit(
        prepare(X_train[trained]),
        codes[trained],
        batch_size=16,
        epochs=epochs,
        validation_data=(prepare(X_train[held_out]), codes[held_out]),
        callbacks=[keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)],
        verbose=0,
    )


train(rate=1e-3, epochs=20)

# %%
# Then the upper layers are trained along, with a low rate. The model must be compiled again.

base.trainable = True
for layer in base.layers:
    is_upper = layer.name.startswith("block3")
    layer.trainable = is_upper and not isinstance(layer, keras.layers.BatchNormalization)
train(rate=1e-4, epochs=15)

predicted = classes[model.predict(prepare(X_test), verbose=0).argmax(axis=1)]
by_hand = np.mean(predicted == y_test)
print(f"by hand: {by_hand:.3f}")

# %%
# With this package
# -----------------

classifier = FineTunedConvNetClassifier(
    "tiny",
    input_range=(0, 16),
    unfreeze="block3",
    random_state=0,
)
classifier.fit(X_train, y_train)
print(f"with sktransfer: {classifier.score(X_test, y_test):.3f}")

# %%
# It takes the labels as they are, can be searched and cross-validated, and is saved with
# joblib. And a second fit, with another depth or another rate, finds what the frozen part of
# the network made of the images on the disk.
