import contextlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from sktransfer import (
    ImagePredictionDisplay,
    InvalidImagesWarning,
    PretrainedFeatureTransformer,
)

mpl.use("agg")

X = np.zeros((4, 8, 8, 3), np.uint8)
Y = np.array(["ant", "bee", "bee", "ant"])
PREDICTED = np.array(["ant", "ant", "ant", "bee"])
PROBA = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])  # of ant and of bee


@pytest.fixture(autouse=True)
def _close():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def words(display):
    return [axes.get_title() for axes in display.axes_]


def features(**parameters):
    return PretrainedFeatureTransformer("tiny", input_range=(0, 16), **parameters)


def shown(show, **how):
    return ImagePredictionDisplay.from_predictions(
        X, Y, PREDICTED, y_proba=PROBA, show=show, **how
    )


def test_which_images_are_shown_and_in_which_order():
    worst = shown("worst")
    assert worst.indices_.tolist() == [2, 3, 1, 0]
    assert words(worst) == [
        "bee\n≠ ant 0.80",
        "ant\n≠ bee 0.70",
        "bee\n≠ ant 0.60",
        "ant\n= ant 0.90",
    ]
    colours = [axes.title.get_color() for axes in worst.axes_]
    assert len(set(colours[:3])) == 1
    assert colours[3] != colours[0]
    assert shown("least_sure", n_images=2).indices_.tolist() == [1, 3]
    assert shown(("bee", "ant")).indices_.tolist() == [2, 1]
    assert sorted(shown("random", random_state=0).indices_) == [0, 1, 2, 3]


def test_without_probabilities_wrong_ones_come_first():
    display = ImagePredictionDisplay.from_predictions(X, Y, PREDICTED)
    assert display.indices_.tolist() == [1, 2, 3, 0]
    assert words(display)[0] == "bee\n≠ ant"


def test_labels_missed_and_invented():
    y, predicted = np.array([[1, 0], [1, 1], [0, 0], [0, 1]]), np.array([[0, 1]] * 4)
    display = ImagePredictionDisplay.from_predictions(
        X, y, predicted, class_names=["sun", "sea"]
    )
    assert words(display) == [
        "sun\n+sea −sun",
        "sun, sea\n−sun",
        "no label\n+sea",
        "sea\n= all right",
    ]
    display.plot(show=("sun", "sea"))
    assert display.indices_.tolist() == [0]


def test_the_largest_residuals_of_numbers():
    display = ImagePredictionDisplay.from_predictions(X, [1, 2, 3, 4], [1.5, 2, 0.5, 4])
    assert display.indices_.tolist() == [2, 0, 1, 3]
    assert words(display)[0] == "3\n→ 0.5 (-2.5)"
    two = ImagePredictionDisplay.from_predictions(X, [[1, 9.5]] * 4, [[1, 9], [1, 9.5]] * 2)
    assert two.indices_.tolist() == [0, 2, 1, 3]
    assert words(two)[0] == "1, 9.5\n→ 1, 9"


def as_frame(arrays, folder):
    paths = []
    for i, pixels in enumerate(arrays):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(paths[-1])
    return pd.DataFrame({"file": paths})


@pytest.mark.parametrize("kind", ["paths", "bytes", "arrays"])
def test_a_bad_image_is_shown_as_bad(kind, digits, tmp_path):
    arrays, y = digits[0][:60], digits[1][:60]
    if kind == "arrays":
        images = [*arrays[:-1], np.zeros((3, 3, 7))]
    else:
        images = as_frame(arrays, tmp_path)
        images.loc[59, "file"] = str(tmp_path / "lost.png")
        if kind == "bytes":
            paths = images["file"][:-1]
            images = [*(Path(path).read_bytes() for path in paths), b"no image"]
    some = images[:59]
    for on_error in ("raise", "nan"):
        pipe = make_pipeline(features(on_error=on_error), LogisticRegression(max_iter=2000))
        pipe.fit(some, y[:59])
        warns = pytest.warns(InvalidImagesWarning, match="row 59")
        with warns if on_error == "nan" else contextlib.nullcontext():
            display = ImagePredictionDisplay.from_estimator(pipe, images, y, n_images=3)
        assert display.indices_[0] == 59
        assert words(display)[0] == f"{y[59]}\n?"
        [reason] = display.axes_[0].texts
        assert reason.get_text().startswith("row 59: ")
        assert not display.axes_[1].texts


def test_searches_labels_and_numbers_from_estimators(digits, tmp_path):
    arrays, y = digits[0][:60], digits[1][:60]
    flat, onto = arrays.reshape(60, -1), features(image_shape=(8, 8))
    pipe = make_pipeline(onto, LogisticRegression(max_iter=2000))
    search = GridSearchCV(pipe, {"logisticregression__C": [1.0, 2.0]}, cv=2)
    with pytest.raises(NotFittedError):
        ImagePredictionDisplay.from_estimator(search, flat, y)
    display = ImagePredictionDisplay.from_estimator(search.fit(flat, y), flat, y)
    np.testing.assert_array_equal(display.y_proba, search.predict_proba(flat))
    drawn = display.axes_[0].images[0].get_array()
    expected = arrays[display.indices_[0]] * 255 / 16
    np.testing.assert_allclose(drawn[:, :, 0], expected, atol=0.5)
    display.figure_.savefig(tmp_path / "tiles.png")
    labels = np.column_stack([y % 2, y > 4]).astype(int)
    several = make_pipeline(onto, MultiOutputClassifier(LogisticRegression(max_iter=2000)))
    several.fit(flat, labels)
    display = ImagePredictionDisplay.from_estimator(several, flat, labels)
    assert display.y_proba.shape == (60, 2)
    ridge = make_pipeline(onto, Ridge()).fit(flat, y)
    display = ImagePredictionDisplay.from_estimator(ridge, flat, y, n_images=1)
    assert display.indices_[0] == np.argmax(np.abs(ridge.predict(flat) - y))


def test_long_names_are_shortened_in_their_middle():
    names = np.array(["Canis lupus familiaris, long-haired", "cat"])
    display = ImagePredictionDisplay.from_predictions(
        X[:2], names[[0, 1]], names[[1, 0]], class_names=names, y_proba=PROBA[:2]
    )
    lines = "\n".join(words(display)).split("\n")
    assert max(map(len, lines)) <= 22
    assert "Canis lupus…ong-haired" in lines


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="show='best' is none of"):
        shown("best")
    with pytest.raises(ValueError, match="no image of the first is taken for the second"):
        shown(("ant", "cow"))
    with pytest.raises(ValueError, match="X has 4 images, y_true 4 values, y_pred 3"):
        ImagePredictionDisplay.from_predictions(X, Y, PREDICTED[:3])
    with pytest.raises(ValueError, match="1 axes, fewer than the 4 images"):
        shown("worst", ax=[mpl.figure.Figure().add_subplot()])
    with pytest.raises(ValueError, match="needs probabilities"):
        ImagePredictionDisplay.from_predictions(X, Y, PREDICTED, show="least_sure")
