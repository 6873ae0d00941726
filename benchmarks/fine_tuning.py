"""Fine-tuning against plain scripts: ``python -m benchmarks.fine_tuning [quick | memory]``.

Prints ratios (the plain script's time / ours), medians of interleaved rounds with their range:

- 30 epochs of the head and 30 with the top unfrozen, as the tutorials have it: MobileNet at
  224 px (200 photographs, three layers, a pooled dense head) and VGG16 at 150 px (100, random
  weights, block5, a flattened dense head), with 8 augmented views, also with what is frozen in
  bfloat16, and without augmentation;
- a search over four depths by five folds, MobileNet, augmented, and how many views of images
  it computed; then the search again with all rows there;
- twenty epochs of a dense head (flattened, 256 units) against the default head, which is
  solved, on 1,000 photographs whose rows are all there.

The plain script runs the whole network in every epoch and augments inside the model: flip,
rotation 0.1, zoom 0.2. It is timed on a warm epoch of each stage (of the search, on one fold
of each depth) and scaled, since it would take hours; ours runs in full, from an empty cache,
after a warm-up fit that builds and traces. ``quick`` takes fewer photographs, depths, folds,
and leaves bfloat16 out.

``memory``: how much more memory a fit on 2,000 photographs × 8 views needs at its peak than
one on 200, each in a process of its own.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.model_selection import GridSearchCV

from benchmarks import extraction
from benchmarks._timing import chosen, compare, show, timed
from sktransfer import FineTunedConvNetClassifier, ImageAugmentation

EPOCHS = 30
SCRIPT = "the tutorials' script, scaled from warm epochs"
TUTORIAL = ImageAugmentation(
    rotation_range=36,
    width_shift_range=0,
    height_shift_range=0,
    zoom_range=0.2,
    horizontal_flip=True,
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
    **extraction.MOBILENET,
    "unfreeze": 3,
    "pooling": "avg",
    "hidden_units": (1024,),
}
FITS = (
    ("MobileNet, 8 views", MOBILENET, True, 200),
    ("VGG16, 8 views", VGG, True, 100),
    ("VGG16, not augmented", VGG, False, 100),
    ("VGG16, 8 views, bfloat16", {**VGG, "precision": "bfloat16"}, True, 100),
)
FIRST_TRAINABLE = {
    "block5": "block5_conv1",
    0: None,
    1: "conv_pw_13",
    3: "conv_pw_12",
    6: "conv_dw_11",
}

PEAK_MEMORY = """
import resource, sys
from benchmarks._timing import chosen
from benchmarks.fine_tuning import MOBILENET, classifier
classifier({**MOBILENET, "hidden_units": ()}, True, epochs=8, cache_dir=sys.argv[2]).fit(
    *chosen(int(sys.argv[1]))
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class PlainScript:
    """What the tutorials do: the whole network in every epoch, augmented inside the model."""

    def __init__(self, parameters, augmented):
        import keras

        size = parameters["input_size"]
        if parameters["backbone"] == "vgg16":
            module = keras.applications.vgg16
            self.base = module.VGG16(input_shape=(*size, 3), include_top=False, weights=None)
        else:
            module = keras.applications.mobilenet
            self.base = module.MobileNet(
                alpha=0.75, input_shape=(*size, 3), include_top=False, weights="imagenet"
            )
        x = inputs = keras.Input((*size, 3))
        if augmented:
            x = keras.layers.RandomFlip("horizontal")(x)
            x = keras.layers.RandomZoom(0.2)(keras.layers.RandomRotation(0.1)(x))
        x = self.base(module.preprocess_input(x), training=False)
        pooling = "GlobalAveragePooling2D" if parameters["pooling"] else "Flatten"
        x = getattr(keras.layers, pooling)()(x)
        x = keras.layers.Dense(*parameters["hidden_units"], activation="relu")(x)
        self.model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.5)(x)))
        self._size = size

    def seconds(self, paths, y, unfreeze):
        """Of 30 epochs of the head and 30 from that depth on, scaled from one of each."""
        import keras

        pixels = np.stack(
            [
                keras.utils.img_to_array(keras.utils.load_img(path, target_size=self._size))
                for path in paths
            ]
        )
        total = self._seconds_of_epoch(pixels, y, None, 2e-5)
        if FIRST_TRAINABLE[unfreeze]:
            total += self._seconds_of_epoch(pixels, y, FIRST_TRAINABLE[unfreeze], 1e-5)
        return total * EPOCHS

    def _seconds_of_epoch(self, pixels, y, first_trainable, rate):
        import keras

        names = [layer.name for layer in self.base.layers]
        first = names.index(first_trainable) if first_trainable else len(names)
        self.base.trainable = True
        for i, layer in enumerate(self.base.layers):
            layer.trainable = i >= first
        self.model.compile(
            keras.optimizers.RMSprop(rate), keras.losses.BinaryCrossentropy(from_logits=True)
        )
        self.model.fit(pixels[:40], y[:40], batch_size=20, verbose=0)
        return timed(lambda: self.model.fit(pixels, y, batch_size=20, verbose=0))()


