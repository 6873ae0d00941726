"""Where the tokens of a vision transformer stand for parts of the image.

Before them come a class token and others, such as registers, in many networks. How many is
found by trying: the first token that depends on the image's first pixel is a part of it.
"""

from dataclasses import dataclass

import numpy as np

from sktransfer._runtime.keras import keras


@dataclass(frozen=True)
class Tokens:
    """The tokens that a network makes of an image.

    Attributes
    ----------
    n_tokens : int
        All of them; 0 of a network that makes none.
    n_leading : int
        Those before the first that stands for a part of the image.
    """

    n_tokens: int
    n_leading: int

    @classmethod
    def of(cls, model, tensors):
        """Those of a model, by the outputs of its layers as `tensors_of` finds them."""
        sequences = [t for t in tensors if t is not None and len(t.shape) == 3]
        if not sequences or None in sequences[0].shape[1:]:
            return cls(0, 0)
        first = sequences[0]  # where each is made of its own part of the image alone
        images = np.zeros((2, *model.input_shape[1:]), np.float32)
        images[1, 0, 0] = 1
        made = keras.Model(model.inputs[0], first)(images, training=False)
        made = keras.ops.convert_to_numpy(made)
        differ = (made[0] != made[1]).any(axis=1)
        return cls(first.shape[1], int(differ.argmax()))

    def n_special(self, shape):
        """How many of a layer's tokens stand for no part of the image."""
        is_of_all = shape is not None and len(shape) == 2 and shape[0] == self.n_tokens
        return self.n_leading if is_of_all else 0
