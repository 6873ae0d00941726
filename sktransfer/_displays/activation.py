"""`ActivationMapDisplay`: where in images the evidence for a class lies."""

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from sktransfer._displays.tiles import (
    Pictures,
    axes_of_tiles,
    draw_bad,
    image_estimator_in,
    write_above,
)
from sktransfer._images.formats import UnreadableImageError

COLOURS = "PuOr_r"  # orange for, purple against: the colour-blind tell them apart
OPAQUE = 0.75  # of the strongest evidence, over the image in grey


class ActivationMapDisplay:
    """Where in images the evidence for a class, a label or a number lies.

    It is recommended to use `from_estimator` to create a display. All parameters are stored as
    attributes.

    Orange parts of an image speak for what stands above it, purple ones against it; what is
    grey says nothing. All images of a display have one scale.

    Parameters
    ----------
    X : sequence of n_samples images
        As in `PretrainedFeatureTransformer.fit`.
    maps : ndarray of shape (n_samples, height, width)
        What each place of an image says; NaN of images that cannot be read.
    targets : array-like of shape (n_samples,)
        What it is evidence for.
    method : str, default=None
        How it was found.
    image_shape, input_range, max_image_pixels
        As in `PretrainedFeatureTransformer`.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples,) of matplotlib Axes
        One for each image.
    figure_ : matplotlib Figure
        The figure they are in.

    See Also
    --------
    ImagePredictionDisplay : Draws images with labels and predictions.

    References
    ----------
    Linear heads: B. Zhou et al., "Learning Deep Features for Discriminative Localization",
    2016. Deeper heads: R. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful
    explanations of convolutional neural networks", 2020. Occlusion: M. Zeiler and R. Fergus,
    "Visualizing and Understanding Convolutional Networks", 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sktransfer import ActivationMapDisplay, PretrainedFeatureTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> pipe = make_pipeline(
    ...     PretrainedFeatureTransformer(
    ...         "tiny", layer="block1_pool", image_shape=(8, 8), input_range=(0, 16)
    ...     ),
    ...     LogisticRegression(max_iter=1000),
    ... ).fit(X[:100], y[:100])
    >>> display = ActivationMapDisplay.from_estimator(pipe, X[:3], target=0)
    >>> display.method, bool(display.maps[0].sum() > display.maps[1].sum())
    ('linear', True)
    """

    def __init__(
        self,
        *,
        X,
        maps,
        targets,
        method=None,
        image_shape=None,
        input_range=(0, 255),
        max_image_pixels=None,
    ):
        self.X = X
        self.maps = maps
        self.targets = targets
        self.method = method
        self.image_shape = image_shape
        self.input_range = input_range
        self.max_image_pixels = max_image_pixels

    @classmethod
    def from_estimator(cls, estimator, X, *, target=None, method="auto", n_columns=4, ax=None):
        """Find the evidence, and draw it.

        Parameters
        ----------
        estimator : fitted classifier or regressor of images
            Such as a Pipeline, a search, or one of this package.
        X : sequence of n_samples images
            A few: each gets a tile.
        target : label, int or array-like of shape (n_samples,), default=None
            What the evidence is for: a class, a label's name, or the number of an output; one
            for all images, or one for each. None is the predicted class, or the first label or
            number.
        method : {"auto", "linear", "gradient", "occlusion"}, default="auto"
            How it is found. ``"auto"`` is the first that applies.

            - ``"linear"``: of a Pipeline of a `PretrainedFeatureTransformer`, any scalers, PCA
              or selectors of features, and a linear model. It is exact: the map of an image
              sums to the decision function, or number, less a constant that all images share.
            - ``"gradient"``: of a fine-tuned estimator, the last map times the gradient of the
              output (HiResCAM). Below a head without hidden layers it is exact as well.
            - ``"occlusion"``: of any estimator that takes arrays, by how much an output falls
              where a part of the image is covered by its mean colour: 25 predictions for each
              image, whose features the cache keeps.
        n_columns : int, default=4
            Of a new figure.
        ax : array-like of matplotlib Axes, default=None
            One for each image. None makes a new figure.

        Returns
        -------
        display : ActivationMapDisplay

        Raises
        ------
        NotFittedError
            The estimator is not fitted.
        ValueError
            The method does not apply to the estimator, a target is no class, or no image can
            be read.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        pictures = Pictures.of(X, estimator)
        good = pictures.readable()
        if not len(good):
            raise ValueError("none of X can be read as an image")
        some = _safe_indexing(X, good)
        if target is not None and np.ndim(target):
            target = np.asarray(target)[good]
        from sktransfer._displays.evidence import Wanted, evidence_of  # not for all who import

        wanted = Wanted.of(estimator, some, target, len(good))
        evidence = evidence_of(estimator, some, pictures.take(good), wanted, method)
        maps = np.full((len(pictures), *evidence.maps.shape[1:]), np.nan)
        maps[good] = evidence.maps
        targets = np.full(len(pictures), None)
        targets[good] = wanted.names
        ours = image_estimator_in(estimator)
        how = (
            {"image_shape": ours.image_shape, "input_range": ours.input_range} if ours else {}
        )
        display = cls(X=X, maps=maps, targets=targets, method=evidence.method, **how)
        return display.plot(n_columns=n_columns, ax=ax)

    def plot(self, *, n_columns=4, ax=None):
        """Draw it.

        Parameters
        ----------
        n_columns : int, default=4
            Of a new figure.
        ax : array-like of matplotlib Axes, default=None
            One for each image. None makes a new figure.

        Returns
        -------
        display : ActivationMapDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed: it comes with the extra ``sktransfer[plot]``.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        pictures = Pictures.read(
            self.X, self.image_shape, self.input_range, self.max_image_pixels
        )
        strongest = np.nanmax(np.abs(self.maps)) or 1.0
        self.axes_ = axes_of_tiles(ax, len(pictures), n_columns)
        self.figure_ = self.axes_[0].figure
        for i, axes in enumerate(self.axes_):
            try:
                pixels = pictures.thumbnail(i).pixels
            except UnreadableImageError as error:
                draw_bad(axes, f"row {i}: {error}")
                continue
            _draw(axes, pixels, self.maps[i] / strongest)
            write_above(axes, [self.targets[i]])
        return self


def _draw(axes, pixels, evidence):
    """An image in grey, below its evidence from -1 to 1."""
    height, width = pixels.shape[:2]
    axes.imshow(pixels.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    axes.imshow(
        evidence,
        cmap=COLOURS,
        vmin=-1,
        vmax=1,
        alpha=OPAQUE * np.abs(evidence) ** 0.5,
        interpolation="bilinear",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    axes.set_anchor("N")
    axes.set_axis_off()
