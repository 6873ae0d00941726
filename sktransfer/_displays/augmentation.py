"""`AugmentationDisplay`: an image and views of it."""

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from sktransfer._displays.tiles import (
    Pictures,
    axes_of_tiles,
    draw_bad,
    draw_pixels,
    image_estimator_in,
    write_above,
)
from sktransfer._images.augmentation import ImageAugmentation
from sktransfer._images.decoding import decode
from sktransfer._images.formats import UnreadableImageError
from sktransfer._images.sources import read


class AugmentationDisplay:
    """Images beside views of them, as a network is trained on.

    It is recommended to use `from_estimator` or `from_augmentation` to create a display. All
    parameters are stored as attributes. Each row of tiles is one image: first unaltered, then
    its views 1, 2, … They are the very views that a fit uses, if they are of the size that the
    network takes.

    Parameters
    ----------
    X : sequence of n_samples images
        As in `PretrainedFeatureTransformer.fit`.
    augmentation : ImageAugmentation
        What draws the views.
    size : (int, int), default=(224, 224)
        Height and width to which images are stretched.
    image_shape, input_range, max_image_pixels
        As in `PretrainedFeatureTransformer`.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples, 1 + n_views) of matplotlib Axes
        Of the images, and of their views.
    figure_ : matplotlib Figure
        The figure they are in.

    See Also
    --------
    ImageAugmentation : Draws the views.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import AugmentationDisplay, ImageAugmentation
    >>> X, _ = load_digits(return_X_y=True)
    >>> display = AugmentationDisplay.from_augmentation(
    ...     ImageAugmentation(rotation_range=20),
    ...     X[:2],
    ...     image_shape=(8, 8),
    ...     input_range=(0, 16),
    ...     size=(32, 32),
    ... )
    >>> display.axes_.shape
    (2, 6)
    """

    def __init__(
        self,
        *,
        X,
        augmentation,
        size=(224, 224),
        image_shape=None,
        input_range=(0, 255),
        max_image_pixels=None,
    ):
        self.X = X
        self.augmentation = augmentation
        self.size = size
        self.image_shape = image_shape
        self.input_range = input_range
        self.max_image_pixels = max_image_pixels

    @classmethod
    def from_estimator(cls, estimator, X, *, n_views=5, ax=None):
        """Draw the views that an estimator is trained on.

        Parameters
        ----------
        estimator : FineTunedConvNetClassifier or FineTunedConvNetRegressor
            Or a Pipeline or search of one; fitted or not.
        X : sequence of n_samples images
        n_views, ax
            As in `plot`.

        Returns
        -------
        display : AugmentationDisplay

        Raises
        ------
        TypeError
            It trains on no views.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        ours = image_estimator_in(estimator)
        augmentation = getattr(ours, "augmentation", None)
        if augmentation is None:
            raise TypeError(f"{type(estimator).__name__} trains on no augmented views")
        if augmentation == "default":
            augmentation = ImageAugmentation()
        display = cls(
            X=X,
            augmentation=augmentation,
            size=ours._info(ours._source()).input_size,
            image_shape=ours.image_shape,
            input_range=ours.input_range,
            max_image_pixels=ours.max_image_pixels,
        )
        return display.plot(n_views=n_views, ax=ax)

    @classmethod
    def from_augmentation(
        cls,
        augmentation,
        X,
        *,
        size=(224, 224),
        image_shape=None,
        input_range=(0, 255),
        max_image_pixels=None,
        n_views=5,
        ax=None,
    ):
        """Draw the views that an augmentation draws.

        Parameters
        ----------
        augmentation, X, size, image_shape, input_range, max_image_pixels
            As in `AugmentationDisplay`.
        n_views, ax
            As in `plot`.

        Returns
        -------
        display : AugmentationDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_augmentation")
        display = cls(
            X=X,
            augmentation=augmentation,
            size=size,
            image_shape=image_shape,
            input_range=input_range,
            max_image_pixels=max_image_pixels,
        )
        return display.plot(n_views=n_views, ax=ax)

    def plot(self, *, n_views=5, ax=None):
        """Draw it.

        Parameters
        ----------
        n_views : int, default=5
            Of each image.
        ax : array-like of matplotlib Axes, default=None
            One for each image and view, row by row. None makes a new figure.

        Returns
        -------
        display : AugmentationDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed: it comes with the extra ``sktransfer[plot]``.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        pictures = Pictures.read(
            self.X, self.image_shape, self.input_range, self.max_image_pixels
        )
        n = len(pictures) * (1 + n_views)
        axes = axes_of_tiles(ax, n, n_columns=1 + n_views)
        self.axes_, self.figure_ = axes.reshape(-1, 1 + n_views), axes[0].figure
        for i, (first, *others) in enumerate(self.axes_):
            write_above(first, ["unaltered"])
            for number, one in enumerate(others, 1):
                write_above(one, [f"view {number}"])
            try:
                self._draw(pictures.sources[i], first, others)
            except UnreadableImageError as error:
                draw_bad(first, f"row {i}: {error}")
        return self

    def _draw(self, source, first, others):
        image = read(source)
        pixels = decode(image.content, self.size, self.input_range, self.max_image_pixels)
        draw_pixels(first, _drawable(pixels))
        for number, axes in enumerate(others, 1):
            view = self.augmentation.view(pixels, image.digest, number)
            draw_pixels(axes, _drawable(view))


def _drawable(pixels):
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
