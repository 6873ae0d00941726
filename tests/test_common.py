"""scikit-learn's checks of estimators, those it runs itself and those it leaves out."""

import ast
import inspect
import re

import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import sktransfer
from sktransfer import (
    FineTunedConvNetClassifier,
    FineTunedConvNetRegressor,
    PretrainedFeatureTransformer,
)

# The battery hands out rows of a few numbers, some negative, up to about 105: images of one
# row of pixels. Mirroring would swap the features of such an image, and blobs that differ by
# a hundredth of the range need the whole network trained, with a high rate.
TRANSFORMER = PretrainedFeatureTransformer(
    "tiny", image_shape=(1, -1), input_range=(-1000, 1000)
)
WHOLE = {
    "backbone": "tiny",
    "image_shape": (1, -1),
    "input_range": (-110, 110),
    "input_size": (8, 16),
    "pooling": None,
    "dropout": 0.0,
    "augmentation": None,
    "early_stopping": False,
    "unfreeze": "all",
    "optimizer": "adam",
    "head_epochs": 1,
    "fine_tune_epochs": 8,
    "fine_tune_learning_rate": 4e-3,
    "batch_size": 32,
    "random_state": 0,
}
CLASSIFIER = FineTunedConvNetClassifier(**WHOLE)
# Its head is large, as differences between images are small: high rates would wreck it.
REGRESSOR = FineTunedConvNetRegressor(
    **{**WHOLE, "fine_tune_learning_rate": 1e-5, "fine_tune_epochs": 2}
)
INSTANCES = [TRANSFORMER, CLASSIFIER, REGRESSOR]

IN_BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "steps on mini-batches are not those on other mini-batches of repeated images"
    ),
}
EXPECTED_FAILURES = {TRANSFORMER: {}, CLASSIFIER: IN_BATCHES, REGRESSOR: IN_BATCHES}

LEFT_OUT = {
    TRANSFORMER: [
        "check_dataframe_column_names_consistency",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_param_validation",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
    ],
    CLASSIFIER: [
        "check_dataframe_column_names_consistency",
        "check_param_validation",
    ],
    REGRESSOR: [
        "check_dataframe_column_names_consistency",
        "check_param_validation",
    ],
}
# Of scikit-learn 1.9; 1 is a hollow pass.
LEAST_CHECKS = {TRANSFORMER: 45, CLASSIFIER: 67, REGRESSOR: 60}


@parametrize_with_checks(INSTANCES, expected_failed_checks=EXPECTED_FAILURES.get)
def test_sklearn_battery(estimator, check):
    check(estimator)


# The default, but for what images of one row need; judged by folds, it takes three minutes.
CLIMBING = clone(CLASSIFIER).set_params(
    unfreeze="auto", early_stopping=True, fine_tune_epochs=3, batch_size=32
)


@pytest.mark.slow
@parametrize_with_checks(
    [CLIMBING], expected_failed_checks=lambda _: EXPECTED_FAILURES[CLASSIFIER]
)
def test_sklearn_battery_where_held_out_images_decide(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", INSTANCES, ids=lambda e: type(e).__name__)
def test_the_battery_is_the_whole_one(estimator):
    checks = estimator_checks.estimator_checks_generator(estimator)
    assert len(list(checks)) >= LEAST_CHECKS[estimator]


# These checks themselves fit on a table with names and transform one without.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize(
    ("estimator", "name"),
    [(estimator, name) for estimator in INSTANCES for name in LEFT_OUT[estimator]],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_sklearn_checks_left_out_of_the_battery(estimator, name):
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


ESTIMATORS = [
    public
    for public in map(vars(sktransfer).get, sktransfer.__all__)
    if inspect.isclass(public) and issubclass(public, BaseEstimator)
]


def documented(cls):
    """Each entry of the docstring's section of parameters: name → all of its text."""
    sections = re.split(r"^(.+)\n-+\n", inspect.getdoc(cls), flags=re.MULTILINE)
    section = sections[sections.index("Parameters") + 1]
    _, *parts = re.split(r"^(\w+) : ", section, flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_every_parameter_is_documented_with_its_default(cls):
    parameters = inspect.signature(cls).parameters
    entries = documented(cls)
    assert list(entries) == list(parameters)
    for name, parameter in parameters.items():
        kind, *explained = entries[name].splitlines()
        assert explained, name
        assert ast.literal_eval(kind.rpartition("default=")[2]) == parameter.default, name
    assert not re.search(r"<\w+>", cls.__doc__)  # the place of a shared text


def test_shared_parameters_read_the_same_on_both_estimators():
    features, classifier = map(documented, (type(TRANSFORMER), type(CLASSIFIER)))
    differ = {
        name for name in features.keys() & classifier if features[name] != classifier[name]
    }
    assert differ == {"pooling", "on_error"}  # of features, or of the head and a fit
    assert len(features.keys() & classifier) > 10
