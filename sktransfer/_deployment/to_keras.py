"""`to_keras`: a fitted estimator as one Keras model."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sktransfer._fine_tuning import FineTunedConvNet
from sktransfer._transformer import PretrainedFeatureTransformer


def to_keras(estimator: Any) -> Any:
    """A fitted estimator as one Keras model, from pixels to what it predicts.

    The model takes RGB pixels from 0 to 255 at the input size of the network;
    `preprocessing` is inside. ``docs/deployment.md`` says how images become such pixels, and
    how ``model.export(...)`` makes ONNX, LiteRT, OpenVINO or TensorFlow files of the model.

    Parameters
    ----------
    estimator : estimator
        A fitted `FineTunedConvNetClassifier` or `FineTunedConvNetRegressor`, or a Pipeline of
        `PretrainedFeatureTransformer` and of steps of scikit-learn that are linear: scalers,
        `PCA`, selected columns, `LogisticRegression`, `LinearSVC`, `Ridge` and the like; or a
        search that has found one of these. Steps between may also be `Normalizer`.

    Returns
    -------
    model : keras.Model
        A new one each time. Input ``(n, height, width, 3)``, float32 or uint8. Output, as
        float32:

        - ``(n, n_classes)``, probabilities in the order of `classes_`;
        - ``(n, n_labels)`` of several labels, the probability of each;
        - of a classifier without `predict_proba`: its `decision_function`, ``(n, 1)`` for two
          classes;
        - ``(n, n_outputs)``, the numbers of a regressor;
        - ``(n, n_features_out)``, features, if nothing follows the transformer.

        It computes in float32, whatever `engine` and `precision` are.

    Raises
    ------
    NotFittedError
        It is not fitted.
    ValueError
        There is a step that no layers do the same as, or `preprocessing` is a function.

    See Also
    --------
    bundle : Stores any estimator, for services with scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTunedConvNetClassifier, to_keras
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = FineTunedConvNetClassifier(
    ...     "tiny", image_shape=(8, 8), input_range=(0, 16), random_state=0, unfreeze=0
    ... ).fit(X[:100], y[:100])
    >>> model = to_keras(classifier)
    >>> model.input_shape, model.output_shape
    ((None, 32, 32, 3), (None, 10))
    """
    check_is_fitted(estimator)
    first, *others = _steps(estimator)
    if isinstance(first, FineTunedConvNet) and not others:
        return first.model_
    if not isinstance(first, PretrainedFeatureTransformer):
        raise ValueError(
            f"a Keras model cannot be made of {type(first).__name__}, but of a fine-tuned "
            "estimator or of a Pipeline that begins with PretrainedFeatureTransformer; "
            "sktransfer.bundle stores any estimator"
        )
    from sktransfer._deployment.layers import merged, parts_of
    from sktransfer._deployment.pixels import from_pixels

    return from_pixels(first, merged(parts_of(others)))


def _steps(estimator):
    """The steps of Pipelines, those within others as well, without those that do nothing."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    used = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    return [inner for step in used for inner in _steps(step)]
