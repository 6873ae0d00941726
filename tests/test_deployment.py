"""Models elsewhere: bundled, exported by Keras, served, and given the right pixels."""

import importlib.util
import io
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from classifiers import classifier
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    InvalidStateError,
    PretrainedFeatureTransformer,
    bundle,
    to_keras,
    warm_up,
)
from sktransfer._images.decoding import decode

PAGE = (Path(__file__).parents[1] / "docs" / "deployment.md").read_text()
DIGITS = {"input_range": (0, 16), "image_shape": (8, 8)}


def code_of(start):
    """The example on the page that has a line."""
    [code] = [c for c in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if start in c]
    return code


@pytest.fixture(scope="module")
def some(digits):
    X, y = digits
    return X[:100].reshape(100, 64), y[:100]


def features(**parameters):
    return PretrainedFeatureTransformer("tiny", **{"pooling": "avg", **DIGITS, **parameters})


def pipeline(**parameters):
    return make_pipeline(features(**parameters), LogisticRegression(max_iter=1000))


def in_columns():
    return make_pipeline(
        ColumnTransformer([("images", features(), slice(0, 64))]), LogisticRegression()
    )


WITHIN = {
    "pipeline": pipeline(),
    "columns": in_columns(),
    "union": make_pipeline(
        make_union(features(), features(pooling="max")), LogisticRegression(max_iter=1000)
    ),
    "search": GridSearchCV(pipeline(), {"logisticregression__C": [0.1, 1]}, cv=2),
    "bagging": BaggingClassifier(pipeline(), 2, random_state=0),
    "calibrated": CalibratedClassifierCV(pipeline(), cv=2, ensemble=False),
    "fine-tuned": classifier(unfreeze=1, fine_tune_epochs=1, **DIGITS),
}


@pytest.mark.parametrize("name", WITHIN)
def test_a_bundle_predicts_the_same_without_the_network_and_keeps_nothing(
    name, some, tmp_path, monkeypatch
):
    X, y = some
    fitted = clone(WITHIN[name]).fit(X, y)
    expected = fitted.predict_proba(X)
    path = tmp_path / "model.joblib"
    joblib.dump(bundle(fitted), path)
    moved = joblib.load(path)
    monkeypatch.setenv("SKTRANSFER_CACHE", str(tmp_path / "untouched"))
    monkeypatch.setattr("sktransfer._networks.source.TINY_WEIGHTS", tmp_path / "missing")
    np.testing.assert_allclose(moved.predict_proba(X), expected, rtol=1e-5, atol=1e-6)
    assert not (tmp_path / "untouched").exists()
    assert b"'tiny'" not in repr(moved).encode() or name == "fine-tuned"


def test_features_are_those_of_before_and_so_are_their_rows(some):
    X, _ = some
    transformer = features(layer=["block1_pool", "block3_conv2"])
    before = transformer.fit_transform(X)
    bundled = bundle(transformer, cache_dir="default")
    computed = transformer.cache_info().misses
    np.testing.assert_array_equal(bundled.transform(X), before)
    assert bundled.cache_info().misses == computed
    assert bundled.feature_shape_ == transformer.feature_shape_
    assert clone(bundled).backbone is bundled.backbone
    np.testing.assert_array_equal(bundle(bundled).fit_transform(X), before)


def test_unnamed_layers_are_called_as_before():
    """Keras numbers them through the process: another network takes the first numbers."""
    parameters = {"weights": None, "input_size": (32, 32), "pooling": "avg", "layer": "add_1"}
    X = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    for _ in range(2):
        transformer = PretrainedFeatureTransformer("mobilenet_v3_small", **parameters)
        bundled = bundle(transformer)
    np.testing.assert_array_equal(bundled.fit_transform(X), transformer.fit_transform(X))


def test_a_network_that_several_share_is_stored_once(some, tmp_path):
    for name in ("pipeline", "search", "union"):
        joblib.dump(bundle(clone(WITHIN[name]).fit(*some)), tmp_path / f"{name}.joblib")
    sizes = [path.stat().st_size for path in tmp_path.glob("*.joblib")]
    assert len(sizes) == 3
    assert max(sizes) < 1.2 * min(sizes)


