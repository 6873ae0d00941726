"""`ImagePredictionDisplay`: images with what they are and what is predicted of them."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from sktransfer._displays.judging import judge
from sktransfer._displays.tiles import (
    BLUE,
    GREY,
    ORANGE,
    Pictures,
    axes_of_tiles,
    write_above,
)

SHOWN = ("worst", "least_sure", "random")


class ImagePredictionDisplay:
    """Images with their label, what a model predicts, and how sure it is.

    It is recommended to use `from_estimator` or `from_predictions` to create a display. All
    parameters are stored as attributes.

    Above an image stand its label and the prediction: in blue after ``=`` where they agree, in
    orange after ``≠`` where they do not. The number is the probability that the model gives to
    its prediction. With several labels, ``+`` stands before those that the model invented,
    ``−`` before those that it missed. Of numbers, both and their difference are shown. A file
    that is no readable image is a grey tile that says why.

    Parameters
    ----------
    X : sequence of n_samples images
        As in `PretrainedFeatureTransformer.fit`.
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Classes, indicators of labels, or numbers.
    y_proba : array-like of shape (n_samples, n_classes) or (n_samples, n_labels), default=None
        Probabilities of classes, in sorted order, or of labels.
    class_names : array-like of shape (n_classes,), default=None
        The classes in the order of the columns of `y_proba`, or the names of labels. None is
        the sorted classes of `y_true` and `y_pred`, or the numbers of labels.
    image_shape, input_range, max_image_pixels
        As in `PretrainedFeatureTransformer`.

    Attributes
    ----------
    axes_ : ndarray of shape (n_images,) of matplotlib Axes
        One for each image that is shown.
    figure_ : matplotlib Figure
        The figure they are in.
    indices_ : ndarray of shape (n_images,)
        The rows of X that are shown, in the order in which they are.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : Counts which class is taken for which.
    sklearn.metrics.PredictionErrorDisplay : Draws residuals of numbers, without images.
    ActivationMapDisplay : Where in an image the evidence lies.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sktransfer import ImagePredictionDisplay, PretrainedFeatureTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> pipe = make_pipeline(
    ...     PretrainedFeatureTransformer("tiny", image_shape=(8, 8), input_range=(0, 16)),
    ...     LogisticRegression(max_iter=1000),
    ... ).fit(X[:100], y[:100])
    >>> display = ImagePredictionDisplay.from_estimator(pipe, X[100:200], y[100:200])
    >>> display.axes_.shape
    (12,)
    """

    def __init__(
        self,
        *,
        X,
        y_true,
        y_pred,
        y_proba=None,
        class_names=None,
        image_shape=None,
        input_range=(0, 255),
        max_image_pixels=None,
    ):
        self.X = X
        self.y_true = y_true
        self.y_pred = y_pred
        self.y_proba = y_proba
        self.class_names = class_names
        self.image_shape = image_shape
        self.input_range = input_range
        self.max_image_pixels = max_image_pixels

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, show="worst", n_images=12, random_state=None, ax=None
    ):
        """Predict, and draw images.

        Parameters
        ----------
        estimator : fitted classifier or regressor of images
            Such as a Pipeline, a search, or one of this package.
        X : sequence of n_samples images
            Those that cannot be read are not predicted, but shown.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        show, n_images, random_state, ax
            As in `plot`.

        Returns
        -------
        display : ImagePredictionDisplay

        Raises
        ------
        NotFittedError
            The estimator is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        pictures = Pictures.of(X, estimator)
        made = _Predicted.by(estimator, X, pictures)
        names = getattr(estimator, "label_names_", None)
        if names is None and is_classifier(estimator) and np.ndim(y) == 1:
            names = getattr(estimator, "classes_", None)
        display = cls(
            X=X, y_true=y, y_pred=made.y_pred, y_proba=made.y_proba, class_names=names
        )
        display._pictures = pictures
        return display.plot(show=show, n_images=n_images, random_state=random_state, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        X,
        y_true,
        y_pred,
        *,
        y_proba=None,
        class_names=None,
        image_shape=None,
        input_range=(0, 255),
        max_image_pixels=None,
        show="worst",
        n_images=12,
        random_state=None,
        ax=None,
    ):
        """Draw images with predictions, such as those of `cross_val_predict`.

        Parameters
        ----------
        X, y_true, y_pred, y_proba, class_names, image_shape, input_range, max_image_pixels
            As in `ImagePredictionDisplay`.
        show, n_images, random_state, ax
            As in `plot`.

        Returns
        -------
        display : ImagePredictionDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        display = cls(
            X=X,
            y_true=y_true,
            y_pred=y_pred,
            y_proba=y_proba,
            class_names=class_names,
            image_shape=image_shape,
            input_range=input_range,
            max_image_pixels=max_image_pixels,
        )
        return display.plot(show=show, n_images=n_images, random_state=random_state, ax=ax)

    def plot(self, *, show="worst", n_images=12, random_state=None, n_columns=4, ax=None):
        """Draw images.

        Parameters
        ----------
        show : {"worst", "least_sure", "random"} or (true, predicted), default="worst"
            Which images, and in which order.

            - ``"worst"``: those with the largest loss first. It is the log loss where there
              are probabilities, else whether the prediction is wrong; of numbers the mean
              absolute residual, each in units of that number's standard deviation. Images that
              cannot be read come before all others.
            - ``"least_sure"``: those whose highest probability is the lowest, or whose labels
              are nearest to 0.5.
            - ``"random"``: any.
            - Two classes: images of the first that are taken for the second, the surest
              first.
        n_images : int, default=12
            How many, at most.
        random_state : int, RandomState instance or None, default=None
            Of ``"random"``.
        n_columns : int, default=4
            Of a new figure.
        ax : array-like of matplotlib Axes, default=None
            One for each image. None makes a new figure.

        Returns
        -------
        display : ImagePredictionDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed: it comes with the extra ``sktransfer[plot]``.
        ValueError
            `show` is none of these, needs probabilities that are not there, or no image is as
            it says; or X, y_true and y_pred have not one length.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        pictures = self._opened()
        judged = judge(self, len(pictures))
        self.indices_ = _chosen(judged, show, check_random_state(random_state))[:n_images]
        self.axes_ = axes_of_tiles(ax, len(self.indices_), n_columns, title_lines=2)
        self.figure_ = self.axes_[0].figure
        for axes, i in zip(self.axes_, self.indices_, strict=True):
            is_drawn = pictures.draw(axes, i) is not None
            color = BLUE if judged.are_right[i] else ORANGE
            write_above(axes, judged.lines(i), color if is_drawn else GREY)
        return self

    def _opened(self):
        if not hasattr(self, "_pictures"):
            self._pictures = Pictures.read(
                self.X, self.image_shape, self.input_range, self.max_image_pixels
            )
        return self._pictures


