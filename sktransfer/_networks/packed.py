"""A network as plain values and arrays."""

import functools
import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from sktransfer._exceptions import InvalidStateError
from sktransfer._networks.converter import Converter


@dataclass(frozen=True, eq=False)
class PackedNetwork:
    """A network in plain values, for which neither its file nor its name is needed.

    Attributes
    ----------
    config : str
        Keras' JSON of its architecture.
    weights : list of ndarray
    has_automatic_names : bool
        Whether layers are numbered, which is then done as in a fresh process.
    converter : Converter or None
        What KerasHub says of its images.
    """

    config: str
    weights: list
    has_automatic_names: bool = False
    converter: Converter | None = None

    @functools.cached_property
    def sha256(self):
        """Of all but the names of layers, in hexadecimal."""
        result = hashlib.sha256(self.config.encode())
        if self.converter is not None:
            result.update(repr(self.converter).encode())
        for array in self.weights:
            result.update(f"{array.dtype.str} {array.shape}".encode())
            result.update(np.ascontiguousarray(array))
        return result.hexdigest()

    def to_plain(self):
        """As a dict of plain values, the weights as bytes, with their hash.

        Estimators may share a network. A file holds bytes once, however many refer to them,
        but arrays as often as they are met.
        """
        return {
            "config": self.config,
            "weights": self._weights_as_bytes,
            "has_automatic_names": self.has_automatic_names,
            "converter": self.converter and asdict(self.converter),
            "sha256": self.sha256,
        }

    @classmethod
    def from_plain(cls, plain):
        """From what `to_plain` makes of one.

        Raises
        ------
        InvalidStateError
            It is not what was stored.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            named = load(plain["weights"])
            weights = [named[name] for name in sorted(named, key=int)]
            converter = plain["converter"] and Converter.from_plain(plain["converter"])
            packed = cls(plain["config"], weights, plain["has_automatic_names"], converter)
            packed.__dict__["_weights_as_bytes"] = plain["weights"]
            was_changed = packed.sha256 != plain["sha256"]
        except (LookupError, TypeError, ValueError, AttributeError, SafetensorError) as error:
            raise InvalidStateError(f"the stored network cannot be read: {error!r}") from error
        if was_changed:
            raise InvalidStateError("the stored network was changed")
        return packed

    @functools.cached_property
    def _weights_as_bytes(self):
        from safetensors.numpy import save

        arrays = (np.asarray(array, order="C") for array in self.weights)
        return save({str(i): array for i, array in enumerate(arrays)})

    def __reduce__(self):
        return PackedNetwork.from_plain, (self.to_plain(),)

    def __deepcopy__(self, memo):
        return self  # which nothing changes, so that clones share it

    def __repr__(self):
        n_parameters = sum(array.size for array in self.weights)
        return f"PackedNetwork({n_parameters:,} parameters, sha256 {self.sha256[:8]})"