def test_skops_stores_bundles(some, tmp_path):
    X, y = some
    bundled = bundle(pipeline().fit(X, y))
    skops.io.dump(bundled, tmp_path / "model.skops")
    ours = ["sktransfer.PretrainedFeatureTransformer"]
    again = skops.io.load(tmp_path / "model.skops", trusted=ours)
    np.testing.assert_array_equal(again.predict_proba(X), bundled.predict_proba(X))


def test_a_flipped_bit_is_refused(some, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(bundle(features()), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(InvalidStateError, match="stored network was changed"):
        joblib.load(path)


def test_what_holds_no_network_is_refused():
    with pytest.raises(ValueError, match="StandardScaler holds no estimator of sktransfer"):
        bundle(StandardScaler())


ELSEWHERE = """
import sys
import joblib, numpy as np
model = joblib.load("model.joblib")
assert "keras" not in sys.modules
np.save("got.npy", model.predict_proba(sys.argv[1:]))
"""


def test_a_file_alone_predicts_in_a_new_process_without_internet(
    imagenet, photographs, tmp_path
):
    paths, labels = photographs[0][::50], photographs[1][::50]
    transformer = PretrainedFeatureTransformer(**imagenet, pooling="avg")
    fitted = make_pipeline(transformer, StandardScaler(), LogisticRegression(C=0.01))
    joblib.dump(bundle(fitted.fit(paths, labels)), tmp_path / "model.joblib")
    cut_off = ["unshare", "-n"]
    can_be_cut_off = subprocess.run([*cut_off, "true"], capture_output=True).returncode == 0
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:1")
    subprocess.run(
        [*(cut_off if can_be_cut_off else []), sys.executable, "-c", ELSEWHERE, *paths],
        cwd=tmp_path,
        env={
            **nowhere,
            "HOME": str(tmp_path / "home"),
            "KERAS_HOME": str(tmp_path / "keras"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        check=True,
        capture_output=True,
    )
    got, expected = np.load(tmp_path / "got.npy"), fitted.predict_proba(paths)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_warm_up_leaves_nothing_in_the_cache(some, cache):
    X, y = some
    for fitted in (pipeline().fit(X, y), classifier(unfreeze=1, **DIGITS).fit(X, y)):
        before = sorted(cache.rglob("*"))
        assert warm_up(fitted) is fitted
        assert sorted(cache.rglob("*")) == before


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_threads_predict_the_same(some, unfreeze):
    X, y = some
    fitted = classifier(unfreeze=unfreeze, fine_tune_epochs=1, **DIGITS).fit(X, y)
    model, images = bundle(fitted), X[:24].reshape(24, 8, 8)

    def said_of(image):
        return model.predict_proba([image])[0]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(said_of, images))
    alone = [said_of(image) for image in images]
    np.testing.assert_allclose(together, alone, atol=1e-6)  # on a busy machine, not to the bit
    np.testing.assert_allclose(together, model.predict_proba(X[:24]), atol=1e-6)


def run_saved_model(path, pixels):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return loaded.serve(pixels).numpy()


def run_onnx(path, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def run_openvino(path, pixels):
    import openvino

    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(path, "CPU", exact)(pixels)[0]


def run_litert(path, pixels):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path).get_signature_runner()
    return np.concatenate([run(pixels=image[np.newaxis])["output_0"] for image in pixels])


EXPORTS = {  # format → what of a file's name says so, its runtime, what both need
    "tf_saved_model": ("", run_saved_model, ["tensorflow"]),
    "onnx": (".onnx", run_onnx, ["tf2onnx", "onnxruntime"]),
    "openvino": (".xml", run_openvino, ["openvino"]),
    "litert": (".tflite", run_litert, ["tensorflow", "ai_edge_litert"]),
}


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras' own
@pytest.mark.parametrize("file_format", EXPORTS)
def test_exports_say_the_same_of_photographs(file_format, photographs, tmp_path):
    suffix, run, needed = EXPORTS[file_format]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {missing}")
    paths, labels = photographs[0][::100], photographs[1][::100]
    transformer = PretrainedFeatureTransformer("tiny", layer="block2_pool", pooling="avg")
    fitted = make_pipeline(transformer, StandardScaler(), LogisticRegression()).fit(
        paths, labels
    )
    model, path = to_keras(fitted), str(tmp_path / f"model{suffix}")
    model.export(path, format=file_format, verbose=False)
    pixels_of = client()
    pixels = np.concatenate([pixels_of(path, 32, 32) for path in paths])
    np.testing.assert_allclose(run(path, pixels), fitted.predict_proba(paths), atol=1e-4)


def client():
    """The function on the page that makes pixels for an exported model."""
    exec(code_of("def pixels_of"), names := {})
    return names["pixels_of"]


def test_the_clients_lines_are_few():
    assert len(code_of("def pixels_of").split("\n\n\n")[1].strip().splitlines()) <= 15


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_the_clients_lines_give_the_same_pixels(size, photographs):
    pixels_of = client()
    for path in photographs[0][::250]:
        content = Path(path).read_bytes()
        for variant in variants(content):
            expected = decode(variant, size, (0, 255))
            [got] = pixels_of(io.BytesIO(variant), *size)
            np.testing.assert_array_equal(got, expected)


def variants(content):
    """A photograph as it is, turned by EXIF, enlarged, transparent, grey, CMYK, a palette."""
    yield content
    image = Image.open(io.BytesIO(content))
    large = image.resize((3 * image.width, 3 * image.height))
    transparent = image.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(image.size))
    turned = Image.Exif()
    turned[274] = 6
    for saved, settings in (
        (image, {"format": "JPEG", "exif": turned}),
        (large, {"format": "JPEG", "exif": turned}),
        (image, {"format": "PNG", "exif": turned}),
        (transparent, {"format": "PNG", "exif": turned}),
        (image.convert("L"), {"format": "PNG"}),
        (image.convert("CMYK"), {"format": "JPEG"}),
        (image.quantize(16), {"format": "GIF"}),
    ):
        file = io.BytesIO()
        saved.save(file, **settings)
        yield file.getvalue()


@pytest.fixture(scope="module")
def service(photographs, tmp_path_factory):
    """A client of the service on the page."""
    missing = [n for n in ("fastapi", "httpx2") if importlib.util.find_spec(n) is None]
    if missing:
        pytest.skip(f"not installed: {missing}")
    from fastapi.testclient import TestClient

    folder = tmp_path_factory.mktemp("service")
    paths, labels = photographs[0][::100], photographs[1][::100]
    transformer = PretrainedFeatureTransformer("tiny", pooling="avg", cache_dir=None)
    fitted = make_pipeline(transformer, StandardScaler(), LogisticRegression())
    joblib.dump(bundle(fitted.fit(paths, labels)), folder / "pets.joblib")
    code = code_of("# service.py").replace("pets.joblib", str(folder / "pets.joblib"))
    assert len(code.splitlines()) <= 30
    exec(compile(code, "service.py", "exec"), names := {})
    return TestClient(names["app"]), names["model"]


def test_the_service_answers_a_photograph_with_probabilities(service, photographs):
    web, model = service
    content = Path(photographs[0][7]).read_bytes()
    answer = web.post("/predict", files={"photograph": content})
    assert answer.status_code == 200
    expected = dict(zip(["cats", "dogs"], model.predict_proba([content])[0], strict=True))
    assert answer.json() == pytest.approx(expected)


def test_the_service_says_what_is_wrong_with_a_file(service, photographs):
    web, _ = service
    content = Path(photographs[0][7]).read_bytes()
    for bad, reason in ((content[:2000], "truncated"), (b"<html>", "HTML page")):
        answer = web.post("/predict", files={"photograph": bad})
        assert answer.status_code == 422
        assert reason in answer.json()["detail"]
