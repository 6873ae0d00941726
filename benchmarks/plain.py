"""The plain way, in a process of its own, so that TensorFlow runs with its own settings.

``python -m benchmarks.plain NETWORK`` reads jobs from standard input, a line of JSON each, and
answers each with the seconds it took. sktransfer is not imported here.
"""

import json
import os
import subprocess
import sys
import time

SETTING = "TF_ENABLE_ONEDNN_OPTS"  # which sktransfer sets where nobody has
AS_STARTED = {SETTING: os.environ[SETTING]} if SETTING in os.environ else {}


def networks():
    """Name → class, its module of preprocessing, parameters and size."""
    from keras import applications

    square = {"include_top": False, "weights": None}
    large, small = (224, 224), (150, 150)
    return {
        "mobilenet": (
            applications.MobileNet,
            applications.mobilenet,
            {**square, "weights": "imagenet", "alpha": 0.75},
            large,
        ),
        "mobilenet_v2": (applications.MobileNetV2, applications.mobilenet_v2, square, large),
        "resnet50": (applications.ResNet50, applications.resnet50, square, large),
        "vgg16": (applications.VGG16, applications.vgg16, square, small),
    }


class PlainWay:
    """What the tutorials do with one network, timed in another process.

    Parameters
    ----------
    network : str
    """

    def __init__(self, network):
        command = [sys.executable, "-m", "benchmarks.plain", network]
        others = {name: os.environ[name] for name in os.environ if name != SETTING}
        self._process = subprocess.Popen(
            command,
            env={**others, **AS_STARTED, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def loop(self, paths):
        """The seconds of decoding and `predict` on batches of 20."""
        return self._seconds("loop", paths)

    def one(self, path):
        """The seconds of decoding and `predict_on_batch` of one image."""
        return self._seconds("one", [path])

    def _seconds(self, job, paths):
        print(json.dumps([job, paths]), file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()


def plain_loop(model, preprocess, paths, size):
    """What the tutorials do: decode and predict 20 images at a time."""
    import numpy as np

    parts = []
    for start in range(0, len(paths), 20):
        images = preprocess(decoded(paths[start : start + 20], size))
        parts.append(model.predict(images, verbose=0))
    return np.concatenate(parts)


def decoded(paths, size):
    import keras
    import numpy as np

    images = (
        keras.utils.load_img(path, target_size=size, interpolation="bilinear")
        for path in paths
    )
    return np.stack([keras.utils.img_to_array(image) for image in images])


def serve(name):
    build, module, parameters, size = networks()[name]
    model, preprocess = build(**parameters, input_shape=(*size, 3)), module.preprocess_input
    jobs = {
        "loop": lambda paths: plain_loop(model, preprocess, paths, size),
        "one": lambda paths: model.predict_on_batch(preprocess(decoded(paths, size))),
    }
    for line in sys.stdin:
        job, paths = json.loads(line)
        started = time.perf_counter()
        jobs[job](paths)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
