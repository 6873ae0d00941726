"""What Keras exports of a fitted Pipeline: ``python -m benchmarks.exports``.

Prints a table: each format, what runs it, the size of its files, the largest difference of a
probability from the Pipeline's on 50 photographs, and milliseconds for one image, from pixels
to probabilities: medians of rounds in which all took turns. The Pipeline is MobileNet
(alpha 0.75), StandardScaler, LogisticRegression.

What is not installed is left out: ``pip install "sktransfer[test-deployment]"`` has all. The
environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import importlib.util
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import joblib
import numpy as np

from benchmarks._timing import chosen
from benchmarks.extraction import MOBILENET
from sktransfer import PretrainedFeatureTransformer, bundle, to_keras, warm_up
from sktransfer._images.decoding import decode

ROUNDS = 30
HEADER = "| format | runtime | size | largest difference | ms an image |\n" + "|---" * 5 + "|"


def saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return lambda pixels: loaded.serve(pixels).numpy()


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda pixels: session.run(None, {session.get_inputs()[0].name: pixels})[0]


def openvino(path):
    import openvino

    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # as the others
    compiled = openvino.Core().compile_model(path, "CPU", exact)
    return lambda pixels: compiled(pixels)[0]


def litert(path):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path, num_threads=os.cpu_count()).get_signature_runner()
    return lambda pixels: run(pixels=pixels)["output_0"]


FORMATS = {  # format → what of a file's name says so, its runtime, and what that is called
    "tf_saved_model": ("", saved_model, "tensorflow"),
    "onnx": (".onnx", onnx, "onnxruntime"),
    "openvino": (".xml", openvino, "openvino"),
    "litert": (".tflite", litert, "ai_edge_litert"),
}


def fitted(n=100):
    """A Pipeline fitted to photographs, and their paths."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    paths, y = chosen(n)
    features = PretrainedFeatureTransformer(**MOBILENET, pooling="avg", cache_dir=None)
    model = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))
    return model.fit(paths, y), paths


def exported(pipeline, folder):
    """Name, runtime, bytes and function of one image's pixels, of each way to run it."""
    path = Path(folder, "bundle.joblib")
    joblib.dump(bundle(pipeline), path)
    bundled = warm_up(joblib.load(path))
    yield "bundle (joblib)", "sktransfer", path.stat().st_size, bundled.predict_proba
    model = to_keras(pipeline)
    path = Path(folder, "model.keras")
    model.save(path)
    yield "Keras (.keras)", "predict_on_batch", path.stat().st_size, model.predict_on_batch
    for name, (suffix, load, package) in FORMATS.items():
        if importlib.util.find_spec(package) is None:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = os.path.join(place, f"model{suffix}")
            model.export(path, format=name, verbose=False)
            size = sum(p.stat().st_size for p in Path(place).rglob("*") if p.is_file())
            yield name, package, size, load(path)


def main():
    pipeline, paths = fitted()
    some = paths[::2]
    pixels = [decode(Path(p).read_bytes(), (224, 224), (0, 255))[np.newaxis] for p in some]
    pixels = [one.astype(np.float32) for one in pixels]
    expected = pipeline.predict_proba(some)
    with tempfile.TemporaryDirectory() as folder:
        ways = list(exported(pipeline, folder))
        seconds = np.empty((ROUNDS, len(ways)))
        for i, one in enumerate(seconds):
            for j, (_, _, _, run) in enumerate(ways):
                started = time.perf_counter()
                run(pixels[i])
                one[j] = time.perf_counter() - started
        print(HEADER)
        medians = 1e3 * np.median(seconds, axis=0)
        for (name, runtime, size, run), ms in zip(ways, medians, strict=True):
            said = np.concatenate([run(one) for one in pixels])
            off = np.abs(said - expected).max()
            print(f"| {name} | {runtime} | {size / 1e6:.1f} MB | {off:.0e} | {ms:.1f} |")


if __name__ == "__main__":
    main()
