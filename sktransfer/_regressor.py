"""`FineTunedConvNetRegressor`: numbers of images, by fine-tuning."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval

from sktransfer._base import documented
from sktransfer._fine_tuning import FineTunedConvNet
from sktransfer._images.augmentation import ImageAugmentation
from sktransfer._typing import (
    Backbone,
    Engine,
    Images,
    OnError,
    Path,
    Precision,
    Preprocessing,
    RandomState,
    Unfreeze,
)


@documented
class FineTunedConvNetRegressor(RegressorMixin, FineTunedConvNet):
    """Predict numbers of images by a pretrained network whose top layers are trained along.

    First a new head is trained on the frozen network. A head without hidden layers is a ridge
    regression: scikit-learn solves it to its optimum. Then the head and the top layers of the
    network are trained with a low learning rate, to the least squared error. Numbers are
    standardised for that. All else is as in `FineTunedConvNetClassifier`: held-out images
    decide how much of the network is trained, and how far, and the frozen part of the network
    runs once for each view of an image.

    Augmented views must have the number of their image. Where it is an angle or a place,
    choose `augmentation` accordingly.

    Parameters
    ----------
    <backbone>

    <weights>

    <backbone_params>

    <input_size>

    <preprocessing>

    <input_range>

    <image_shape>

    <precision>

    <engine>

    <max_image_pixels>

    <conv_filters>

    <pooling>

    <hidden_units>

    <dropout>

    head_alpha : float or None, default=None
        Strength of the penalty on a head without hidden layers, as in `Ridge`. Features are
        first divided by the standard deviation of their channel (the root of its mean variance
        over all positions), and numbers by theirs. None chooses between 0.1 and 100,000 by
        generalised cross-validation on unaltered images, as `RidgeCV` does.

    <unfreeze>

    <augmentation>

    <augmentation_views>

    <head_epochs>

    <fine_tune_epochs>

    <head_learning_rate>

    <fine_tune_learning_rate>

    <optimizer>

    <batch_size>

    <validation_fraction>

    <early_stopping>

    <n_iter_no_change>

    <cache_dir>

    on_error : {"raise", "nan"}, default="raise"
        What to do if rows of X are no readable images.

        - ``"raise"``: one error names all of them.
        - ``"nan"``: one warning names them. `fit` leaves them out, with their numbers and
          weights, unless none is left. To find them, images that have no rows in the cache
          are decoded once more. What is predicted for them is NaN.

    <n_jobs>

    <random_state>

    <verbose>

    <keras_callbacks>

    Attributes
    ----------
    n_outputs_ : int
        How many numbers are predicted for each image.

    <history_>

    <n_iter_>

    <best_epoch_>

    <fine_tuned_share_>

    head_alpha_ : float or None
        The strength of the penalty that a head without hidden layers was solved with, before
        any fine-tuning. None if the head was trained in epochs.

    <head_losses_>

    <head_views_>

    <model_>

    <n_features_in_>

    <feature_names_in_>

    See Also
    --------
    FineTunedConvNetClassifier : The same for classes, and for several labels at once.
    PretrainedFeatureTransformer : Features of the frozen network, for any regressor.
    ImageAugmentation : How views of training images are drawn.
    TrainingHistoryDisplay : Draws the training.

    Examples
    --------
    What handwritten digits say, as a number:

    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTunedConvNetRegressor
    >>> X, y = load_digits(return_X_y=True)
    >>> regressor = FineTunedConvNetRegressor(
    ...     "tiny", unfreeze=1, image_shape=(8, 8), input_range=(0, 16), random_state=0
    ... )
    >>> regressor.fit(X[:100], y[:100]).score(X[100:400], y[100:400]) > 0.7
    True
    """

    _parameter_constraints = {  # noqa: RUF012, as scikit-learn does
        **FineTunedConvNet._parameter_constraints,
        "head_alpha": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        backbone: Backbone = "efficientnet_v2_b0",
        *,
        weights: Path | None = "pretrained",
        backbone_params: dict[str, Any] | None = None,
        input_size: Sequence[int] | None = None,
        preprocessing: Preprocessing = "backbone",
        input_range: Sequence[float] = (0, 255),
        image_shape: Sequence[int] | None = None,
        precision: Precision = "float32",
        engine: Engine = "keras",
        max_image_pixels: int | None = None,
        conv_filters: Sequence[int] = (),
        pooling: Literal["auto", "avg", "cls", "max"] | None = "auto",
        hidden_units: Sequence[int] = (),
        dropout: float = 0.2,
        head_alpha: float | None = None,
        unfreeze: Unfreeze = "auto",
        augmentation: ImageAugmentation | Literal["default"] | None = "default",
        augmentation_views: int | None = 8,
        head_epochs: int = 20,
        fine_tune_epochs: int | None = None,
        head_learning_rate: float = 1e-3,
        fine_tune_learning_rate: float = 1e-4,
        optimizer: Any = "adam",
        batch_size: int = 16,
        validation_fraction: float = 0.1,
        early_stopping: bool = True,
        n_iter_no_change: int = 5,
        cache_dir: Path | None = "default",
        on_error: OnError = "raise",
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
        keras_callbacks: list[Any] | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.backbone_params = backbone_params
        self.input_size = input_size
        self.preprocessing = preprocessing
        self.input_range = input_range
        self.image_shape = image_shape
        self.precision = precision
        self.engine = engine
        self.max_image_pixels = max_image_pixels
        self.conv_filters = conv_filters
        self.pooling = pooling
        self.hidden_units = hidden_units
        self.dropout = dropout
        self.head_alpha = head_alpha
        self.unfreeze = unfreeze
        self.augmentation = augmentation
        self.augmentation_views = augmentation_views
        self.head_epochs = head_epochs
        self.fine_tune_epochs = fine_tune_epochs
        self.head_learning_rate = head_learning_rate
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.cache_dir = cache_dir
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.keras_callbacks = keras_callbacks

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Images,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Images | None = None,
        y_val: Any = None,
    ) -> Self:
        """Train the head, then the stages of `unfreeze`.

        Parameters
        ----------
        X : sequence of n_samples images
            As in `PretrainedFeatureTransformer.fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers. One column is taken as if it had one dimension, with a warning.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of images, in training and in validation.
        X_val, y_val : like X and y, default=None
            Images to judge by, instead of a share of X.

        Returns
        -------
        self : object

        Raises
        ------
        InvalidImagesError
            Rows of X are no readable images. Its ``rows`` lists all of them.
        BackboneError
            There is no such backbone, weights file, or layer to unfreeze; or OpenVINO cannot
            take the network.
        ImportError
            ``engine="openvino"``, and OpenVINO is not installed.
        ValueError
            y has NaN or infinity, all weights are zero, a parameter does not fit, a callback
            cannot be copied, or training diverged.

        Warns
        -----
        DataConversionWarning
            y is a single column.
        ConvergenceWarning
            A stage was rolled back because its loss is not a number.
        CacheWarning
            Rows cannot be kept in the cache, and are computed again when they are needed.
        InvalidImagesWarning
            With ``on_error="nan"``: rows of X or X_val are no readable images.
        """
        result = self._fit(X, y, sample_weight, X_val, y_val, self.head_alpha)
        self.head_alpha_ = result.head_strength
        return self

    def predict(self, X: Images) -> np.ndarray:
        """The number, or numbers, of each image.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        numbers : float64 ndarray of shape (n_samples,) or (n_samples, n_outputs)

        Raises
        ------
        NotFittedError
            The regressor is not fitted.
        InvalidImagesError
            Rows of X are no readable images.
        ValueError
            The network makes NaN or infinity of images, as training diverged.
        """
        outputs, target = self._outputs(X, self.on_error)
        return target.predictions(outputs)

    def _learn(self, y, weights):
        """The target that y makes, and y as it encodes it."""
        from sktransfer._training.targets.numbers import Numbers

        target, codes = Numbers.learnt(y, weights)
        self._y_centre, self._y_scale = target.centre, target.scale
        self.n_outputs_ = target.n_outputs
        return target, codes

    def _target(self):
        """The target that was learnt."""
        from sktransfer._training.targets.numbers import Numbers

        return Numbers(self._y_centre, self._y_scale)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
