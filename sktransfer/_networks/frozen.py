"""Frozen networks: described, and run on batches of few constant sizes.

They live in a process-wide least-recently-used cache and are never trained; a Keras model that
a user passes is copied, never touched.
"""

import contextlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from sktransfer._exceptions import ForkedProcessError
from sktransfer._networks.build import plain_settings
from sktransfer._networks.description import describe
from sktransfer._networks.engines import ENGINES
from sktransfer._networks.precision import warn_if_slow_in_bfloat16
from sktransfer._networks.preprocessing import ARITHMETIC
from sktransfer._networks.whole import on_pixels
from sktransfer._runtime.devices import refuse_replicas, warn_of_idle_gpu
from sktransfer._runtime.interrupts import held_back

MAX_NETWORKS = 4
MAX_FUNCTIONS = 3  # of a network: TensorFlow needs seven times the weights for each

_lock = threading.RLock()
_networks = OrderedDict()  # identity → FrozenNetwork
_used_in_process = None  # id of the process that built the first network


def adopt(source, network):
    """Let a source name a network that is there already."""
    with _lock:
        _remember(_key(source), network)


def load(source):
    """The network that a source names, from memory or built."""
    _refuse_after_fork()  # before the lock, which a thread may have held at the fork
    refuse_replicas()
    with _lock:
        with held_back():
            key = _key(source)
        if key is None or key not in _networks:
            # Weights that are not there yet are downloaded, which may take minutes.
            with contextlib.nullcontext() if key is None else held_back():
                network = FrozenNetwork(_build(source), source.has_automatic_names)
                key = key or _key(source)  # known now, of weights downloaded just now
            _remember(key, network)
        _networks.move_to_end(key)
        return _networks[key]


def _key(source):
    """What tells networks in memory apart, or None while the weights are not there."""
    identity = source.identity() or source.identity_of_built()
    return identity and json.dumps(identity, sort_keys=True)


def _build(source):
    global _used_in_process
    _used_in_process = _used_in_process or os.getpid()
    warn_of_idle_gpu()
    with plain_settings():
        return source.build()


def _remember(key, network):
    _networks[key] = network
    _networks.move_to_end(key)
    if len(_networks) > MAX_NETWORKS:
        _networks.popitem(last=False)


@dataclass(frozen=True)
class BegunRows:
    """Rows that are being computed.

    Attributes
    ----------
    n_images : int
    cuts : list of Cut
    passes : list of BegunPass
        Which together compute all of them.
    """

    n_images: int
    cuts: list
    passes: list

    def fetch(self):
        """Wait for the rows, as `FrozenNetwork.rows` returns them."""
        computed = {}
        with held_back():
            for begun in self.passes:
                computed |= zip(begun.cuts, begun.compiled.fetch(begun.outputs), strict=True)
        rows = [computed[cut].astype(np.float32, copy=False) for cut in self.cuts]
        return [part[: self.n_images] for part in rows]


@dataclass(frozen=True)
class BegunPass:
    """A pass of a batch through a compiled network."""

    cuts: tuple
    compiled: object
    outputs: object


class FrozenNetwork:
    """A network in inference mode, cut wherever it is asked.

    Parameters
    ----------
    network : Cloned or Constructed
        Of fixed input size.
    has_automatic_names : bool
        Whether layers are numbered, which is then done as in a fresh process.

    Attributes
    ----------
    info : NetworkInfo
    """

    def __init__(self, network, has_automatic_names):
        self._network, self._has_automatic_names = network, has_automatic_names
        self._compiled = OrderedDict()  # by cuts and how they are computed
        self.info = describe(network, has_automatic_names)

    def rows(self, images, cuts, precision="float32", engine="keras"):
        """What the network makes of a batch of images, at some cuts.

        Parameters
        ----------
        images : sequence of uint8 or float32 ndarray of shape (height, width, 3)
            As many at most as the engine's largest batch holds.
        cuts : list of Cut
        precision : {"float32", "bfloat16"}
            That of weights and arithmetic; rows are float32.
        engine : str
            A name in `ENGINES`: what runs the network.

        Returns
        -------
        rows : list of float32 ndarray of shape (n, ...), one for each cut
        """
        return self.begin(images, cuts, precision, engine, ARITHMETIC[None]).fetch()

    def begin(self, images, cuts, precision, engine, arithmetic):
        """Begin what `rows` does, by an `Arithmetic` on the images first.

        Returns
        -------
        begun : BegunRows
        """
        sizes = ENGINES[engine].batch_sizes(self.info)
        size = next(size for size in sizes if size >= len(images))
        dtype = ENGINES[engine].takes({image.dtype for image in images})
        pixels = np.zeros((size, *images[0].shape), dtype)
        pixels[: len(images)] = images
        _refuse_after_fork()
        with held_back():
            functions = self._functions(cuts, precision, engine, arithmetic, dtype)
            passes = [
                BegunPass(group, compiled, compiled.submit(pixels))
                for group, compiled in functions.items()
            ]
        return BegunRows(len(images), cuts, passes)

    def _functions(self, cuts, *how):
        """Group of cuts that one pass computes → the network up to them, compiled."""
        with _lock:  # not while they compute: threads do that at the same time
            functions = {cuts: self._compiled_for(cuts, *how) for cuts in self._passes(cuts)}
            while len(self._compiled) > max(MAX_FUNCTIONS, len(functions)):
                self._compiled.popitem(last=False)
        return functions

    def _passes(self, cuts):
        """The cuts, in groups that one pass computes.

        The output of a convolution is lost where a BatchNorm is folded into it. Without
        folding, rows above it would differ in their last bits: it has a pass of its own.
        """
        operations, foldable = self._network.model.operations, self._network.foldable
        within = [cut for cut in cuts if operations[cut.position].name in foldable]
        others = tuple(cut for cut in cuts if cut not in within)
        return [(cut,) for cut in within] + ([others] if others else [])

    def _compiled_for(self, cuts, *how):
        """The network up to some cuts, as an engine compiles it."""
        key = cuts, *how
        if key not in self._compiled:
            precision, engine, arithmetic, dtype = how
            if precision == "bfloat16":
                warn_if_slow_in_bfloat16()
            with plain_settings():
                prefix = self._network.prefix(cuts, self.info.layers, arithmetic, dtype)
                self._compiled[key] = ENGINES[engine].compile(prefix, precision)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def copy_above(self, position):
        """A copy of what lies above a layer, to be trained.

        Returns
        -------
        model : keras.Model
            From that layer's output to the network's, with weights of its own.
        layers : dict
            Its layers that have weights, by position in this network.
        """
        return self._network.copy_above(position)

    def from_pixels(self, cuts, arithmetic):
        """A Keras model of its own, from pixels by an `Arithmetic` to rows at some cuts."""
        return on_pixels(self._network.copy_below(cuts, self.info.layers), arithmetic)

    @held_back()
    def pack(self):
        """The network in plain values."""
        names = self._has_automatic_names
        return replace(self._network.pack(), has_automatic_names=names)


def _refuse_after_fork():
    if _used_in_process not in (None, os.getpid()):
        raise ForkedProcessError(
            "a network was used before this process was forked, and would hang here: use "
            "joblib's loky backend (the default of n_jobs) or multiprocessing's 'spawn' "
            "instead of 'fork'"
        )
