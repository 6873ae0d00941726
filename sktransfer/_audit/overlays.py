"""Altered copies of images, found by laying one over the other.

Features of a network find the images that may be altered copies of one another: resized,
recompressed, cropped or mirrored ones are among the nearest. How near they are differs between
sets of images. So pixels decide: the edges of one, or of its mirror image, are laid over those
of the other in all places and in several sizes. What counts is their correlation, which is
near 1 for a copy, whatever the images and the network; and that the colours are the same.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

from sktransfer._audit.neighbours import nearest

N_NEIGHBORS = 3  # that may be copies
COARSE, FINE = 32, 64  # pixels of the square that a picture is stretched to
COARSE_SIZES = (32, 29, 26, 23)  # of a picture that is a part of the other
FINE_STEPS = 3  # larger and smaller sizes that are tried
POSSIBLE = 0.7  # correlation in coarse squares …
ALIKE = 0.88  # … and, of copies, in fine ones
COLOUR = 6  # levels between the mean colours of what lies over one another
FINEST, COARSEST = 0.7, 2.0  # pixels: what is smoother and rougher is no edge
LEAST_EDGES = 0.5  # levels, the root mean square below which a picture is all noise
PAIRS_AT_ONCE = 512


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, and how well one lies over a part of the other.

    Attributes
    ----------
    whole, part : int ndarray of shape (n_pairs,)
        Positions of images: the second is laid over the first.
    size : int ndarray
        Pixels of a side of the second, where the first has `COARSE`, or `FINE` in the end.
    mirrored : bool ndarray
    top, left : int ndarray
        Where in the first the second lies, in such pixels.
    correlation : ndarray
        From -1 to 1.
    """

    whole: np.ndarray
    part: np.ndarray
    size: np.ndarray
    mirrored: np.ndarray
    top: np.ndarray
    left: np.ndarray
    correlation: np.ndarray

    @classmethod
    def not_laid(cls, whole, part):
        """Pairs that any way of laying them betters."""
        nothing = np.zeros_like(whole)
        return cls(
            whole, part, nothing, whole < 0, nothing, nothing, np.full(len(whole), -1.0)
        )

    def take(self, chosen):
        """Some of them."""
        return Pairs(*(values[chosen] for values in vars(self).values()))

    def or_better(self, others):
        """Of each pair, that of two ways in which it is laid with the higher correlation."""
        better = others.correlation > self.correlation
        both = zip(vars(self).values(), vars(others).values(), strict=True)
        return Pairs(*(np.where(better, b, a) for a, b in both))

    def put(self, chosen, others):
        """All, with others in the place of some."""
        fields = [values.copy() for values in vars(self).values()]
        for values, new in zip(fields, vars(others).values(), strict=True):
            values[chosen] = new
        return Pairs(*fields)


def near_copies(pictures, features):
    """Pairs of images that are altered copies.

    Parameters
    ----------
    pictures : list of uint8 ndarray of shape (height, width, 3)
    features : ndarray of shape (n_images, n_features)
        By which similar images are near.

    Returns
    -------
    pairs : Pairs
    """
    near = nearest(features, N_NEIGHBORS)
    some = np.repeat(np.arange(len(near)), near.shape[1])
    some, others = np.unique(np.sort([some, near.ravel()], axis=0), axis=1)
    greys = [_grey(pixels) for pixels in pictures]
    pairs = _laid_over(greys, some, others)
    pairs = pairs.take(pairs.correlation >= POSSIBLE)
    if len(pairs.whole):
        pairs = _laid_better(greys, pairs)
    pairs = pairs.take(pairs.correlation >= ALIKE)
    return pairs.take(_are_of_one_colour(pictures, pairs))


def _are_of_one_colour(pictures, pairs):
    """Which pairs have the same colours: not two letters of one shape on other walls."""
    there = np.unique([pairs.whole, pairs.part]).tolist()
    squares = {i: _square(pictures[i]) for i in there}
    colours = {i: square.mean(axis=(0, 1)) for i, square in squares.items()}
    boxes = zip(pairs.whole, pairs.part, pairs.top, pairs.left, pairs.size, strict=True)
    differences = [
        squares[i][y : y + size, x : x + size].mean(axis=(0, 1)) - colours[j]
        for i, j, y, x, size in boxes
    ]
    return np.array([np.abs(difference).max() <= COLOUR for difference in differences], bool)


