"""Fine-tuning against plain scripts: ``python -m benchmarks.fine_tuning [MODE]``.

Prints ratios (the plain script's time / ours) for 200 images, 30 epochs of the head and 30
with the top unfrozen, each as the tutorials have it: VGG16 at 150 px (random weights, block5,
a flattened dense head) with 8 augmented views and without augmentation, and MobileNet at
224 px (three layers, a pooled dense head). ``quick`` runs one round instead of three.

The plain script runs the whole network in every epoch and augments inside the model: flip,
rotation 0.1, zoom 0.2. It is timed on a warm epoch of each stage and scaled to 30, since it
would take most of an hour; ours runs in full, from an empty cache, after a warm-up fit that
builds and traces; what that start costs is printed apart. Both run in turn, in one process.
Takes about half an hour on 2 cores.

``grid``: a search over four depths by five folds, MobileNet, augmented, 200 images, from an
empty cache against the same by plain scripts, of which one fold of each depth is timed and
scaled; then the search again with all rows there. Prints what each computed. A number after
``grid`` is that of rounds, of six minutes each; three unless told.

``head``: twenty epochs of a dense head (flattened, 256 units) against the default head, which
is solved, on 1,000 photographs whose rows are all there.

``memory``: how much more memory a fit on 2,000 photographs × 8 views needs at its peak than
one on 200, each in a process of its own.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.model_selection import GridSearchCV

from benchmarks._timing import interleave, photographs, report, seconds
from sktransfer import FineTunedConvNetClassifier, ImageAugmentation

IMAGES, EPOCHS, FOLDS = 200, 30, 5
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
    "backbone": "mobilenet",
    "backbone_params": {"alpha": 0.75},
    "input_size": (224, 224),
    "unfreeze": 3,
    "pooling": "avg",
    "hidden_units": (1024,),
}
FIRST_TRAINABLE = {
    "block5": "block5_conv1",
    0: None,
    1: "conv_pw_13",
    3: "conv_pw_12",
    6: "conv_dw_11",
}

PEAK_MEMORY = """
import resource, sys
from benchmarks.fine_tuning import MOBILENET, chosen, classifier
classifier({**MOBILENET, "hidden_units": ()}, True, epochs=8, cache_dir=sys.argv[2]).fit(
    *chosen(int(sys.argv[1]))
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def chosen(n):
    """So many photographs of both classes, and their classes as integers."""
    paths, labels = photographs()
    some = np.linspace(0, len(paths) - 1, n).astype(int)
    return [paths[i] for i in some], (labels[some] == "dogs").astype(int)


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
        return seconds(lambda: self.model.fit(pixels, y, batch_size=20, verbose=0))


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
        return seconds(lambda: fit(paths, y))


def single_fits(rounds):
    paths, y = chosen(IMAGES)
    for name, parameters, augmented in (
        ("MobileNet 224 px, 8 views", MOBILENET, True),
        ("VGG16 150 px, 8 views", VGG, True),
        ("VGG16 150 px, not augmented", VGG, False),
    ):
        start = ours(paths[::10], y[::10], parameters, augmented, epochs=1)
        print(f"{name}: {start:.1f} s to build, trace and fit 20 images once", flush=True)
        times = interleave(
            rounds,
            lambda p=parameters, a=augmented: plain(paths, y, p, a),
            lambda p=parameters, a=augmented: ours(paths, y, p, a),
        )
        report(name, *times)


def grid(rounds):
    paths, y = chosen(IMAGES)
    depths = [0, 1, 3, 6]
    share = len(paths) * (FOLDS - 1) // FOLDS

    def plain_grid():
        script = PlainScript(MOBILENET, augmented=True)
        per_fold = sum(script.seconds(paths[:share], y[:share], depth) for depth in depths)
        print(f"  plain search: {FOLDS * per_fold:.0f} s", flush=True)
        return FOLDS * per_fold

    def search(folder, epochs=EPOCHS):
        estimator = classifier(MOBILENET, True, epochs, cache_dir=folder)
        before = estimator.cache_info()
        started = time.perf_counter()
        GridSearchCV(estimator, {"unfreeze": depths}, cv=FOLDS, refit=False).fit(paths, y)
        elapsed = time.perf_counter() - started
        misses = estimator.cache_info().misses - before.misses
        print(f"  search: {elapsed:.0f} s, {misses} views of images computed", flush=True)
        return elapsed

    views = 9 * len(paths)
    print(
        f"  {len(paths)} images in 8 views and unaltered: {views}; 4 sets of cuts: {4 * views}"
    )
    with tempfile.TemporaryDirectory() as parent:
        search(parent, epochs=1)  # builds and traces
        folders = (os.path.join(parent, str(number)) for number in range(rounds))
        times = interleave(rounds, plain_grid, lambda: search(next(folders)))
        report("grid, 4 depths × 5 folds, MobileNet", *times)
        search(os.path.join(parent, "0"))  # with all rows there


def head(rounds):
    paths, y = chosen(1000)
    with tempfile.TemporaryDirectory() as folder:
        network = {name: MOBILENET[name] for name in ("backbone", "backbone_params")}
        common = {**network, "unfreeze": 0, "cache_dir": folder, "random_state": 0}
        solved = FineTunedConvNetClassifier(**common)
        dense = FineTunedConvNetClassifier(
            **common, pooling=None, hidden_units=(256,), dropout=0.5, early_stopping=False
        )
        solved.fit(paths, y)
        dense.fit(paths, y)
        times = interleave(
            rounds,
            lambda: seconds(lambda: dense.fit(paths, y)),
            lambda: seconds(lambda: solved.fit(paths, y)),
        )
        report("20 epochs of a dense head, the default one", *times)


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


def main(mode="full", rounds=3):
    if mode == "memory":
        memory()
        return
    print(f"{'':42} ratio  [range]          plain      ours")
    if mode == "head":
        head(int(rounds))
    elif mode == "grid":
        grid(int(rounds))
    else:
        single_fits(rounds=1 if mode == "quick" else int(rounds))


if __name__ == "__main__":
    main(*sys.argv[1:])
