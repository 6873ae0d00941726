import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from networks import relative_error
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import BackboneError, PretrainedFeatureTransformer

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)


def test_features_are_flattened_activations():
    transformer = PretrainedFeatureTransformer("tiny").fit(IMAGES)
    assert transformer.feature_shape_ == (4, 4, 48)
    features = transformer.transform(IMAGES)
    assert features.shape == (6, 768)
    assert features.dtype == np.float32
    pooled = PretrainedFeatureTransformer("tiny", pooling="max").fit_transform(IMAGES)
    np.testing.assert_array_equal(features.reshape(6, 16, 48).max(axis=1), pooled)


def test_transform_needs_no_fit_and_changes_nothing():
    transformer = PretrainedFeatureTransformer("tiny")
    before = dict(vars(transformer))
    features = transformer.transform(IMAGES)
    assert vars(transformer) == before
    np.testing.assert_array_equal(features, transformer.fit_transform(IMAGES))


def test_intermediate_layers():
    for layer, length in (("block1_conv1", 16), ("block2_pool", 32), ("block3_conv2", 48)):
        transformer = PretrainedFeatureTransformer("tiny", layer=layer, pooling="avg")
        assert transformer.fit_transform(IMAGES).shape == (6, length)


def test_an_unknown_layer_gets_the_nearest_names():
    with pytest.raises(BackboneError, match="no layer 'block3_conv4'; nearest: 'block3_conv"):
        PretrainedFeatureTransformer("tiny", layer="block3_conv4").fit(IMAGES)


def test_the_layers_of_a_network_are_listed_and_described():
    transformer = PretrainedFeatureTransformer("tiny")
    summary = transformer.summary()
    assert [layer.name for layer in summary.layers] == transformer.layer_names()
    assert summary.layers[-1].shape == transformer.fit(IMAGES).feature_shape_
    assert "block1_conv1  32 × 32 × 16         448" in str(summary).splitlines()
    for name in transformer.layer_names():
        transformer.set_params(layer=name).fit(IMAGES)


def test_set_params_never_meets_a_stale_network():
    transformer = PretrainedFeatureTransformer("tiny", pooling="avg")
    first = transformer.fit_transform(IMAGES)
    changed = transformer.set_params(weights=None).transform(IMAGES)
    assert not np.array_equal(first, changed)
    np.testing.assert_array_equal(
        transformer.set_params(weights="pretrained").transform(IMAGES), first
    )


def test_feature_names_and_output_containers():
    transformer = PretrainedFeatureTransformer("tiny", pooling="avg")
    features = transformer.fit_transform(IMAGES)
    names = transformer.get_feature_names_out()
    assert names[0] == "pretrainedfeaturetransformer0"
    assert len(names) == 48
    frame = transformer.set_output(transform="pandas").fit_transform(IMAGES)
    assert list(frame.columns) == list(names)
    np.testing.assert_array_equal(frame.to_numpy(), features)


def test_a_pickle_holds_no_weights():
    transformer = PretrainedFeatureTransformer("tiny").fit(IMAGES)
    transformer.transform(IMAGES)
    pickled = pickle.dumps(transformer)
    assert len(pickled) < 10_000
    loaded = pickle.loads(pickled)
    np.testing.assert_array_equal(loaded.transform(IMAGES), transformer.transform(IMAGES))


def test_clone_and_html_repr():
    transformer = PretrainedFeatureTransformer("tiny", backbone_params={}, pooling="avg")
    assert clone(transformer).get_params() == transformer.get_params()
    assert "PretrainedFeatureTransformer" in transformer._repr_html_()


def test_images_beside_tabular_columns(tmp_path, digits):
    X, y = digits
    for i in range(60):
        Image.fromarray((X[i] * 15).astype(np.uint8)).save(tmp_path / f"{i}.png")
    frame = pd.DataFrame(
        {
            "path": [str(tmp_path / f"{i}.png") for i in range(60)],
            "mean": X[:60].mean(axis=(1, 2)),
            "parity": y[:60] % 2,
        }
    )
    for column in ("path", ["path"]):
        columns = ColumnTransformer(
            [
                ("image", PretrainedFeatureTransformer("tiny", pooling="avg"), column),
                ("rest", StandardScaler(), ["mean", "parity"]),
            ]
        )
        assert columns.fit_transform(frame).shape == (60, 50)
        assert len(columns.get_feature_names_out()) == 50
        model = make_pipeline(columns, LogisticRegression(max_iter=1000))
        assert model.fit(frame, y[:60]).score(frame, y[:60]) > 0.9


