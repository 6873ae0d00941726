"""Pixels from 0 to 255 → what a network takes."""

from dataclasses import dataclass

import numpy as np

from sktransfer._exceptions import BackboneError, nearest
from sktransfer._networks.catalogue import FAMILIES


@dataclass(frozen=True)
class Arithmetic:
    """Each channel over a divisor, less a mean, over a deviation: a part of the network.

    Attributes
    ----------
    divisor : float
    means, deviations : tuple of float, in the network's order of channels
    turned : bool
        Whether the network takes blue, green and red, in this order.
    """

    divisor: float = 1
    means: tuple = (0, 0, 0)
    deviations: tuple = (1, 1, 1)
    turned: bool = False

    def __call__(self, pixels):
        """A tensor of pixels as float32, prepared."""
        from sktransfer._runtime.keras import keras

        x = keras.ops.cast(pixels, "float32")
        if self.turned:
            x = keras.ops.flip(x, axis=-1)
        if self.divisor != 1:
            x = x / self.divisor
        if any(self.means):
            x = keras.ops.subtract(x, np.array(self.means, dtype=np.float32))
        if set(self.deviations) != {1}:
            x = keras.ops.divide(x, np.array(self.deviations, dtype=np.float32))
        return x


ARITHMETIC = {
    "tf": Arithmetic(127.5, means=(1, 1, 1)),
    # The mean of ImageNet's training images, as VGG's authors published it.
    "caffe": Arithmetic(means=(103.939, 116.779, 123.68), turned=True),
    # Mean and deviation of ImageNet's training images, of values from 0 to 1.
    "torch": Arithmetic(255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "rescale": Arithmetic(255),
    None: Arithmetic(),
}
AS_KERAS_HUB_SAYS = "converter"  # what a network's info has of its preprocessing


@dataclass(frozen=True)
class ScaleAndOffset:
    """Each channel times a scale, plus an offset: KerasHub's part of a network.

    Attributes
    ----------
    scale, offset : tuple of float
    """

    scale: tuple
    offset: tuple

    def __call__(self, pixels):
        """A tensor of pixels as float32, prepared."""
        from sktransfer._runtime.keras import keras

        x = keras.ops.cast(pixels, "float32") * np.array(self.scale, dtype=np.float32)
        return x + np.array(self.offset, dtype=np.float32)


def named(name):
    """The name in `ARITHMETIC` that a user's word for it means.

    Raises
    ------
    ValueError
        It means none.
    """
    if name in ARITHMETIC:
        return name
    if name not in FAMILIES:
        raise ValueError(
            f"preprocessing={name!r} is none of 'backbone', 'rescale', 'tf', 'caffe' and "
            f"'torch', nor the name of a network: {nearest(name, FAMILIES)}"
        )
    return FAMILIES[name].preprocessing


@dataclass(frozen=True)
class Preprocessing:
    """What is done to pixels before a network takes them.

    Attributes
    ----------
    how : str, ScaleAndOffset, callable or None
        A name in `ARITHMETIC`, what a network of KerasHub says, or a user's function.
    """

    how: object

    def known_from(self, info):
        """The same, or what the info of a network of KerasHub says.

        Raises
        ------
        BackboneError
            It says nothing.
        """
        if self._is_function or self.how != AS_KERAS_HUB_SAYS:
            return self
        if info.preprocessing is None:
            raise BackboneError(
                "the preset has no ImageConverter that could be followed: set preprocessing="
                "None if the network takes pixels from 0 to 255, 'rescale' if from 0 to 1, or "
                "pass a function"
            )
        return Preprocessing(info.preprocessing)

    @property
    def token(self):
        """What stands for it in keys; None means that cannot be told."""
        if self._is_function:
            token = getattr(self.how, "cache_token", None)
            return None if token is None else f"callable {token}"
        return str(self.how)

    @property
    def arithmetic(self):
        """What the network begins with."""
        if isinstance(self.how, ScaleAndOffset):
            return self.how
        return ARITHMETIC[None if self._is_function else self.how]

    def in_keras(self):
        """All that is done, as `Arithmetic`.

        Raises
        ------
        ValueError
            It is a function.
        """
        if self._is_function:
            raise ValueError(
                f"preprocessing={self.how!r} is a function, which a Keras model cannot hold: "
                "make it the first layers of the backbone, and set preprocessing=None"
            )
        return self.arithmetic

    def __call__(self, pixels):
        """What the network is given of an image: what a function makes of it, or its pixels.

        Parameters
        ----------
        pixels : uint8 or float32 ndarray of shape (h, w, 3), from 0 to 255

        Returns
        -------
        given : ndarray of the same shape
        """
        if not self._is_function:
            return pixels
        made = np.asarray(self.how(pixels[None].astype(np.float32)), dtype=np.float32)
        if made.shape != (1, *pixels.shape):
            raise ValueError(
                f"preprocessing={self.how!r} made an array of shape {made.shape} from one of "
                f"{(1, *pixels.shape)}"
            )
        return made[0]

    @property
    def _is_function(self):
        return callable(self.how) and not isinstance(self.how, ScaleAndOffset)
