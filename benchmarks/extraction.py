"""Extraction of features against plain loops: ``python -m benchmarks.extraction [quick]``.

Prints ratios (the plain loop's time / ours), medians of interleaved rounds with their range:

- cold, from an empty cache, against the loop of the tutorials: decode, preprocess,
  `base.predict` on batches of 20; but for ``quick`` also by OpenVINO, where it is installed,
  and in bfloat16, where the CPU computes in it;
- the same of photographs of 12 megapixels, which are enlarged here, with grain;
- one image, whose features are not known yet, against decoding and `predict_on_batch`;
- warm, each run in a new process after its imports, against reading the same files, hashing
  them and `numpy.load` of the same features;
- cold and kept against cold and not kept;
- finding all bad files, where one is missing, which decodes the others, against the
  extraction;
- `import sktransfer` against `import sklearn.pipeline`, each in a new process.

The plain loops run in a process of their own, with TensorFlow's own settings.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks._timing import compare, photographs, show, timed
from benchmarks.decoding import TWELVE_MEGAPIXELS, enlarged
from benchmarks.plain import PlainWay
from sktransfer import InvalidImagesError, PretrainedFeatureTransformer

MOBILENET = {
    "backbone": "mobilenet",
    "backbone_params": {"alpha": 0.75},
    "input_size": (224, 224),
}
MOBILENET_V2 = {"backbone": "mobilenet_v2", "weights": None, "input_size": (224, 224)}
RESNET = {"backbone": "resnet50", "weights": None, "input_size": (224, 224)}
VGG = {"backbone": "vgg16", "weights": None, "input_size": (150, 150)}
LOOP = "decode, preprocess, `predict` on batches of 20"
ONE = "decode, preprocess, `predict_on_batch`"

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

WARM_PLAIN = """
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

IMPORT = """
import time
started = time.perf_counter()
import {}
print(time.perf_counter() - started)
"""


def ours(paths, **parameters):
    """Extraction from an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        PretrainedFeatureTransformer(**{"cache_dir": folder, **parameters}).fit_transform(
            paths
        )


NETWORKS = (  # name, our parameters, number of photographs for the loop
    ("MobileNet (alpha 0.75), 224 px", MOBILENET, 400),
    ("ResNet50, 224 px", RESNET, 100),
    ("VGG16, 150 px", VGG, 100),
    ("MobileNetV2, 224 px", MOBILENET_V2, 0),
)


def cold(paths, rounds, quick):
    ways = {"float32": {}} if quick else ways_to_compute()
    for name, parameters, n in NETWORKS:
        with PlainWay(parameters["backbone"]) as plain:
            some = paths[: n // 4 if quick else n]
            for way, settings in ways.items() if some else ():
                run = timed(lambda s=some, p=parameters | settings: ours(s, **p))
                plain.loop(some), run()  # once before it counts
                what = f"cold, {name}, {way}, {len(some)} photographs"
                yield compare(what, LOOP, partial(plain.loop, some), run, rounds)
            yield one_image(name, parameters, plain, paths)


def large(paths, rounds):
    """Photographs as a camera of today takes them."""
    with tempfile.TemporaryDirectory() as folder, PlainWay("mobilenet") as plain:
        some = []
        for i, path in enumerate(paths):
            some.append(os.path.join(folder, f"{i}.jpg"))
            enlarged(path, TWELVE_MEGAPIXELS, seed=i).save(some[-1], quality=92)
        run = timed(lambda: ours(some, **MOBILENET))
        plain.loop(some[:8]), ours(some[:8], **MOBILENET)  # once before it counts
        what = f"cold, MobileNet, 224 px, {len(some)} photographs of 12 megapixels"
        yield compare(what, LOOP, lambda: plain.loop(some), run, rounds)


def one_image(name, parameters, plain, paths):
    """A new image each time, in a cache that is there."""
    with tempfile.TemporaryDirectory() as folder:
        transformer = PretrainedFeatureTransformer(**parameters, cache_dir=folder)
        for_plain, for_ours = iter(paths), iter(paths)
        one = timed(lambda: transformer.transform([next(for_ours)]))
        compare(name, ONE, lambda: plain.one(next(for_plain)), one, 3)  # does not count
        return compare(f"one image, {name}", ONE, lambda: plain.one(next(for_plain)), one, 15)


def ways_to_compute():
    """Name → parameters, of those that this machine has."""
    from sktransfer._networks.precision import CPU, has_bfloat16

    ways = {"float32": {}}
    if importlib.util.find_spec("openvino"):
        ways["float32 by OpenVINO"] = {"engine": "openvino"}
    if CPU.is_file() and has_bfloat16(CPU.read_text()):
        ways["bfloat16"] = {"precision": "bfloat16"}
    return ways


def keeping(paths, rounds):
    """The same extraction, kept and not kept; and the check of files that comes before it."""
    kept = timed(lambda: ours(paths, **MOBILENET, pooling="avg"))
    what = f"cold, MobileNet, pooled, {len(paths)} photographs"
    not_kept = timed(lambda: ours(paths, **MOBILENET, pooling="avg", cache_dir=None))
    yield compare(f"{what}, kept", "the same, not kept", not_kept, kept, rounds)
    yield compare(
        f"only finding a missing file, and whether others are bad, {len(paths)} photographs",
        "the extraction",
        kept,
        timed(lambda: fail(paths)),
        rounds,
    )


def fail(paths):
    """Nothing but the check, since one of the files is missing."""
    try:
        ours([*paths, "missing.jpg"], **MOBILENET, pooling="avg")
    except InvalidImagesError:
        return
    raise AssertionError("the missing file was not noticed")


def warm(paths, rounds):
    with tempfile.TemporaryDirectory() as folder:
        listing = os.path.join(folder, "paths.txt")
        with open(listing, "w") as file:
            file.write("\n".join(paths))
        for pooling in ("avg", None):
            parameters = {**MOBILENET, "pooling": pooling, "cache_dir": folder}
            features = PretrainedFeatureTransformer(**parameters).fit_transform(paths)
            array = os.path.join(folder, "features.npy")
            np.save(array, features)
            kind = "pooled" if pooling else "flattened"
            yield compare(
                f"warm, new process, {len(features):,} × {features.shape[1]:,} {kind}",
                "read and hash the same files, `np.load` the same features",
                lambda a=array: in_new_process(WARM_PLAIN, a, listing),
                lambda p=parameters: in_new_process(WARM_OURS, json.dumps(p), listing),
                rounds,
            )


def imports(rounds):
    yield compare(
        "`import sktransfer`, new process",
        "`import sklearn.pipeline`",
        lambda: in_new_process(IMPORT.format("sklearn.pipeline")),
        lambda: in_new_process(IMPORT.format("sktransfer")),
        rounds,
    )


def in_new_process(code, *arguments):
    """The seconds that a script prints of itself."""
    command = [sys.executable, "-c", code, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def comparisons(quick):
    paths, _ = photographs()
    rounds = 3 if quick else 5
    yield from imports(3 * rounds)
    yield from warm(paths[:500] if quick else paths, rounds)
    yield from cold(paths, rounds, quick)
    yield from large(paths[:20] if quick else paths[:200], rounds if quick else 3)
    yield from keeping(paths[:200] if quick else paths[:2000], 3)


if __name__ == "__main__":
    show(comparisons(quick="quick" in sys.argv))