def test_a_union_of_two_layers():
    union = FeatureUnion(
        [
            ("low", PretrainedFeatureTransformer("tiny", layer="block1_pool", pooling="avg")),
            ("high", PretrainedFeatureTransformer("tiny", pooling="avg")),
        ]
    )
    assert union.fit_transform(IMAGES).shape == (6, 16 + 48)


LAYERS = ["block3_pool", "block1_pool"]


@pytest.mark.parametrize("pooling", ["avg", "max", None])
def test_a_list_of_layers_is_their_features_side_by_side(pooling):
    several = PretrainedFeatureTransformer("tiny", layer=LAYERS, pooling=pooling)
    alone = [
        PretrainedFeatureTransformer("tiny", layer=layer, pooling=pooling, cache_dir=None)
        for layer in LAYERS
    ]
    expected = np.hstack([transformer.fit_transform(IMAGES) for transformer in alone])
    np.testing.assert_array_equal(several.fit_transform(IMAGES), expected)
    assert several.feature_shape_ == (expected.shape[1],)
    names = several.get_feature_names_out()
    lengths = [len(transformer.get_feature_names_out()) for transformer in alone]
    assert names.tolist() == [
        f"pretrainedfeaturetransformer_{layer}_{i}"
        for layer, length in zip(LAYERS, lengths, strict=True)
        for i in range(length)
    ]


@pytest.mark.parametrize("cache_dir", ["default", None])
def test_several_layers_are_computed_in_one_pass_and_looked_up_apart(cache_dir):
    several = PretrainedFeatureTransformer("tiny", layer=LAYERS, cache_dir=cache_dir)
    misses = several.cache_info().misses
    features = several.fit_transform(IMAGES)
    assert several.cache_info().misses == misses + len(IMAGES)
    again = several.fit_transform(IMAGES)
    np.testing.assert_array_equal(again, features)
    if cache_dir is not None:
        PretrainedFeatureTransformer("tiny", layer=LAYERS[1]).fit_transform(IMAGES)
        assert several.cache_info().misses == misses + len(IMAGES)


def test_a_list_of_layers_that_are_not_there():
    with pytest.raises(BackboneError, match=r"nearest: .block3_pool"):
        PretrainedFeatureTransformer("tiny", layer=["block1_pool", "block3_pol"]).fit(IMAGES)
    with pytest.raises(BackboneError, match="empty"):
        PretrainedFeatureTransformer("tiny", layer=[]).fit(IMAGES)


def test_a_progress_bar_on_request_only(capfd):
    PretrainedFeatureTransformer("tiny").fit_transform(IMAGES[:3])
    assert capfd.readouterr() == ("", "")
    PretrainedFeatureTransformer("tiny", verbose=1).fit_transform(IMAGES)
    out, err = capfd.readouterr()
    assert out == ""
    assert "6/6 images, 3 cached, " in err
    assert "\x1b" not in err


def test_transferred_features_beat_raw_pixels(digits):
    """Digits 5 to 9 from 10 labelled images a class, on features of digits 0 to 4."""
    X, y = digits
    X, y = X[y >= 5], y[y >= 5]
    splits = StratifiedShuffleSplit(10, train_size=50, random_state=1)
    classifier = LogisticRegression(max_iter=5000)
    pixels = cross_val_score(classifier, X.reshape(len(X), -1), y, cv=splits)
    transfer = make_pipeline(
        PretrainedFeatureTransformer("tiny", input_range=(0, 16)), classifier
    )
    features = cross_val_score(transfer, X, y, cv=splits)
    assert features.mean() > pixels.mean() + pixels.std()
    assert (features > pixels).all()


def mobilenet_pipeline(imagenet, **parameters):
    return Pipeline(
        [
            (
                "feat",
                PretrainedFeatureTransformer(**imagenet, **{"pooling": "avg", **parameters}),
            ),
            ("scale", StandardScaler()),
            ("clf", LogisticRegression(C=0.01)),
        ]
    )


