import io

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image
from scipy.sparse import csr_array
from sklearn.datasets import load_files

from sktransfer import InvalidImagesError, InvalidImagesWarning, PretrainedFeatureTransformer
from sktransfer._images.inputs import check_images

RNG = np.random.default_rng(0)


def check(X, **parameters):
    """The sources in X and the transformer that checked them."""
    transformer = PretrainedFeatureTransformer("tiny", **parameters)
    return check_images(transformer, X, reset=True), transformer


@pytest.fixture
def folder(tmp_path):
    """Six images in two folders, of different sizes."""
    for i in range(6):
        path = tmp_path / "images" / ("even" if i % 2 == 0 else "odd") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (9 + i, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_all_ways_to_pass_files_give_the_same_features(folder):
    paths = sorted(folder.glob("*/*.png"))
    names = [str(path) for path in paths]
    images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in images]
    ways = {
        "paths": paths,
        "names": names,
        "tuple": tuple(names),
        "array": np.array(names),
        "object array": np.array(paths, dtype=object),
        "column of an array": np.array(names)[:, None],
        "Series": pd.Series(names, index=range(10, 16)),
        "DataFrame": pd.DataFrame({"path": names}),
        "DataFrame of strings": pd.DataFrame({"path": names}, dtype="string"),
        "polars Series": pl.Series(names),
        "polars DataFrame": pl.DataFrame({"path": names}),
        "load_files": load_files(folder, load_content=False, shuffle=False).filenames,
        "bytes": [path.read_bytes() for path in paths],
        "bytearray": [bytearray(path.read_bytes()) for path in paths],
        "rows of one": [[name] for name in names],
        "load_files with content": load_files(folder, shuffle=False).data,
        "PIL": images,
        "arrays": arrays,
        "mixed": [paths[0], names[1], paths[2].read_bytes(), images[3], arrays[4], paths[5]],
    }
    transformer = PretrainedFeatureTransformer("tiny", pooling="avg")
    expected = transformer.fit_transform(names)
    for way, X in ways.items():
        got = transformer.fit_transform(X)
        np.testing.assert_array_equal(got, expected, err_msg=way)
    for image in images:
        image.close()


def test_stacks_of_images():
    X = RNG.integers(0, 256, (4, 9, 8, 3), dtype=np.uint8)
    transformer = PretrainedFeatureTransformer("tiny")
    expected = transformer.fit_transform(X)
    assert transformer.n_features_in_ == 9 * 8 * 3
    np.testing.assert_array_equal(transformer.transform(list(X)), expected)
    grey = X[..., :1]
    expected = transformer.transform(np.repeat(grey, 3, axis=3))
    np.testing.assert_array_equal(transformer.transform(grey), expected)
    np.testing.assert_array_equal(transformer.transform(grey[..., 0]), expected)


def test_rows_of_pixels(digits):
    X, _ = digits
    X = X[:20]
    transformer = PretrainedFeatureTransformer("tiny", image_shape=(8, 8), input_range=(0, 16))
    expected = transformer.fit_transform(X)
    np.testing.assert_array_equal(transformer.fit_transform(X.reshape(20, 64)), expected)
    assert transformer.n_features_in_ == 64
    frame = pd.DataFrame(X.reshape(20, 64)).add_prefix("pixel")
    np.testing.assert_array_equal(transformer.fit_transform(frame), expected)
    assert transformer.feature_names_in_[0] == "pixel0"
    transformer.set_params(image_shape=(-1, 8))
    np.testing.assert_array_equal(transformer.fit_transform(X.reshape(20, 64)), expected)
    with pytest.raises(ValueError, match="64"):
        transformer.transform(X.reshape(20, 64)[:, :56])


def test_colour_rows_of_pixels():
    X = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    sources, _ = check(X.reshape(4, -1), image_shape=(5, 6, 3))
    np.testing.assert_array_equal(sources, X)
    sources, _ = check(X.reshape(4, -1), image_shape=(5, 6, -1))
    np.testing.assert_array_equal(sources, X)


def test_fit_on_files_transform_arrays(folder):
    paths = sorted(folder.glob("*/*.png"))
    transformer = PretrainedFeatureTransformer("tiny").fit(paths)
    assert transformer.n_features_in_ == 1
    with Image.open(paths[0]) as image:
        got = transformer.transform(np.asarray(image)[None])
    np.testing.assert_array_equal(got, transformer.transform(paths[:1]))