def _laid_over(greys, some, others):
    """Pairs as they are laid best, in one of a few sizes, mirrored or not."""
    best = Pairs.not_laid(some, others)
    wholes = _Wholes(greys, COARSE)
    for size in COARSE_SIZES:
        parts = _Parts(greys, size)
        ways = ((some, others), (others, some)) if size < COARSE else ((some, others),)
        for mirrored in (False, True):
            for whole, part in ways:
                best = best.or_better(laid(wholes, parts, whole, part, mirrored))
    return best


def _laid_better(greys, pairs):
    """Pairs as they are laid best in sizes near to those of before, in finer squares."""
    there, places = np.unique([pairs.whole, pairs.part], return_inverse=True)
    greys = [greys[i] for i in there]
    whole, part = places.reshape(2, -1)
    best = Pairs.not_laid(whole, part)
    wholes = _Wholes(greys, FINE)
    for size in range(min(COARSE_SIZES) * FINE // COARSE - FINE_STEPS, FINE + 1):
        near = np.abs(size - pairs.size * FINE // COARSE) <= FINE_STEPS
        parts = _Parts(greys, size) if near.any() else None
        for mirrored in (False, True):
            chosen = np.flatnonzero(near & (pairs.mirrored == mirrored))
            if len(chosen):
                found = laid(wholes, parts, whole[chosen], part[chosen], mirrored)
                best = best.put(chosen, best.take(chosen).or_better(found))
    return replace(best, whole=pairs.whole, part=pairs.part)


class _Wholes:
    """The edges of pictures, stretched to squares."""

    def __init__(self, greys, side):
        self.side = side
        edges = _edges(greys, side)
        self.transformed, self._squares = rfft2(edges), rfft2(edges**2)

    def spread(self, size):
        """The norm of what lies below a part, less its mean, of each picture in all places."""
        box = np.zeros((self.side, self.side), np.float32)
        box[:size, :size] = 1
        box = np.conj(rfft2(box))
        mean = self.places(self.transformed * box, size) / size**2
        squares = self.places(self._squares * box, size)
        return np.sqrt(np.maximum(squares - (size * mean) ** 2, (LEAST_EDGES * size) ** 2))

    def places(self, transformed, size):
        """Sums over a part in all places where it fits."""
        n = self.side - size + 1
        return irfft2(transformed, s=(self.side, self.side))[:, :n, :n]


class _Parts:
    """The edges of pictures, stretched to smaller squares: of mean 0 and norm 1."""

    def __init__(self, greys, size):
        self.size, edges = size, _edges(greys, size)
        edges -= edges.mean(axis=(1, 2), keepdims=True)
        norms = np.linalg.norm(edges, axis=(1, 2), keepdims=True)
        self._edges = edges / np.maximum(norms, LEAST_EDGES * size)

    def transformed(self, chosen, side, mirrored):
        """Fourier transforms of some, conjugate, in squares of a side."""
        squares = np.zeros((len(chosen), side, side), np.float32)
        edges = self._edges[chosen]
        squares[:, : self.size, : self.size] = edges[:, :, ::-1] if mirrored else edges
        return np.conj(rfft2(squares))


def laid(wholes, parts, whole, part, mirrored):
    """`Pairs` with their highest correlation over all places of one over the other."""
    size, spread, n = parts.size, wholes.spread(parts.size), len(whole)
    correlation, place = np.empty(n, np.float32), np.empty(n, int)
    for start in range(0, len(whole), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        product = parts.transformed(part[some], wholes.side, mirrored)
        product *= wholes.transformed[whole[some]]
        at_places = wholes.places(product, size) / spread[whole[some]]
        at_places = at_places.reshape(len(product), -1)
        place[some] = at_places.argmax(axis=1)
        correlation[some] = at_places.max(axis=1)
    top, left = np.divmod(place, wholes.side - size + 1)
    sizes, sides = np.full(n, size), np.full(n, mirrored)
    return Pairs(whole, part, sizes, sides, top, left, correlation)


def _grey(pixels):
    from PIL import Image

    return Image.fromarray(pixels).convert("L").convert("F")


def _square(pixels):
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((FINE, FINE), Image.Resampling.BILINEAR))


def _edges(greys, side):
    """The edges of pictures, stretched to squares, of shape (n, side, side)."""
    from PIL import Image

    resized = [grey.resize((side, side), Image.Resampling.BILINEAR) for grey in greys]
    squares = np.stack([np.asarray(grey) for grey in resized])
    fine, coarse = (
        gaussian_filter(squares, sigma, axes=(1, 2)) for sigma in (FINEST, COARSEST)
    )
    return fine - coarse
