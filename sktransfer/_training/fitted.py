"""A fitted network as plain values and arrays, and the checks when it comes back."""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass

import numpy as np

from sktransfer._exceptions import InvalidStateError, VersionWarning, warn
from sktransfer._images.resizing import Resizing
from sktransfer._networks.info import Cut
from sktransfer._networks.packed import PackedNetwork
from sktransfer._networks.preprocessing import ScaleAndOffset
from sktransfer._networks.source import PackedSource
from sktransfer._training.heads import Head

FORMAT = 2  # of the state: raised when it changes its meaning
AS_THEY_ARE = ("input_size", "input_range", "precision")  # in the state
LIBRARIES = ("sktransfer", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Weights:
    """Arrays that training made.

    Attributes
    ----------
    base : dict
        Position of a layer of the network → its arrays.
    head : list of ndarray
    """

    base: dict
    head: list

    def after(self, earlier):
        """These and, of layers that they leave out, those of earlier stages, if any."""
        base = self.base if earlier is None else {**earlier.base, **self.base}
        return Weights(base, self.head)

    def towards(self, others, share):
        """Weights on the straight way to others of the same layers: 0 is here, 1 is there."""
        base = {i: _between(arrays, others.base[i], share) for i, arrays in self.base.items()}
        return Weights(base, _between(self.head, others.head, share))


def _between(some, others, share):
    left, right = np.float32(1 - share), np.float32(share)  # exact at both ends
    return [left * a + right * b for a, b in zip(some, others, strict=True)]


@dataclass(frozen=True)
class SuffixSpec:
    """A suffix: where it begins, what of it is trained, and the head.

    Attributes
    ----------
    cut : Cut
        Where its rows are taken.
    first_trainable : int or None
        Position of the lowest layer that is trained; None trains the head alone.
    head : Head
    """

    cut: Cut
    first_trainable: int | None
    head: Head

    @classmethod
    def from_plain(cls, plain):
        """From what `dataclasses.asdict` makes of one."""
        return cls(Cut(**plain["cut"]), plain["first_trainable"], Head(**plain["head"]))


@dataclass(frozen=True)
class FittedNetwork:
    """All that predictions need, without a Keras object.

    Attributes
    ----------
    base : PackedNetwork
        The network as it was before training.
    weights : Weights
    suffix : SuffixSpec
    preprocessing : str, ScaleAndOffset, callable or None
        As in `Preprocessing`.
    resizing : Resizing
    input_size : (int, int)
    input_range : (float, float)
    precision : str
        Of the frozen part.
    """

    base: PackedNetwork
    weights: Weights
    suffix: SuffixSpec
    preprocessing: object
    resizing: Resizing
    input_size: tuple
    input_range: tuple
    precision: str

    def source(self):
        """Where the base comes from."""
        return PackedSource(self.base, self.input_size)


def to_state(fitted):
    """A fitted network as a dict of plain values and arrays, with versions and hashes."""
    arrays = {f"network/{i}": array for i, array in enumerate(fitted.base.weights)}
    for position, layer in fitted.weights.base.items():
        arrays |= {f"base/{position}/{i}": array for i, array in enumerate(layer)}
    arrays |= {f"head/{i}": array for i, array in enumerate(fitted.weights.head)}
    return {
        "format": FORMAT,
        "versions": _versions(),
        "config": fitted.base.config,
        "has_automatic_names": fitted.base.has_automatic_names,
        "suffix": asdict(fitted.suffix),
        **{name: getattr(fitted, name) for name in AS_THEY_ARE},
        "preprocessing": _plain_preprocessing(fitted.preprocessing),
        "resizing": asdict(fitted.resizing),
        "arrays": arrays,
        "sha256": {name: _sha256(array) for name, array in arrays.items()},
    }


def from_state(state):
    """The fitted network of a state.

    Raises
    ------
    InvalidStateError
        The state is of another format, incomplete, or an array is not what was stored.
    """
    try:
        _check_format(state)
        _check_arrays(state)
        _warn_of_other_versions(state["versions"])
        return _read(state)
    except (AttributeError, LookupError, TypeError) as error:
        raise InvalidStateError(f"the stored model cannot be read: {error!r}") from error


def _read(state):
    arrays = state["arrays"]
    trained = {name.split("/")[1] for name in arrays if name.startswith("base/")}
    base = {int(layer): _in_order(arrays, f"base/{layer}/") for layer in trained}
    numbered = state.get("has_automatic_names", False)  # which 0.1.0 did not store at first
    return FittedNetwork(
        PackedNetwork(state["config"], _in_order(arrays, "network/"), numbered),
        Weights(base, _in_order(arrays, "head/")),
        SuffixSpec.from_plain(state["suffix"]),
        preprocessing=_preprocessing_of(state["preprocessing"]),
        resizing=Resizing(**state.get("resizing", {})),
        **{name: state[name] for name in AS_THEY_ARE},
    )


def _plain_preprocessing(how):
    return asdict(how) if isinstance(how, ScaleAndOffset) else how


def _preprocessing_of(plain):
    return ScaleAndOffset(**plain) if isinstance(plain, dict) else plain


def _check_arrays(state):
    arrays, stored = state["arrays"], state["sha256"]
    if arrays.keys() != stored.keys():
        raise InvalidStateError("arrays of the stored model are missing")
    for name, array in arrays.items():
        if _sha256(array) != stored[name]:
            raise InvalidStateError(f"the array {name!r} of the stored model was changed")


def _check_format(state):
    """Refuse what a later version has stored."""
    stored = state.get("format")
    if stored != FORMAT:
        raise InvalidStateError(
            f"the model was stored in format {stored!r}, and this sktransfer reads format "
            f"{FORMAT}: load it with the version that stored it, or a later one"
        )


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
