"""Images as tiles of a figure, with a few words above each; a bad one is grey and says why."""

import textwrap
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils import _safe_indexing

from sktransfer._classifier import FineTunedConvNetClassifier
from sktransfer._images.formats import UnreadableImageError
from sktransfer._images.inputs import check_images
from sktransfer._images.thumbnails import thumbnail
from sktransfer._regressor import FineTunedConvNetRegressor
from sktransfer._transformer import PretrainedFeatureTransformer

OURS = (PretrainedFeatureTransformer, FineTunedConvNetClassifier, FineTunedConvNetRegressor)
# Of M. Okabe and K. Ito's palette, which the colour-blind tell apart.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
LONGEST = 224  # pixels of a tile's side, at most
TILE_INCHES = 1.5
FONT_SIZE = 8
CHARACTERS = 22  # that stand above a tile


@dataclass(frozen=True)
class Pictures:
    """The images of X, to be looked at.

    Attributes
    ----------
    sources : sequence
        As `check_images` returns it.
    input_range : (float, float)
    max_image_pixels : int or None
    """

    sources: object
    input_range: tuple = (0, 255)
    max_image_pixels: int | None = None

    @classmethod
    def of(cls, X, estimator=None):
        """Those of X as an estimator reads them, or one of ours that is somewhere in it."""
        ours = image_estimator_in(estimator)
        if ours is None:
            return cls.read(X)
        return cls.read(X, ours.image_shape, ours.input_range, ours.max_image_pixels)

    @classmethod
    def read(cls, X, image_shape=None, input_range=(0, 255), max_image_pixels=None):
        """Those of X; parameters as in `PretrainedFeatureTransformer`."""
        reader = PretrainedFeatureTransformer(image_shape=image_shape, input_range=input_range)
        sources = check_images(reader, X, reset=True)
        return cls(sources, tuple(input_range), max_image_pixels)

    def __len__(self):
        return len(self.sources)

    def thumbnail(self, position, longest=LONGEST):
        """A `Thumbnail` of one, or an `UnreadableImageError`."""
        source = self.sources[position]
        return thumbnail(source, longest, self.input_range, self.max_image_pixels)

    def readable(self):
        """The positions of those that are images."""
        good = []
        for i in range(len(self)):
            try:
                self.thumbnail(i)
            except UnreadableImageError:
                continue
            good.append(i)
        return np.array(good, dtype=int)

    def take(self, positions):
        """Some of them."""
        return replace(self, sources=_safe_indexing(self.sources, positions))

    def draw(self, axes, position):
        """Draw one; what is no image as a grey tile that says why.

        Returns
        -------
        thumbnail : Thumbnail or None
        """
        try:
            picture = self.thumbnail(position)
        except UnreadableImageError as error:
            draw_bad(axes, f"row {position}: {error}")
            return None
        draw_pixels(axes, picture.pixels)
        return picture


def image_estimator_in(estimator):
    """One of our estimators, which is this one or somewhere in it; None if there is none."""
    if estimator is None or isinstance(estimator, type):
        return None
    estimator = getattr(estimator, "best_estimator_", estimator)
    inner = estimator.get_params().values() if hasattr(estimator, "get_params") else ()
    return next((one for one in (estimator, *inner) if isinstance(one, OURS)), None)


def axes_of_tiles(ax, n, n_columns, title_lines=1):
    """The axes of so many tiles: those of `ax`, or of a new figure.

    Returns
    -------
    axes : ndarray of shape (n,) of matplotlib Axes
    """
    if ax is None:
        import matplotlib.pyplot as plt

        n_columns = max(1, min(n, n_columns))
        n_rows = max(1, -(-n // n_columns))
        height = TILE_INCHES + title_lines * 1.4 * FONT_SIZE / 72
        _, ax = plt.subplots(
            n_rows,
            n_columns,
            figsize=(TILE_INCHES * n_columns, height * n_rows),
            layout="constrained",
            squeeze=False,
        )
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) < n:
        raise ValueError(f"ax holds {len(axes)} axes, fewer than the {n} images to draw")
    for one in axes:
        one.set_axis_off()
    return axes[:n]


def draw_pixels(axes, pixels, **how):
    """Draw an image; one of few pixels with sharp edges between them."""
    few = max(pixels.shape[:2]) < LONGEST // 4
    axes.imshow(pixels, interpolation="nearest" if few else "antialiased", **how)
    axes.set_anchor("N")  # so that the words above the tiles of a row are level
    axes.set_axis_off()


def draw_bad(axes, reason):
    """A grey tile that says what is wrong with an image."""
    axes.imshow(np.full((1, 1, 3), 225, np.uint8), extent=(0, 1, 0, 1))
    text = textwrap.fill(textwrap.shorten(reason, 80, placeholder=" …"), CHARACTERS - 4)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=FONT_SIZE - 1, clip_on=True)
    axes.set_axis_off()


def write_above(axes, lines, color="black"):
    """A few words above a tile, each line as long as there is room."""
    text = "\n".join(shortened(line) for line in lines)
    axes.set_title(text, fontsize=FONT_SIZE, color=color, pad=3, parse_math=False)


def shortened(text, length=CHARACTERS):
    """A text of so many characters at most, by leaving out some of its middle."""
    text = " ".join(str(text).split())
    if len(text) <= length:
        return text
    kept = length - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