@dataclass(frozen=True)
class _Predicted:
    """What an estimator makes of images; NaN or None of those that cannot be read."""

    y_pred: np.ndarray
    y_proba: np.ndarray | None

    @classmethod
    def by(cls, estimator, X, pictures):
        try:
            return cls(np.asarray(estimator.predict(X)), _probabilities(estimator, X))
        except ValueError:
            good = pictures.readable()
            if len(good) in (0, len(pictures)):
                raise
        some = _safe_indexing(X, good)
        y_pred, y_proba = np.asarray(estimator.predict(some)), _probabilities(estimator, some)
        missing = np.nan if y_pred.dtype.kind == "f" else None
        everywhere = np.full((len(pictures), *y_pred.shape[1:]), missing)
        everywhere[good] = y_pred
        if y_proba is not None:
            known, y_proba = y_proba, np.full((len(pictures), y_proba.shape[1]), np.nan)
            y_proba[good] = known
        return cls(everywhere, y_proba)


def _probabilities(estimator, X):
    if not hasattr(estimator, "predict_proba"):
        return None
    made = estimator.predict_proba(X)
    if isinstance(made, list):  # scikit-learn's way with several labels
        return np.column_stack([1 - of_label[:, 0] for of_label in made])
    return np.asarray(made)


def _chosen(judged, show, rng):
    """The rows that `show` asks for, in its order."""
    if isinstance(show, str) and show in SHOWN:
        if show == "random":
            return rng.permutation(len(judged.known))
        keys = -judged.losses() if show == "worst" else judged.sureness()
        keys = np.where(judged.known, keys, -np.inf if show == "worst" else np.inf)
        return np.argsort(keys, kind="stable")
    if isinstance(show, str) or np.size(show) != 2:
        raise ValueError(f"show={show!r} is none of {SHOWN}, and no (true, predicted)")
    rows = judged.taken_for(*show)
    if not len(rows):
        raise ValueError(f"show={show!r}: no image of the first is taken for the second")
    return rows