def plain(paths, y, parameters, augmented):
    return PlainScript(parameters, augmented).seconds(paths, y, parameters["unfreeze"])


def classifier(parameters, augmented, epochs=EPOCHS, **others):
    return FineTunedConvNetClassifier(
        **parameters,
        dropout=0.5,
        head_epochs=epochs,
        fine_tune_epochs=epochs,
        head_learning_rate=2e-5,
        batch_size=20,
        early_stopping=False,
        augmentation=TUTORIAL if augmented else None,
        random_state=0,
        **others,
    )


def ours(paths, y, parameters, augmented, epochs=EPOCHS):
    """Seconds of a fit from an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        fit = classifier(parameters, augmented, epochs, cache_dir=folder).fit
        return timed(lambda: fit(paths, y))()


def single_fits(fits, share, rounds):
    for name, parameters, augmented, n in fits:
        paths, y = chosen(n // share)
        ours(paths[::5], y[::5], parameters, augmented, epochs=1)  # builds and traces
        yield compare(
            f"fine-tuning, {name}, {len(paths)} photographs, 30 + 30 epochs",
            SCRIPT,
            lambda d=(paths, y, parameters, augmented): plain(*d),
            lambda d=(paths, y, parameters, augmented): ours(*d),
            rounds,
        )


def grid(paths, y, depths, folds):
    """A search from an empty cache, and the same again."""
    share = len(paths) * (folds - 1) // folds
    computed = []

    def plain_search():
        script = PlainScript(MOBILENET, augmented=True)
        return folds * sum(script.seconds(paths[:share], y[:share], depth) for depth in depths)

    def search(folder, epochs=EPOCHS):
        estimator = classifier(MOBILENET, True, epochs, cache_dir=folder)
        grid = GridSearchCV(estimator, {"unfreeze": depths}, cv=folds, refit=False)
        before = estimator.cache_info()
        elapsed = timed(lambda: grid.fit(paths, y))()
        computed.append(estimator.cache_info().misses - before.misses)
        return elapsed

    with tempfile.TemporaryDirectory() as parent:
        search(os.path.join(parent, "warm-up"), epochs=1)  # builds and traces
        folder = os.path.join(parent, "timed")
        name = f"search, {len(depths)} depths × {folds} folds, {len(paths)} photographs"
        first = compare(name, SCRIPT, plain_search, lambda: search(folder), rounds=1)
        yield first._replace(what=f"{name}: {computed[-1]:,} views of them computed")
        again = np.array([search(folder)])
        yield first._replace(
            what=f"the same search again: {computed[-1]} computed", ours=again
        )


def head(paths, y, rounds):
    with tempfile.TemporaryDirectory() as folder:
        network = {name: MOBILENET[name] for name in ("backbone", "backbone_params")}
        common = {**network, "unfreeze": 0, "cache_dir": folder, "random_state": 0}
        solved = FineTunedConvNetClassifier(**common)
        dense = FineTunedConvNetClassifier(
            **common,
            pooling=None,
            hidden_units=(256,),
            dropout=0.5,
            batch_size=32,
            early_stopping=False,
        )
        solved.fit(paths, y)
        dense.fit(paths, y)
        yield compare(
            f"the default head, {len(paths):,} photographs, rows there",
            "20 epochs of a dense head, ours too",
            timed(lambda: dense.fit(paths, y)),
            timed(lambda: solved.fit(paths, y)),
            rounds,
        )


def memory():
    peaks = []
    for n in (200, 2000):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", PEAK_MEMORY, str(n), folder]
            printed = subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout
            kept = sum(
                os.path.getsize(os.path.join(root, name))
                for root, _, names in os.walk(folder)
                for name in names
            )
        peaks.append(float(printed))
        print(f"{n} images × 8 views: peak {peaks[-1]:.0f} MB, {kept / 1e6:.0f} MB on disk")
    print(f"difference: {peaks[1] - peaks[0]:.0f} MB")


def comparisons(quick):
    rounds = 1 if quick else 3
    yield from head(*chosen(200 if quick else 1000), rounds)
    fits, share = (FITS[:-1], 3) if quick else (FITS, 1)
    yield from single_fits(fits, share, rounds)
    depths, folds = ([0, 3], 3) if quick else ([0, 1, 3, 6], 5)
    yield from grid(*chosen(40 if quick else 100), depths, folds)


if __name__ == "__main__":
    if "memory" in sys.argv:
        memory()
    else:
        show(comparisons(quick="quick" in sys.argv))
