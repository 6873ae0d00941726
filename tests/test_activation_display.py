import matplotlib as mpl
import numpy as np
import pytest
from classifiers import classifier, five_to_nine, regressor
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

from sktransfer import ActivationMapDisplay, PretrainedFeatureTransformer

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def features(**parameters):
    settings = {"layer": "block1_pool", "image_shape": (8, 8), "input_range": (0, 16)}
    return PretrainedFeatureTransformer("tiny", **(settings | parameters))


def logistic():
    return LogisticRegression(max_iter=5000)


@pytest.fixture(scope="module")
def few(digits):
    """Flattened images of three digits, of two of them, and labels."""
    X, y = digits[0].reshape(-1, 64), digits[1]
    chosen = np.flatnonzero(y < 3)[:90]
    return X[chosen], y[chosen]


@pytest.mark.parametrize(
    "steps",
    [
        [features(pooling="avg"), StandardScaler()],
        [features(pooling="max"), MinMaxScaler()],
        [features(), MaxAbsScaler(), "passthrough"],
        [features(), StandardScaler(), PCA(10, whiten=True)],
        [features(pooling="avg"), RobustScaler(), SelectKBest(k=8)],
    ],
    ids=lambda steps: "-".join(type(step).__name__ for step in steps[1:]),
)
def test_a_linear_map_sums_to_the_decision_less_a_constant(few, steps):
    X, y = few
    pipe = make_pipeline(*steps, logistic()).fit(X, y)
    decisions = pipe.decision_function(X[:6])
    for k in range(3):
        display = ActivationMapDisplay.from_estimator(pipe, X[:6], target=k)
        assert display.method == "linear"
        constants = decisions[:, k] - display.maps.sum(axis=(1, 2))
        np.testing.assert_allclose(constants, constants[0], rtol=1e-4, atol=1e-4)
        # Of another image alone the constant is the same.
        other = ActivationMapDisplay.from_estimator(pipe, X[40:41], target=k, method="linear")
        constant = pipe.decision_function(X[40:41])[0, k] - other.maps.sum()
        np.testing.assert_allclose(constant, constants[0], rtol=1e-4, atol=1e-4)


def test_two_classes_speak_against_each_other(few):
    X, y = few[0][few[1] < 2], few[1][few[1] < 2]
    pipe = make_pipeline(features(pooling="avg"), logistic())
    search = GridSearchCV(pipe, {"logisticregression__C": [1.0]}, cv=2).fit(X, y)
    first = ActivationMapDisplay.from_estimator(search, X[:2], target=0)
    second = ActivationMapDisplay.from_estimator(search, X[:2], target=1)
    np.testing.assert_allclose(first.maps, -second.maps)
    predicted = ActivationMapDisplay.from_estimator(search, X[:2])
    assert [axes.get_title() for axes in predicted.axes_] == [*map(str, search.predict(X[:2]))]


def test_numbers_of_a_linear_model(few):
    X, y = few
    pipe = make_pipeline(features(pooling="avg"), Ridge()).fit(X, np.column_stack([y, -y]))
    display = ActivationMapDisplay.from_estimator(pipe, X[:4], target=1)
    assert display.method == "linear"
    constants = pipe.predict(X[:4])[:, 1] - display.maps.sum(axis=(1, 2))
    np.testing.assert_allclose(constants, constants[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", ["avg", None])
def test_a_fine_tuned_map_sums_to_the_logit_less_the_bias(digits, pooling):
    X, y = five_to_nine(digits, 60)
    estimator = classifier(pooling=pooling, unfreeze=1, fine_tune_epochs=1).fit(X, y)
    display = ActivationMapDisplay.from_estimator(estimator, X[:5], target=7)
    assert display.method == "gradient"
    bias = estimator.model_.layers[-1].get_weights()[1]
    logits = estimator.decision_function(X[:5])[:, 2]
    np.testing.assert_allclose(
        display.maps.sum(axis=(1, 2)) + bias[2], logits, rtol=1e-3, atol=1e-3
    )


def test_a_fine_tuned_head_with_hidden_layers_and_numbers(digits):
    X, y = five_to_nine(digits, 40)
    deep = classifier(hidden_units=(8,), unfreeze=0, head_epochs=1).fit(X, y)
    display = ActivationMapDisplay.from_estimator(deep, X[:3])
    assert display.method == "gradient"
    assert display.maps.shape == (3, 2, 2)
    assert np.isfinite(display.maps).all()
    numbers = regressor(unfreeze=0).fit(X, y)
    assert ActivationMapDisplay.from_estimator(numbers, X[:3]).method == "gradient"


def test_occlusion_finds_what_a_forest_looks_at():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 50, (120, 14, 14)).astype(float)
    y = np.arange(120) % 2
    X[y == 1, 8:14, 0:6] += 150  # a bright patch below, on the left

    forest = make_pipeline(
        PretrainedFeatureTransformer("tiny", layer="block1_pool"),
        Normalizer(),
        RandomForestClassifier(random_state=0),
    ).fit(X, y)
    display = ActivationMapDisplay.from_estimator(forest, X[1:4:2])
    assert display.method == "occlusion"
    for row, column in (np.unravel_index(one.argmax(), one.shape) for one in display.maps):
        assert row >= 3
        assert column <= 3


def test_a_bad_image_is_grey_and_others_are_drawn(few, tmp_path):
    X, y = few
    pipe = make_pipeline(features(image_shape=None), logistic())
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path, image in zip(paths, X, strict=False):
        Image.fromarray((image.reshape(8, 8) * 15.9).astype(np.uint8)).save(path)
    pipe.fit(X.reshape(-1, 8, 8), y)
    display = ActivationMapDisplay.from_estimator(pipe, [paths[0], "no.png", paths[2]])
    assert np.isnan(display.maps[1]).all()
    assert display.targets[1] is None
    [text] = display.axes_[1].texts
    assert text.get_text().startswith("row 1: does not")
    assert [len(axes.images) for axes in display.axes_] == [2, 1, 2]
    occluded = ActivationMapDisplay.from_estimator(pipe, paths, method="occlusion")
    assert occluded.maps.shape == (3, 7, 7)
    display.figure_.savefig(tmp_path / "maps.png")


def test_what_cannot_be_drawn(few):
    X, y = few
    pipe = make_pipeline(features(pooling="avg"), logistic()).fit(X, y)
    for wrong, match in (
        ({"target": 7}, r"target has \[7\], and the classes are \[0, 1, 2\]"),
        ({"method": "magic"}, "method='magic' is none of"),
        ({"method": "gradient"}, "method='gradient' does not apply: it is of a fine-tuned"),
    ):
        with pytest.raises(ValueError, match=match):
            ActivationMapDisplay.from_estimator(pipe, X[:2], **wrong)
    with pytest.raises(ValueError, match="none of X can be read"):
        ActivationMapDisplay.from_estimator(pipe, ["a.png", "b.png"])


def test_the_sum_on_real_photographs(photographs, imagenet):
    paths, labels = photographs
    pipe = make_pipeline(
        PretrainedFeatureTransformer(**imagenet, pooling="avg"),
        StandardScaler(),
        LogisticRegression(C=0.01),
    ).fit(paths[::80], labels[::80])
    display = ActivationMapDisplay.from_estimator(pipe, paths[40:46], target="dogs")
    assert display.maps.shape == (6, 7, 7)
    constants = pipe.decision_function(paths[40:46]) - display.maps.sum(axis=(1, 2))
    np.testing.assert_allclose(constants, constants[0], rtol=1e-3, atol=1e-4)
