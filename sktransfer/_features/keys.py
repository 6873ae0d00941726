"""What a row depends on, and the key it is kept under.

The key of a row is a hash of its namespace, of the image's digest and, of an augmented view,
of the augmentation and the view's number. The namespace is all else that changes a row.
"""

import hashlib
import json
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sktransfer._images.formats import decoder
from sktransfer._networks.info import FORMAT


class ViewKey(NamedTuple):
    """One view of an image; a tuple, as millions are made and looked up.

    Attributes
    ----------
    digest : bytes
        The hash of the image's content.
    number : int
        0 is the unaltered image; others are augmented.
    """

    digest: bytes
    number: int


def namespace(info, cut, reader, engine_key, precision, dtype):
    """All that changes a row, but for image and view, in plain values.

    Parameters
    ----------
    info : NetworkInfo
    cut : Cut
    reader : ImageReader
    engine_key : str
        As `Engine.key` states it.
    precision : str
        In which the network computes.
    dtype : dtype
        In which rows are kept.
    """
    return {
        "format": FORMAT,
        "network": info.fingerprint,
        "layer": cut.position,
        "pooling": cut.pooling,
        "input_size": list(info.input_size),
        "input_range": [float(bound) for bound in reader.input_range],
        "preprocessing": reader.preprocessing.token,
        "resize": reader.resizing.token,
        "decoder": decoder(),
        "precision": precision,
        "kept_as": np.dtype(dtype).name,
        "engine": engine_key,
    }


class KeyMaker:
    """Keys of rows in one namespace.

    Parameters
    ----------
    namespace : dict
    augmentation : ImageAugmentation or None
        What draws the augmented views.
    """

    def __init__(self, namespace, augmentation):
        self._salt = hashlib.sha256(json.dumps(namespace, sort_keys=True).encode())
        self._token = lru_cache(augmentation.token) if augmentation else None

    def __call__(self, view):
        """The key of a `ViewKey`, 32 bytes."""
        key = self._salt.copy()
        key.update(view.digest)
        if view.number:
            key.update(self._token(view.number))
        return key.digest()
