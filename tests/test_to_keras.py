"""Fitted estimators as Keras models, from pixels to predictions."""

import keras
import numpy as np
import pytest
from classifiers import classifier, regressor
from sklearn.decomposition import NMF, PCA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC

from sktransfer import PretrainedFeatureTransformer, to_keras
from sktransfer._images.decoding import decode

LOGISTIC = LogisticRegression(max_iter=1000)
CHOSEN = LogisticRegressionCV(
    Cs=2, l1_ratios=(0,), use_legacy_attributes=False, scoring="accuracy", max_iter=1000
)
STEPS = [
    [StandardScaler(), LOGISTIC],
    [StandardScaler(with_mean=False), PCA(8), CHOSEN],
    [StandardScaler(with_std=False), PCA(8, whiten=True), LinearSVC()],
    [VarianceThreshold(), MinMaxScaler(), SelectKBest(k=20), RidgeClassifier()],
    [
        VarianceThreshold(),
        SelectKBest(k=20),
        MaxAbsScaler(),
        Normalizer(),
        RidgeClassifierCV(),
    ],
    [RobustScaler(), TruncatedSVD(8), Normalizer("l1"), SGDClassifier(loss="log_loss")],
    [VarianceThreshold(), Normalizer("max"), LinearDiscriminantAnalysis()],
    [StandardScaler(), LinearDiscriminantAnalysis(n_components=1), LOGISTIC],
    [StandardScaler(), SGDClassifier(loss="hinge")],
    [StandardScaler(), OneVsRestClassifier(LOGISTIC)],
    [Normalizer(), Ridge()],
    [StandardScaler(), IncrementalPCA(8), LinearRegression()],
    [StandardScaler(), make_pipeline("passthrough", RidgeCV())],
    [StandardScaler(), ElasticNet()],
    [StandardScaler(), SGDRegressor()],
]
LABELS = [
    [StandardScaler(), MultiOutputClassifier(LOGISTIC)],
    [StandardScaler(), OneVsRestClassifier(LOGISTIC)],
    [StandardScaler(), RidgeClassifier()],
]


@pytest.fixture(scope="module")
def some(digits):
    X, y = digits
    return X[:120], y[:120]


def pixels(X, size=(32, 32)):
    """RGB from 0 to 255."""
    return np.stack([decode(x, size, (0, 16)) for x in X])


def named(steps):
    return "-".join(type(step).__name__ for step in steps)


def features(**parameters):
    common = {"input_range": (0, 16), "pooling": "avg"}
    return PretrainedFeatureTransformer("tiny", **{**common, **parameters})


def expected_of(fitted, X):
    """What a model of it is to say, in two dimensions."""
    for name in ("predict_proba", "decision_function", "predict", "transform"):
        if hasattr(fitted, name):
            said = getattr(fitted, name)(X)
            break
    if isinstance(said, list):
        return np.column_stack([of_label[:, 1] for of_label in said])
    return said.reshape(len(X), -1)


def check(fitted, X, size=(32, 32)):
    model = to_keras(fitted)
    expected = expected_of(fitted, X)
    said = model.predict_on_batch(pixels(X, size))
    assert said.shape == expected.shape
    assert model.output_shape == (None, expected.shape[1])
    np.testing.assert_allclose(said, expected, atol=1e-4 * max(1, np.abs(expected).max()))
    return model


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("steps", STEPS, ids=named)
def test_pipelines(some, steps, n_classes):
    X, y = some
    check(make_pipeline(features(), *steps).fit(X, y % n_classes), X[:20])


@pytest.mark.parametrize("steps", LABELS, ids=named)
def test_pipelines_of_several_labels(some, steps):
    X, y = some
    labels = np.column_stack([y % 2, y > 5, y == 3])
    check(make_pipeline(features(), *steps).fit(X, labels), X[:20])


def test_layers_pooled_or_not_and_searches(some):
    X, y = some
    several = features(
        layer=["block1_pool", "block3_conv1"], pooling=None, input_size=(16, 16)
    )
    check(make_pipeline(several, StandardScaler()).fit(X), X[:20], (16, 16))
    check(several.fit(X), X[:20], (16, 16))
    pipeline = make_pipeline(features(), LOGISTIC)
    check(GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}).fit(X, y), X[:20])


@pytest.mark.parametrize("preprocessing", ["tf", "caffe", "torch", "rescale", None])
def test_preprocessing_is_inside(some, preprocessing):
    X = some[0][:20]
    check(features(preprocessing=preprocessing).fit(X), X)


def test_fine_tuned_estimators(some):
    X, y = some
    labels = np.column_stack([y % 2, y > 5, y == 3])
    for target in (y, y == 7, labels):
        check(classifier(unfreeze=1, fine_tune_epochs=1).fit(X, target), X[:20], (16, 16))
    numbers = np.column_stack([1000.0 * y, -1.0 * y])
    for target in (numbers, numbers[:, 0]):
        check(regressor(unfreeze=1, fine_tune_epochs=1).fit(X, target), X[:20], (16, 16))


def test_models_are_keras_own_to_save_and_to_take_apart(some, tmp_path):
    X, y = some
    steps = VarianceThreshold(), SelectKBest(k=20), Normalizer(), LOGISTIC
    pipeline = make_pipeline(features(preprocessing="caffe"), *steps).fit(X, y)
    model = to_keras(pipeline)
    part = keras.Model(model.input, model.get_layer("block3_pool").output)
    assert part.predict_on_batch(pixels(X)).shape[0] == len(X)
    model.save(tmp_path / "model.keras")
    said = keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(pixels(X))
    np.testing.assert_allclose(said, pipeline.predict_proba(X), atol=1e-4)


def halved(pixels):
    return pixels / 2


halved.cache_token = "halved"


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([StandardScaler(), SVC()], "what SVC does"),
        ([RandomForestClassifier()], "what RandomForestClassifier does here.*LinearSVC"),
        ([MinMaxScaler(), NMF(2), LOGISTIC], "what NMF does here.*PCA"),
        ([MinMaxScaler(clip=True), LOGISTIC], "MinMaxScaler.clip=True"),
        ([SGDClassifier(loss="modified_huber")], "SGDClassifier.loss='modified_huber'"),
        ([MultiOutputClassifier(LinearSVC())], "MultiOutputClassifier"),
    ],
    ids=lambda value: named(value) if isinstance(value, list) else "",
)
def test_what_no_layers_do_is_refused_by_name(some, steps, problem):
    X, y = some
    if isinstance(steps[-1], MultiOutputClassifier):
        y = np.column_stack([y % 2, y > 5])
    with pytest.raises(ValueError, match=problem):
        to_keras(make_pipeline(features(), *steps).fit(X, y))


def test_other_estimators_and_functions_are_refused(some):
    X, y = some
    with pytest.raises(ValueError, match="made of StandardScaler"):
        to_keras(make_pipeline(StandardScaler(), LOGISTIC).fit(X.reshape(120, -1), y))
    with pytest.raises(ValueError, match="first layers of the backbone"):
        to_keras(make_pipeline(features(preprocessing=halved), LOGISTIC).fit(X, y))
    fitted = classifier(preprocessing=halved, unfreeze=0).fit(X, y)
    with pytest.raises(ValueError, match="first layers of the backbone"):
        to_keras(fitted)
    with pytest.raises(NotFittedError):
        to_keras(make_pipeline(features(), LogisticRegression()))
