"""Pixels from 0 to 255 → what a network takes."""

from dataclasses import dataclass

import numpy as np


def _minus_one_to_one(pixels):
    pixels /= 127.5
    pixels -= 1
    return pixels


def _centred_bgr(pixels):
    # The mean of ImageNet's training images, as VGG's authors published it.
    pixels = pixels[..., ::-1]
    pixels -= np.array([103.939, 116.779, 123.68], dtype=np.float32)
    return pixels


def _standardized(pixels):
    # Mean and standard deviation of ImageNet's training images, of values from 0 to 1.
    pixels /= 255
    pixels -= np.array([0.485, 0.456, 0.406], dtype=np.float32)
    pixels /= np.array([0.229, 0.224, 0.225], dtype=np.float32)
    return pixels


ARITHMETIC = {
    "tf": _minus_one_to_one,
    "caffe": _centred_bgr,
    "torch": _standardized,
    "rescale": lambda pixels: np.divide(pixels, 255, out=pixels),
    None: lambda pixels: pixels,
}


@dataclass(frozen=True)
class Preprocessing:
    """What is done to pixels before a network takes them.

    Attributes
    ----------
    how : str, callable or None
        A name in `ARITHMETIC`, or a user's function.
    """

    how: object

    @property
    def token(self):
        """What stands for it in keys; None means that cannot be told."""
        if callable(self.how):
            token = getattr(self.how, "cache_token", None)
            return None if token is None else f"callable {token}"
        return str(self.how)

    def __call__(self, pixels):
        """Float32 pixels (n, h, w, 3) from 0 to 255, not kept → what the network takes."""
        if not callable(self.how):
            return ARITHMETIC[self.how](pixels)
        prepared = np.asarray(self.how(pixels), dtype=np.float32)
        if prepared.shape != pixels.shape:
            raise ValueError(
                f"preprocessing={self.how!r} made an array of shape {prepared.shape} from one "
                f"of {pixels.shape}"
            )
        return prepared
