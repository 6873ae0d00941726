"""Extraction of features against plain loops: ``python -m benchmarks.extraction``.

Prints ratios (the plain loop's time / ours), medians of interleaved rounds with their range:

- cold, against the loop of the tutorials: decode, preprocess, `base.predict` on batches of 20;
- warm, each run in a new process after its imports, against reading the same files, hashing
  them and `numpy.load` of the same features;
- cold with a fresh cache against none, which is what keeping costs;
- one image, whose features are not known yet.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data. Takes about
five minutes on 2 cores.
"""

import os
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks._timing import interleave, photographs, report, seconds
from sktransfer import PretrainedFeatureTransformer

ROUNDS = 5
MOBILENET = {
    "backbone": "mobilenet",
    "backbone_params": {"alpha": 0.75},
    "input_size": (224, 224),
}
VGG = {"backbone": "vgg16", "weights": None, "input_size": (150, 150)}

WARM_OURS = """
import sys, time, json
import sklearn.callback  # which the first fit of any estimator imports
from sktransfer import PretrainedFeatureTransformer
paths = open(sys.argv[2]).read().split("\\n")
transformer = PretrainedFeatureTransformer(**json.loads(sys.argv[1]))
started = time.perf_counter()
transformer.fit_transform(paths)
print(time.perf_counter() - started)
assert "keras" not in sys.modules and transformer.cache_info().misses == 0
"""

WARM_BASELINE = """
import sys, time, hashlib
import sklearn.callback, sktransfer  # so that both wait as long: memory cools meanwhile
import numpy as np
paths = open(sys.argv[2]).read().split("\\n")
started = time.perf_counter()
for path in paths:
    with open(path, "rb") as file:
        hashlib.sha256(file.read()).digest()
np.load(sys.argv[1])
print(time.perf_counter() - started)
"""


def plain_loop(model, preprocess, paths, size):
    """What the tutorials do: decode and predict 20 images at a time."""
    import keras

    features = []
    for start in range(0, len(paths), 20):
        images = [
            keras.utils.img_to_array(
                keras.utils.load_img(path, target_size=size, interpolation="bilinear")
            )
            for path in paths[start : start + 20]
        ]
        features.append(model.predict(preprocess(np.stack(images)), verbose=0))
    return np.concatenate(features)


def ours(parameters, paths):
    with tempfile.TemporaryDirectory() as folder:
        PretrainedFeatureTransformer(**parameters, cache_dir=folder).fit_transform(paths)


def cold(paths):
    import keras

    applications = keras.applications
    mobilenet = applications.MobileNet(
        alpha=0.75, input_shape=(224, 224, 3), include_top=False, weights="imagenet"
    )
    vgg = applications.VGG16(input_shape=(150, 150, 3), include_top=False, weights=None)
    for name, model, module, parameters, n in (
        ("cold, MobileNet 224 px", mobilenet, applications.mobilenet, MOBILENET, 400),
        ("cold, VGG16 150 px", vgg, applications.vgg16, VGG, 100),
    ):
        size, some = parameters["input_size"], paths[:n]
        one = paths[n]
        runs = (
            lambda m=model, p=module.preprocess_input, s=some, z=size: plain_loop(m, p, s, z),
            lambda p=parameters, s=some: ours(p, s),
        )
        for run in runs:
            run()
        report(name, *interleave(ROUNDS, *(lambda r=r: seconds(r) for r in runs)))
        singles = (
            lambda m=model, p=module.preprocess_input, z=size, s=one: plain_loop(m, p, [s], z),
            lambda p=parameters, s=one: ours(p, [s]),
        )
        report(
            name.replace("cold", "one image"),
            *interleave(4 * ROUNDS, *(lambda r=r: seconds(r) for r in singles)),
        )


def keeping(paths):
    """The same extraction, kept and not kept."""

    def not_kept():
        PretrainedFeatureTransformer(**MOBILENET, cache_dir=None).fit_transform(paths[:400])

    times = interleave(
        ROUNDS,
        lambda: seconds(not_kept),
        lambda: seconds(lambda: ours(MOBILENET, paths[:400])),
    )
    report("cold, not kept / kept, MobileNet", *times)


def warm(paths):
    import json

    with tempfile.TemporaryDirectory() as folder:
        listing = os.path.join(folder, "paths.txt")
        with open(listing, "w") as file:
            file.write("\n".join(paths))
        for pooling in ("avg", None):
            parameters = {**MOBILENET, "pooling": pooling, "cache_dir": folder}
            features = PretrainedFeatureTransformer(**parameters).fit_transform(paths)
            array = os.path.join(folder, "features.npy")
            np.save(array, features)
            times = interleave(
                ROUNDS,
                lambda a=array: in_new_process(WARM_BASELINE, a, listing),
                lambda p=parameters: in_new_process(WARM_OURS, json.dumps(p), listing),
            )
            kind = "pooled" if pooling else "flattened"
            report(f"warm, {kind}, {features.shape[1]} features", *times)


def in_new_process(code, *arguments):
    """The seconds that a script prints of itself."""
    command = [sys.executable, "-c", code, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    paths, _ = photographs()
    print(f"{'':42} ratio  [range]          plain      ours")
    cold(paths)
    keeping(paths)
    warm(paths)


if __name__ == "__main__":
    main()
