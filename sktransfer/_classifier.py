"""`FineTunedConvNetClassifier`: augmented training and staged unfreezing."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from sktransfer._base import documented
from sktransfer._fine_tuning import FineTunedConvNet
from sktransfer._images.augmentation import ImageAugmentation
from sktransfer._typing import (
    Backbone,
    ClassWeight,
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
class FineTunedConvNetClassifier(ClassifierMixin, FineTunedConvNet):
    """Classify images by a pretrained network whose top layers are trained along.

    First a new head is trained on the frozen network. A head without hidden layers is a
    logistic regression: scikit-learn solves it to its optimum. Then the head and the top
    layers of the network are trained with a low learning rate. By default, held-out images
    decide how much of the network, and how far: far from ImageNet much, near to it little or
    nothing. The frozen part of the network runs once for each view of an image. Its results
    are kept on disk as in `PretrainedFeatureTransformer`. Stages, folds, candidates and
    processes share them.

    An image has one of several classes or, where y is an indicator matrix, any number of
    labels at once. Each label is then judged by itself: the head has a logistic regression for
    each, and fine-tuning minimises the mean of their losses.

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

    head_C : float or None, default=None
        Inverse strength of the penalty on a head without hidden layers, as in
        `LogisticRegression`. Features are first divided by the standard deviation of their
        channel (the root of its mean variance over all positions). None chooses between 0.001
        and 1 by cross-validation: the one with the least loss. Several labels share it.

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

    class_weight : dict, list of dict, "balanced" or None, default=None
        Weights of classes, in training and in validation, as in `LogisticRegression`. Of
        several labels, a list has a dict for each, such as ``[{0: 1, 1: 5}, {0: 1, 1: 1}]``;
        the weights of an image's labels are multiplied, as in `RandomForestClassifier`.

    <cache_dir>

    on_error : {"raise", "nan"}, default="raise"
        What to do if rows of X are no readable images.

        - ``"raise"``: one error names all of them.
        - ``"nan"``: one warning names them. `fit` leaves them out, with their labels and
          weights, unless none is left. To find them, images that have no rows in the cache
          are decoded once more. Their probabilities and logits are NaN. `predict` raises the
          error, since no label stands for them.

    <n_jobs>

    <random_state>

    <verbose>

    <keras_callbacks>

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or (n_labels, 2)
        The classes, sorted. With several labels, a row ``[0, 1]`` for each.

    label_names_ : ndarray of shape (n_labels,) or None
        With several labels: the columns of y, if it is a data frame. Else None.

    <history_>

    <n_iter_>

    <best_epoch_>

    <fine_tuned_share_>

    head_C_ : float or None
        The inverse strength that a head without hidden layers was solved with, before any
        fine-tuning. None if the head was trained in epochs.

    <head_losses_>

    <head_views_>

    <model_>

    <n_features_in_>

    <feature_names_in_>

    See Also
    --------
    PretrainedFeatureTransformer : Features of the frozen network, for any classifier.
    ImageAugmentation : How views of training images are drawn.
    TrainingHistoryDisplay : Draws the training.

    References
    ----------
    Staged fine-tuning of pretrained networks: F. Chollet, "Deep Learning with Python", 2017,
    section 5.3. First the optimal linear head, then fine-tuning: A. Kumar et al.,
    "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", 2022.
    A part of the way between weights: M. Wortsman et al., "Robust Fine-Tuning of Zero-Shot
    Models", 2022.

    Examples
    --------
    One of ten classes for each image:

    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTunedConvNetClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = FineTunedConvNetClassifier(
    ...     "tiny", unfreeze=1, image_shape=(8, 8), input_range=(0, 16), random_state=0
    ... )
    >>> classifier.fit(X[:100], y[:100]).score(X[100:400], y[100:400]) > 0.8
    True

    Two labels, of which an image may have both, one or none:

    >>> import pandas as pd
    >>> labels = pd.DataFrame({"even": y % 2 == 0, "round": pd.Series(y).isin([0, 6, 8, 9])})
    >>> classifier = classifier.set_params(unfreeze=0).fit(X[:100], labels[:100])
    >>> classifier.predict_proba(X[100:400]).shape
    (300, 2)
    >>> classifier.label_names_.tolist()
    ['even', 'round']
    """

    _parameter_constraints = {  # noqa: RUF012, as scikit-learn does
        **FineTunedConvNet._parameter_constraints,
        "head_C": [Interval(Real, 0, None, closed="neither"), None],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
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
        head_C: float | None = None,
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
        class_weight: ClassWeight = None,
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
        self.head_C = head_C
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
        self.class_weight = class_weight
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
        y : array-like of shape (n_samples,), or array-like or sparse matrix of shape \
                (n_samples, n_labels)
            Labels, numbers or text. Or 1 where an image has a label, and 0 elsewhere, with a
            column for each label.
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
            Images have no label, there is one class only, there are too few images to hold
            some out, a parameter does not fit, a callback cannot be copied, or training
            diverged.

        Warns
        -----
        ConvergenceWarning
            A stage was rolled back because its loss is not a number.
        CacheWarning
            Rows cannot be kept in the cache, and are computed again when they are needed.
        InvalidImagesWarning
            With ``on_error="nan"``: rows of X or X_val are no readable images.
        UserWarning
            All images have a label, or none has, or each has exactly one.
        """
        result = self._fit(X, y, sample_weight, X_val, y_val, self.head_C)
        self.head_C_ = result.head_strength
        return self

    def predict(self, X: Images) -> np.ndarray:
        """The most probable label of each image.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        labels : ndarray of shape (n_samples,), or int ndarray of shape (n_samples, n_labels)
            With several labels, 1 where a label is more probable than not.

        Raises
        ------
        NotFittedError
            The classifier is not fitted.
        InvalidImagesError
            Rows of X are no readable images.
        ValueError
            The network makes NaN or infinity of images, as training diverged.
        """
        outputs, target = self._outputs(X, on_error="raise")
        return target.predictions(outputs)

    def predict_proba(self, X: Images) -> np.ndarray:
        """The probability of each class, or of each label.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        probabilities : float64 ndarray of shape (n_samples, n_classes)
            In the order of `classes_`. With several labels, the probability of each by itself,
            in the order of y's columns, as in `MLPClassifier`.

        Raises
        ------
        NotFittedError
            The classifier is not fitted.
        InvalidImagesError
            Rows of X are no readable images.
        ValueError
            The network makes NaN or infinity of images, as training diverged.
        """
        outputs, target = self._outputs(X, self.on_error)
        return target.probabilities(outputs)

    def decision_function(self, X: Images) -> np.ndarray:
        """The network's logits.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        logits : float32 ndarray of shape (n_samples,), (n_samples, n_classes) or \
                (n_samples, n_labels)
            Of two classes, of more, or of several labels.

        Raises
        ------
        NotFittedError
            The classifier is not fitted.
        InvalidImagesError
            Rows of X are no readable images.
        ValueError
            The network makes NaN or infinity of images, as training diverged.
        """
        outputs, target = self._outputs(X, self.on_error)
        return target.decision(outputs)

    def _learn(self, y, weights):
        """The target that y makes, and y as it encodes it."""
        from sktransfer._training.targets.choice import learnt_labels

        target, codes = learnt_labels(y, self.class_weight)
        self.classes_, self.label_names_ = target.classes, target.names
        return target, codes

    def _target(self):
        """The target that was learnt."""
        from sktransfer._training.targets.choice import fitted_labels

        return fitted_labels(self.classes_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
