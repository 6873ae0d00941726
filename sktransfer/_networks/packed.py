"""A network as plain values and arrays."""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PackedNetwork:
    """A network in plain values, for which neither its file nor its name is needed.

    Attributes
    ----------
    config : str
        Keras' JSON of its architecture.
    weights : list of ndarray
    """

    config: str
    weights: list

    @functools.cached_property
    def sha256(self):
        """Of configuration and weights, in hexadecimal."""
        result = hashlib.sha256(self.config.encode())
        for array in self.weights:
            result.update(f"{array.dtype.str} {array.shape}".encode())
            result.update(np.ascontiguousarray(array))
        return result.hexdigest()

    def __getstate__(self):
        return {"config": self.config, "weights": self.weights}
