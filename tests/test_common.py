"""scikit-learn's checks of estimators, those it runs itself and those it leaves out."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sktransfer import PretrainedFeatureTransformer

# The battery hands out rows of a few numbers, some negative: images of one row of pixels.
INSTANCES = [
    PretrainedFeatureTransformer("tiny", image_shape=(1, -1), input_range=(-1000, 1000)),
]

LEFT_OUT = [
    "check_dataframe_column_names_consistency",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@parametrize_with_checks(INSTANCES)
def test_sklearn_battery(estimator, check):
    check(estimator)


# These checks themselves fit on a table with names and transform one without.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("estimator", INSTANCES, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("name", LEFT_OUT)
def test_sklearn_checks_left_out_of_the_battery(estimator, name):
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", INSTANCES, ids=lambda e: type(e).__name__)
def test_no_check_of_the_battery_is_skipped(estimator):
    results = estimator_checks.check_estimator(estimator, on_fail=None, on_skip=None)
    assert {result["status"] for result in results} == {"passed"}
    assert len(results) >= 45  # so many as of scikit-learn 1.9; one means a hollow pass