@pytest.fixture(scope="module")
def photograph_cache(photographs, imagenet, tmp_path_factory):
    """A cache of the pooled features of all photographs, and the search that filled it."""
    folder = tmp_path_factory.mktemp("photographs")
    pipeline = mobilenet_pipeline(imagenet, cache_dir=folder)
    search = GridSearchCV(pipeline, {"clf__C": [0.001, 0.01, 0.1, 1.0]}, cv=5)
    search.fit(*photographs)
    return folder, search, search.best_estimator_["feat"].cache_info()


def test_a_grid_search_computes_each_photograph_once(photograph_cache):
    _, search, info = photograph_cache
    assert info.misses == 2002
    # 4 candidates × 5 folds look at training and test images; the best at all once more,
    # but for the one time that each was computed.
    assert info.hits == (4 * 5 + 1) * 2002 - 2002
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] >= 0.98  # of the pipeline as it is
    assert search.best_score_ > 0.98


def test_a_second_process_computes_nothing_and_imports_no_network(
    photograph_cache, photographs
):
    folder, _, _ = photograph_cache
    code = """
import sys
from sktransfer import PretrainedFeatureTransformer
transformer = PretrainedFeatureTransformer(
    "mobilenet", backbone_params={"alpha": 0.75}, input_size=(224, 224), pooling="avg",
    cache_dir=sys.argv[1],
)
transformer.fit_transform(sys.argv[2:])
print(transformer.cache_info().misses, "keras" in sys.modules, "tensorflow" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder), *photographs[0]],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "0 False False"


def test_of_old_and_new_images_only_the_new_ones_are_computed(
    photograph_cache, photographs, imagenet, tmp_path
):
    folder, _, _ = photograph_cache
    added = [str(tmp_path / f"{i}.png") for i in range(10)]
    for source, path in zip(photographs[0], added, strict=False):
        with Image.open(source) as image:
            image.rotate(90).save(path)
    transformer = PretrainedFeatureTransformer(**imagenet, pooling="avg", cache_dir=folder)
    misses = transformer.cache_info().misses
    transformer.fit_transform([*photographs[0], *added])
    assert transformer.cache_info().misses == misses + 10


@pytest.mark.slow
def test_cold_cross_validation_in_two_processes_shares_the_work(
    photographs, imagenet, tmp_path
):
    def note_misses(fitted, X, y):
        """Score, and leave this process's count in a file of its own."""
        misses = fitted["feat"].cache_info().misses
        (tmp_path / f"{os.getpid()}.misses").write_text(str(misses))
        return fitted.score(X, y)

    pipeline = mobilenet_pipeline(imagenet)
    # By name: workers that are there already may know the default folder of another test.
    pipeline.set_params(feat__cache_dir=tmp_path / "shared")
    scores = cross_val_score(pipeline, *photographs, cv=5, n_jobs=2, scoring=note_misses)
    assert scores.mean() >= 0.98
    counts = [int(path.read_text()) for path in tmp_path.glob("*.misses")]
    assert len(counts) == 2
    assert 2002 <= sum(counts) <= 1.2 * 2002


def test_features_equal_plain_keras(photographs, imagenet):
    import keras

    paths = photographs[0][::100]
    pixels = [
        np.asarray(Image.open(p).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        for p in paths
    ]
    batch = keras.applications.mobilenet.preprocess_input(np.stack(pixels).astype(np.float32))
    model = keras.applications.MobileNet(
        alpha=0.75, input_shape=(224, 224, 3), include_top=False, weights="imagenet"
    )
    expected = model.predict(batch, verbose=0).reshape(len(paths), -1)
    got = PretrainedFeatureTransformer(**imagenet).fit_transform(paths)
    errors = np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() <= 2e-5
    assert relative_error(got, expected) <= 1e-5


@pytest.mark.slow
def test_photographs_flattened(photographs, imagenet):
    paths, y = photographs
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1000:2], order[1000::2]  # half of each: a minute less
    model = make_pipeline(
        PretrainedFeatureTransformer(**imagenet), LogisticRegression(C=0.001, max_iter=50)
    )
    model.fit(paths[train], y[train])
    assert model["pretrainedfeaturetransformer"].feature_shape_ == (7, 7, 768)
    assert model.score(paths[test], y[test]) >= 0.97
