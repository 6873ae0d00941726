"""Faults that show in the pixels of a small picture of an image."""

from dataclasses import dataclass

import numpy as np

from sktransfer._audit.findings import Finding

COMMON = 0.1  # of the images: what so many are is no fault, but what these images are like
FEW = 0.05  # of the images may be in colour among grey ones, or grey among those in colour
FLAT = 6  # levels of 255 between the darkest and the brightest pixels of a blank image
DARK, BRIGHT = 45, 225  # nearly all pixels are below, or above
GREY = 12  # levels between the channels of a pixel that still counts as grey
ALMOST_ALL = 99  # % of an image's pixels; a JPEG has some that stray
TIMES_AREA, TIMES_SHAPE = 16.0, 2.5  # the median: sizes and proportions that are odd
TIMES_BLUR = 6.0  # less sharp than the median, and …
DEVIATIONS = 4.0  # … so many of its robust standard deviations from it
MAD_TO_SD = 1.4826  # of a normal distribution
FEWEST = 20  # images, below which none is unlike the others


@dataclass(frozen=True)
class Measures:
    """What is measured of each image, as arrays of shape (n_images,).

    Attributes
    ----------
    darkest, brightest : ndarray
        Luminance from 0 to 255, but for 1 % of the pixels on either side.
    sharpness : ndarray
        Mean square of the second derivative of luminance against its variance.
    chroma : ndarray
        The spread of the channels of a pixel, but for the 1 % of pixels with the most.
    height, width : ndarray
        Of the image itself.
    """

    darkest: np.ndarray
    brightest: np.ndarray
    sharpness: np.ndarray
    chroma: np.ndarray
    height: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, thumbnails):
        """Those of some thumbnails."""
        measured = [_measured(thumbnail) for thumbnail in thumbnails]
        return cls(*np.array(measured, dtype=float).reshape(-1, 6).T)


def _measured(thumbnail):
    red, green, blue = np.moveaxis(thumbnail.pixels, 2, 0)
    grey = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    most, least = (
        np.maximum(np.maximum(red, green), blue),
        np.minimum(np.minimum(red, green), blue),
    )
    levels = grey.astype(np.uint8)
    darkest, brightest = _level(levels, 100 - ALMOST_ALL), _level(levels, ALMOST_ALL)
    chroma = _level(most - least, ALMOST_ALL)
    return darkest, brightest, _sharpness(grey), chroma, *thumbnail.image_size


def _level(levels, percent):
    """The level that so many of the pixels do not exceed; quicker than `np.percentile`."""
    shares = np.cumsum(np.bincount(levels.ravel(), minlength=256)) / levels.size
    return np.searchsorted(shares, percent / 100)


def _sharpness(grey):
    if min(grey.shape) < 3:
        return np.nan
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return np.mean((around - 4 * inner) ** 2) / max(grey.var(), 1.0)


def pixel_findings(measures, rows):
    """What is wrong with the pixels of images.

    Parameters
    ----------
    measures : Measures
    rows : ndarray of shape (n_images,)
        Of X.

    Returns
    -------
    findings : list of Finding
    """
    m, few = measures, len(rows) < FEWEST
    levels = [
        f"levels {a:.0f} to {b:.0f}" for a, b in zip(m.darkest, m.brightest, strict=True)
    ]
    blank = m.brightest - m.darkest < FLAT
    suspicions = [
        _Suspicion("blank", blank, m.darkest - m.brightest, levels),
        _Suspicion("dark", (m.brightest < DARK) & ~blank, -m.brightest, levels),
        _Suspicion("bright", (m.darkest > BRIGHT) & ~blank, m.darkest, levels),
    ]
    if not few:
        unseen = np.any([one.mask for one in suspicions], axis=0)
        suspicions += [_blurred(m, blank), *_odd(m), *_coloured(m, ~unseen)]
    common = 1.0 if few else COMMON
    return [
        Finding(one.kind, int(rows[i]), one.details[i], float(one.scores[i]))
        for one in suspicions
        if one.mask.mean() <= common
        for i in np.flatnonzero(one.mask)
    ]


@dataclass(frozen=True)
class _Suspicion:
    """What may be wrong with images: with which, how much, and in words."""

    kind: str
    mask: np.ndarray
    scores: np.ndarray
    details: list


def _blurred(measures, blank):
    """Images that are far less sharp than the median, by their logarithms."""
    logs = np.log(np.maximum(measures.sharpness, 1e-9))
    median = np.nanmedian(logs[~blank]) if (~blank).any() else 0.0
    spread = MAD_TO_SD * np.nanmedian(np.abs(logs - median))
    least = median - max(np.log(TIMES_BLUR), DEVIATIONS * spread)
    less = np.exp(median - logs)
    details = [
        f"{times:.0f} times less sharp than the median" for times in np.nan_to_num(less)
    ]
    return _Suspicion("blurred", (logs < least) & ~blank, less, details)


def _odd(measures):
    """Images of odd sizes and of odd shapes."""
    sizes = [f"{w:.0f}×{h:.0f}" for w, h in zip(measures.width, measures.height, strict=True)]
    for kind, quantity, times in (
        ("odd size", measures.width * measures.height, TIMES_AREA),
        ("odd shape", measures.width / measures.height, TIMES_SHAPE),
    ):
        away = np.abs(np.log(quantity / np.median(quantity)))
        yield _Suspicion(kind, away > np.log(times), away, sizes)


def _coloured(measures, seen):
    """Images in colour among grey ones, and the other way round, of those that show any."""
    is_grey = measures.chroma <= GREY
    spread = [f"channels up to {chroma:.0f} levels apart" for chroma in measures.chroma]
    if np.mean(~is_grey[seen]) <= FEW:
        yield _Suspicion("colour among grey", ~is_grey & seen, measures.chroma, spread)
    elif np.mean(is_grey[seen]) <= FEW:
        yield _Suspicion("grey among colour", is_grey & seen, -measures.chroma, spread)
