import itertools

import matplotlib as mpl
import numpy as np
import pytest
from classifiers import classifier
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from sktransfer import AugmentationDisplay, ImageAugmentation
from sktransfer._images.decoding import decode
from sktransfer._images.sources import digest_of

IMAGE = np.random.default_rng(0).uniform(0, 255, (12, 16, 3)).astype(np.float32)
NOTHING = {
    "rotation_range": 0,
    "width_shift_range": 0,
    "height_shift_range": 0,
    "zoom_range": 0,
    "horizontal_flip": False,
}


def only(**parameters):
    return ImageAugmentation(**{**NOTHING, **parameters})


def views(augmentation, n=40, image=IMAGE):
    return [augmentation.view(image, b"digest", i) for i in range(1, n + 1)]


def test_nothing_asked_for_changes_nothing():
    for view in views(only(), 3):
        np.testing.assert_array_equal(view, IMAGE)
        assert view.dtype == np.float32


@pytest.mark.parametrize(
    ("parameter", "mirrored"),
    [("horizontal_flip", IMAGE[:, ::-1]), ("vertical_flip", IMAGE[::-1])],
)
def test_flips(parameter, mirrored):
    flipped = [
        np.array_equal(view, mirrored) or (np.testing.assert_array_equal(view, IMAGE))
        for view in views(only(**{parameter: True}))
    ]
    assert 10 <= sum(map(bool, flipped)) <= 30


def test_shifts_are_fractions_of_the_sides():
    ramp = np.repeat(np.arange(100.0, dtype=np.float32)[:, None], 60, axis=1)[..., None]
    down = [v[50, 0, 0] - 50 for v in views(only(height_shift_range=0.2), image=ramp)]
    right = [v[50, 0, 0] - 50 for v in views(only(width_shift_range=0.2), image=ramp)]
    assert -20 <= min(down) < -12
    assert 12 < max(down) <= 20
    np.testing.assert_allclose(right, 0, atol=1e-4)


def test_rotation_is_in_degrees_about_the_centre():
    image = np.zeros((101, 101, 1), np.float32)
    image[50, 50:] = 255  # a hand that points right
    for view in views(only(rotation_range=30), 20, image):
        rows, columns = np.nonzero(view[:, :, 0] > 60)
        far = np.argmax(columns)
        angle = np.degrees(np.arctan2(rows[far] - 50, columns[far] - 50))
        assert abs(angle) <= 31
        assert view[50, 50, 0] > 60


def test_zoom_is_a_factor():
    image = np.zeros((100, 100, 1), np.float32)
    image[25:75, 25:75] = 1
    sides = [np.sqrt(view.sum()) for view in views(only(zoom_range=0.4), image=image)]
    assert 30 <= min(sides) < 42
    assert 58 < max(sides) <= 70


def test_shear_keeps_the_rows_or_the_columns():
    image = np.zeros((101, 101, 1), np.float32)
    image[50] = 1
    sheared = views(only(shear_range=40), 10, image)
    assert any(not np.array_equal(view, image) for view in sheared)
    for view in sheared:
        assert view[50, 50, 0] > 0.5


def test_brightness_is_a_factor_and_clipped():
    for view in views(only(brightness_range=0.5)):
        factor = np.median(view / IMAGE)
        assert 0.5 <= factor <= 1.5
        np.testing.assert_allclose(view, np.clip(IMAGE * factor, 0, 255), rtol=1e-3)


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect", "wrap", "constant"])
def test_what_lies_beyond_the_edges(fill_mode):
    image = np.full((20, 20, 3), 100, np.float32)
    darkest = min(
        v.min() for v in views(only(width_shift_range=0.5, fill_mode=fill_mode), 9, image)
    )
    assert darkest == pytest.approx(0 if fill_mode == "constant" else 100, abs=1e-3)


@settings(max_examples=30)
@given(st.binary(max_size=8), st.integers(1, 1000))
def test_a_view_depends_on_the_digest_and_its_number_alone(digest, index):
    augmentation = ImageAugmentation(brightness_range=0.1)
    view = augmentation.view(IMAGE, digest, index)
    np.testing.assert_array_equal(view, augmentation.view(IMAGE, digest, index))
    assert not np.array_equal(view, augmentation.view(IMAGE, digest, index + 1))
    assert not np.array_equal(view, augmentation.view(IMAGE, digest + b"!", index))
    assert augmentation.token(index) != augmentation.token(index + 1)
    assert augmentation.token(index) != ImageAugmentation().token(index)


def test_equal_parameters_have_equal_tokens():
    one = ImageAugmentation(
        rotation_range=20, horizontal_flip=np.bool_(True), seed=np.int64(0)
    )
    assert one.token(3) == ImageAugmentation(rotation_range=20.0, horizontal_flip=True).token(
        3
    )


@pytest.mark.parametrize(
    "parameters", [{"zoom_range": 1}, {"rotation_range": -1}, {"fill_mode": "mirror"}]
)
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        ImageAugmentation(**parameters).view(IMAGE, b"", 1)


def test_bytes_are_altered_as_numbers_are_to_half_a_level():
    image = np.uint8(IMAGE.round())
    augmentation = ImageAugmentation(horizontal_flip=True, shear_range=10)
    for index in range(1, 9):
        exact = augmentation.view(np.float32(image), b"digest", index)
        view = augmentation.view(image, b"digest", index)
        assert view.dtype == np.float32
        np.testing.assert_allclose(view, exact, atol=0.501)
        assert view.max() <= 255


def test_without_a_digest_pixels_stand_for_themselves():
    augmentation = ImageAugmentation()
    view = augmentation.view(IMAGE)
    np.testing.assert_array_equal(view, augmentation.view(IMAGE.copy(), index=1))
    assert not np.array_equal(view, augmentation.view(IMAGE, index=2))
    np.testing.assert_array_equal(view, augmentation.view(IMAGE, digest_of(IMAGE), 1))


def test_views_of_images_are_drawn_beside_them(digits, tmp_path):
    mpl.use("agg")
    X, arrays = digits[0].reshape(-1, 64), digits[0]
    how = {"image_shape": (8, 8), "input_range": (0, 16), "size": (16, 16)}
    display = AugmentationDisplay.from_augmentation(
        ImageAugmentation(), X[:2], n_views=3, **how
    )
    assert [one.get_title() for one in display.axes_[1]] == [
        "unaltered",
        "view 1",
        "view 2",
        "view 3",
    ]
    drawn = [axes.images[0].get_array() for axes in display.axes_[1]]
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(drawn))
    pixels = decode(arrays[1], (16, 16), (0, 16))
    expected = ImageAugmentation().view(pixels, digest_of(arrays[1]), 2)
    np.testing.assert_allclose(drawn[2], np.clip(expected, 0, 255), atol=0.51)

    tuned = classifier(augmentation="default", image_shape=(8, 8))
    same = AugmentationDisplay.from_estimator(make_pipeline(tuned), X[:2], n_views=3)
    np.testing.assert_array_equal(same.axes_[1, 2].images[0].get_array(), drawn[2])
    with pytest.raises(TypeError, match="Classifier trains on no augmented views"):
        AugmentationDisplay.from_estimator(classifier(augmentation=None), X[:2])

    bad = AugmentationDisplay.from_augmentation(ImageAugmentation(), ["no.png"], n_views=1)
    [text] = bad.axes_[0, 0].texts
    assert text.get_text().startswith("row 0: does not")
    mpl.pyplot.close("all")