def test_a_column_of_paths_has_a_name():
    frame = pd.DataFrame({"path": ["a.jpg", "b.jpg"]})
    sources, transformer = check(frame)
    assert list(sources) == ["a.jpg", "b.jpg"]
    assert list(transformer.feature_names_in_) == ["path"]
    with pytest.raises(ValueError, match="feature names"):
        check_images(transformer, frame.rename(columns={"path": "file"}), reset=False)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("cat.jpg", ValueError, r"pass \[X\]"),
        (b"\xff\xd8", ValueError, r"pass \[X\]"),
        ({"data": []}, TypeError, "filenames"),
        (pd.DataFrame({"a": [0.5, 1]}), ValueError, "image_shape"),
        (pd.DataFrame({"a": ["x.jpg"], "b": ["y.jpg"]}), ValueError, "ColumnTransformer"),
        (pd.DataFrame({"a": ["x.jpg"], "b": [3]}), ValueError, "ColumnTransformer"),
        (np.zeros((3, 64)), ValueError, "image_shape"),
        ([[0.0] * 64], ValueError, "image_shape"),
        (np.zeros(64), ValueError, "1D array"),
        ([], ValueError, "0 images"),
        (".", ValueError, r"folder: pass load_image_folder\('\.'\)"),
        (io.BytesIO(b"x"), TypeError, r"pass \[X.read\(\)\]"),
        (np.zeros((0, 8, 8, 3)), ValueError, "0 images"),
        (np.zeros((8, 8, 3)), ValueError, "one colour image"),
        (np.zeros((2, 3, 8, 8)), ValueError, "channels come last"),
        (np.zeros((2, 8, 8, 4)), ValueError, r"4 channels; .*X\[\.\.\., :3\]"),
        (np.zeros((2, 8, 8, 3), complex), ValueError, "complex"),
        (np.zeros((2, 2, 8, 8, 3)), ValueError, "dim"),
        (iter(["a.jpg"]), TypeError, r"list\(X\)"),
        ({"a.jpg", "b.jpg"}, TypeError, r"list\(X\)"),
        ({"a": "a.jpg"}.values(), TypeError, r"list\(X\)"),
        (csr_array(np.zeros((3, 64))), TypeError, "[Ss]parse"),
    ],
)
def test_what_is_no_sequence_of_images_is_refused_with_a_remedy(X, error, message):
    with pytest.raises(error, match=message):
        check(X)


def test_what_holds_images_in_tensorflow_and_keras_is_named_with_a_remedy_that_works(folder):
    import keras
    import tensorflow as tf

    images = RNG.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    data = tf.data.Dataset.from_tensor_slices((images, range(5))).batch(2)
    ragged = tf.ragged.constant([images[0].tolist(), images[1, :4].tolist()], ragged_rank=1)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return images[2 * i : 2 * i + 2], None

    for X, n in ((data, 5), (Batches(), 5), (ragged, 2)):
        with pytest.raises(TypeError, match="not a sequence of images: pass ") as caught:
            check(X)
        remedy = str(caught.value).partition("pass ")[2]
        assert len(check(eval(remedy, {"X": X, "np": np}))[0]) == n


@pytest.mark.parametrize(
    ("library", "name", "remedy"),
    [
        ("torch.utils.data.dataset", "Dataset", "for image, label in X"),
        ("torch.utils.data.dataloader", "DataLoader", "X.dataset"),
        ("datasets.arrow_dataset", "Dataset", r"X\['image'\]"),
        ("datasets.dataset_dict", "DatasetDict", r"X\['train'\]"),
    ],
)
def test_what_holds_images_elsewhere_is_named_by_its_class(library, name, remedy):
    kind = type(name, (dict,), {"__module__": library})  # these libraries are not here
    with pytest.raises(TypeError, match=f"X is a (Mine|{name}), .*: pass .*{remedy}"):
        check(type("Mine", (kind,), {})())


def test_text_that_is_no_path_is_not_repeated():
    text = "iVBORw0KGgo" * 20_000
    for X in ([text], ["data:image/png;base64,iVBORw0KGgo"]):
        with pytest.raises(InvalidImagesError, match=r"base64\.b64decode") as caught:
            PretrainedFeatureTransformer("tiny").fit_transform(X)
        assert len(str(caught.value)) < 1500
    with pytest.raises(InvalidImagesError, match=r"is a BytesIO, not an image: .*read\(\)"):
        PretrainedFeatureTransformer("tiny").fit_transform(["a.jpg", io.BytesIO(b"x")])


def test_a_shape_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="64 columns"):
        check(np.zeros((3, 64)), image_shape=(7, 8))


def test_nan_pixels_are_named_by_row():
    X = np.zeros((5, 8, 8))
    X[[1, 3], 2, 2] = np.nan, np.inf
    for way in (X, list(X)):
        with pytest.raises(InvalidImagesError) as caught:
            PretrainedFeatureTransformer("tiny").transform(way)
        assert [row.row for row in caught.value.rows] == [1, 3]


@pytest.mark.parametrize(
    "X",
    [
        [None],
        pd.Series([np.nan, np.nan]),
        pd.Series([pd.NA], dtype="string"),
        pl.Series([None]),
    ],
    ids=["list", "Series", "strings", "polars"],
)
def test_missing_values_alone_are_rows_too(X):
    transformer = PretrainedFeatureTransformer("tiny", on_error="nan", pooling="avg")
    with pytest.warns(InvalidImagesWarning, match="row 0: is a missing value"):
        assert np.isnan(transformer.transform(X)).all()


def test_names_of_columns_are_forgotten_by_the_next_fit():
    _, transformer = check(pd.DataFrame({"path": ["a.jpg"]}))
    check_images(transformer, ["a.jpg"], reset=True)
    assert not hasattr(transformer, "feature_names_in_")


def test_numbers_from_0_to_1_under_a_wider_range_are_suspicious():
    X = np.linspace(0, 1, 2 * 64).reshape(2, 8, 8)
    with pytest.warns(UserWarning, match=r"input_range=\(0, 1\)"):
        check(X)
    with pytest.warns(UserWarning, match=r"input_range=\(0, 1\)"):
        check(X.reshape(2, 64), image_shape=(8, 8))
    check(X, input_range=(0, 1))


def test_masked_values_are_refused():
    X = np.ma.masked_greater(RNG.integers(0, 256, (4, 8, 8)), 250)
    with pytest.raises(ValueError, match="masked"):
        check(X)


@pytest.mark.parametrize("shape", [(16.0, 16.0), (256,), (8, 8, 4), (0, 8), (-2, 8)])
def test_impossible_image_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="image_shape"):
        check(np.zeros((3, 256)), image_shape=shape)
