"""Keras models of networks: built, opened, copied, packed."""

import contextlib
import fnmatch
import os
import random
import re
import sys
import threading
from typing import NamedTuple

import numpy as np

from sktransfer._exceptions import BackboneError
from sktransfer._networks.packed import PackedNetwork
from sktransfer._networks.tiny import WEIGHTS as TINY_WEIGHTS
from sktransfer._runtime.backend import weights_folder
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras

_settings_lock = threading.RLock()  # of Keras' settings, which all threads share


class OwnNetwork(NamedTuple):
    """A network of the user's own, as a graph of layers, and the size of its images."""

    model: object
    size: tuple


@contextlib.contextmanager
def plain_settings():
    """Build in float32, channels last, from a fixed seed; leave no trace of it."""
    with _settings_lock:
        state, policy = random.getstate(), keras.config.dtype_policy()
        layout, floats = keras.config.image_data_format(), keras.config.floatx()
        try:
            random.seed(0)  # where Keras' initializers take their seeds from
            keras.config.set_dtype_policy("float32")
            keras.config.set_image_data_format("channels_last")
            keras.config.set_floatx("float32")
            yield
        finally:
            random.setstate(state)
            keras.config.set_dtype_policy(policy)
            keras.config.set_image_data_format(layout)
            keras.config.set_floatx(floats)


def of_family(source):
    """The network of a `FamilySource`."""
    model = tiny(source) if source.name == "tiny" else application(source)
    if source.has_weights_file:
        try:
            model.load_weights(source.weights)
        except (OSError, ValueError) as error:
            weights = os.fspath(source.weights)
            raise BackboneError(f"weights={weights!r} does not fit: {error}") from error
    return model


def tiny(source):
    """The embedded network, its weights those it was published with or random."""
    from safetensors.numpy import load_file

    from sktransfer._networks.tiny import build

    model = build((*source.size, 3))
    if source.is_published:
        arrays = load_file(TINY_WEIGHTS)
        # Not by paths, which begin with a scope of Keras' if an interrupt left one open.
        names = (f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights)
        model.set_weights([arrays[name] for name in names])
    return model


def application(source):
    """A network of `keras.applications`, its weights those published or random."""
    family = source.family
    constructor = getattr(keras.applications, family.constructor)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what Keras says of a download
            return constructor(
                include_top=False,
                weights="imagenet" if source.is_published else None,
                input_shape=(*source.size, 3),
                **source.params,
            )
    except (TypeError, ValueError) as error:
        raise BackboneError(
            f"{family.constructor} refuses this: {error}. If its parameters are for another "
            "network, write them into the name of that one, as in 'mobilenet?alpha=0.75'"
        ) from error
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        raise BackboneError(_how_to_provide(family, error)) from error


def _how_to_provide(family, error):
    """What to do about weights that could not be downloaded."""
    named = re.findall(r"[^/\s]+\.h5", str(error))
    files = [*fnmatch.filter(named, family.weights_files), family.weights_files]
    return (
        f"{family.constructor} needs the file {files[0]} with its ImageNet weights, which is "
        f"not in {weights_folder()} and could not be downloaded ({error}). Without Internet "
        "access, put a copy of it into that folder, or into the folder models of one that the "
        "environment variable KERAS_HOME names; weights=None needs no file"
    )


def opened(path):
    """The Keras model in a .keras file."""
    with lambdas_refused(repr(path)):
        try:
            return keras.saving.load_model(path, compile=False)
        except Exception as error:  # whatever a file can hold
            raise BackboneError(f"{path!r} cannot be loaded: {error}") from error


def own_network(model, asked_size):
    """A user's Keras model, checked to be a network for images.

    Returns
    -------
    network : OwnNetwork
    """
    model = _as_graph(model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BackboneError(
            f"the network has {len(model.inputs)} inputs and {len(model.outputs)} outputs, "
            "and one of each is needed: keras.Model(an input, an output) of it"
        )
    shape = model.inputs[0].shape[1:]
    if len(shape) != 3 or shape[2] != 3:
        raise BackboneError(f"the network takes {shape}, not (height, width, 3)")
    size = asked_size or shape[:2]
    if None in size:
        raise BackboneError("the network takes images of any size: set input_size")
    if any(own not in (None, asked) for own, asked in zip(shape[:2], size, strict=True)):
        raise BackboneError(f"input_size={size}, but the network takes {shape[:2]}")
    return OwnNetwork(model, size)


def own_copy(network):
    """A copy of an `OwnNetwork`, with layers and weights of its own."""
    graph = keras.Model(network.model.inputs[0], network.model.outputs[0])
    name = graph.inputs[0]._keras_history.operation.name  # or infos of copies would differ
    with lambdas_refused("the network"):
        inputs = keras.Input((*network.size, 3), name=name)
        copy = keras.models.clone_model(graph, input_tensors=inputs)
    set_weights(copy, network.model.get_weights())
    for layer in copy._flatten_layers():
        layer.trainable = True  # it was frozen, maybe: here `unfreeze` says what is trained
    batch = np.random.default_rng(0).uniform(0, 1, (1, *network.size, 3)).astype(np.float32)
    original, copied = (
        keras.ops.convert_to_numpy(m(batch, training=False)) for m in (graph, copy)
    )
    if not np.allclose(original, copied, rtol=1e-3, atol=1e-4 * np.abs(original).max()):
        raise BackboneError(
            "a copy of the network by its configuration and weights computes something else: "
            "it holds state of another kind"
        )
    return copy


def _as_graph(model):
    """A Keras model as a graph of layers."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs)
    if not hasattr(model, "operations"):
        raise BackboneError(
            "the network is neither a functional model nor a Sequential one that knows its "
            "input: begin it with keras.Input((height, width, 3))"
        )
    return model


def pack(model):
    """A Keras model as plain values."""
    return PackedNetwork(model.to_json(), model.get_weights())


@held_back()
def unpack(packed):
    """The Keras model that `pack` packed."""
    with plain_settings(), lambdas_refused("the stored network"):
        model = keras.models.model_from_json(packed.config)
    set_weights(model, packed.weights)
    return model


def set_weights(model, weights):
    model.set_weights(weights)
    finalize(model)


def finalize(model):
    """Have layers such as Normalization derive what they do from their weights."""
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


@contextlib.contextmanager
def lambdas_refused(subject):
    """Say what to do about code in a network, which Keras does not run unasked."""
    try:
        yield
    except ValueError as error:
        if "enable_unsafe_deserialization" not in str(error):
            raise
        raise BackboneError(
            f"{subject} holds a Lambda layer, which is code that anyone may have written: if "
            "you trust it, call keras.config.enable_unsafe_deserialization() first, in each "
            "process"
        ) from error
