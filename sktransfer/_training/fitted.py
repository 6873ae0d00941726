"""A fitted network as plain values and arrays, and the checks when it comes back."""

import hashlib
import importlib.metadata
import inspect
import json
from dataclasses import dataclass

import numpy as np

from sktransfer._exceptions import InvalidStateError, VersionWarning, warn
from sktransfer._networks.source import BackboneSpec, PackedNetwork, is_keras_model

FORMAT = 1  # of the state: raised when it changes its meaning
LIBRARIES = ("sktransfer", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class FittedNetwork:
    """All that predictions need, without a Keras object.

    Attributes
    ----------
    base : PackedNetwork
        The network as it was before training.
    weights : dict
        What training made: ``base``, arrays by position of the layer, and ``head``.
    suffix : dict
        ``cut``, ``first_trainable`` and ``head``, as in `SuffixSpec`.
    preprocessing, input_size, input_range, precision
        As in `BackboneSpec`.
    """

    base: PackedNetwork
    weights: dict
    suffix: dict
    preprocessing: object
    input_size: tuple
    input_range: tuple
    precision: str

    def spec(self):
        """The base as other modules ask for it."""
        return BackboneSpec(
            backbone=self.base,
            weights="pretrained",
            params={},
            input_size=self.input_size,
            preprocessing=self.preprocessing,
            input_range=self.input_range,
            precision=self.precision,
        )


def to_state(fitted):
    """A fitted network as a dict of plain values and arrays, with versions and hashes."""
    arrays = {f"network/{i}": array for i, array in enumerate(fitted.base.weights)}
    for position, layer in fitted.weights["base"].items():
        arrays |= {f"base/{position}/{i}": array for i, array in enumerate(layer)}
    arrays |= {f"head/{i}": array for i, array in enumerate(fitted.weights["head"])}
    return {
        "format": FORMAT,
        "versions": _versions(),
        "config": fitted.base.config,
        "suffix": fitted.suffix,
        "preprocessing": fitted.preprocessing,
        "input_size": fitted.input_size,
        "input_range": fitted.input_range,
        "precision": fitted.precision,
        "arrays": arrays,
        "sha256": {name: _sha256(array) for name, array in arrays.items()},
    }


def from_state(state):
    """The fitted network of a state.

    Raises
    ------
    InvalidStateError
        The state is of another format, or an array is not what was stored.
    """
    check_format(state)
    arrays = state["arrays"]
    if arrays.keys() != state["sha256"].keys():
        raise InvalidStateError("arrays of the stored model are missing")
    for name, array in arrays.items():
        if _sha256(array) != state["sha256"][name]:
            raise InvalidStateError(f"the array {name!r} of the stored model was changed")
    _warn_of_other_versions(state["versions"])
    trained = {name.split("/")[1] for name in arrays if name.startswith("base/")}
    base = {int(layer): _in_order(arrays, f"base/{layer}/") for layer in trained}
    return FittedNetwork(
        PackedNetwork(state["config"], _in_order(arrays, "network/")),
        {"base": base, "head": _in_order(arrays, "head/")},
        state["suffix"],
        state["preprocessing"],
        state["input_size"],
        state["input_range"],
        state.get("precision", "float32"),  # of which the first states say nothing
    )


def check_format(state):
    """Refuse what a later version has stored."""
    stored = state.get("format")
    if stored != FORMAT:
        raise InvalidStateError(
            f"the model was stored in format {stored!r}, and this sktransfer reads format "
            f"{FORMAT}: load it with the version that stored it, or a later one"
        )


def pack_backbone(state):
    """An estimator's state with a Keras model in it as plain values."""
    if not is_keras_model(state["backbone"]):
        return state
    from sktransfer._networks.frozen import pack

    return {**state, "backbone": pack(state["backbone"])}


def complete(state, estimator):
    """An estimator's state with its Keras model back again, and with later parameters.

    Those that an earlier version stored nothing of have their defaults.
    """
    parameters = inspect.signature(type(estimator)).parameters.values()
    return {p.name: p.default for p in parameters} | _unpack_backbone(state)


def _unpack_backbone(state):
    if not isinstance(state["backbone"], PackedNetwork):
        return state
    from sktransfer._networks.frozen import unpack

    return {**state, "backbone": unpack(state["backbone"])}


def _in_order(arrays, prefix):
    """The arrays whose names are a prefix and a number, by their numbers."""
    own = [name for name in arrays if name.startswith(prefix)]
    return [arrays[name] for name in sorted(own, key=lambda n: int(n.removeprefix(prefix)))]


def _versions():
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _warn_of_other_versions(stored):
    now = _versions()
    other = [f"{k} {v} (now {now.get(k)})" for k, v in stored.items() if now.get(k) != v]
    if other:
        message = f"the model was stored with {', '.join(other)}; predictions may differ"
        warn(message, VersionWarning)


def _sha256(array):
    header = json.dumps([array.dtype.str, array.shape])
    return hashlib.sha256(header.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()
