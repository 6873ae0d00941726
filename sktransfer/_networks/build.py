"""Keras models of networks: built, opened, copied, packed."""

import contextlib
import fnmatch
import os
import random
import re
import sys
import threading

import numpy as np

from sktransfer._exceptions import BackboneError
from sktransfer._networks.identity import config_in
from sktransfer._networks.packed import PackedNetwork
from sktransfer._networks.tiny import WEIGHTS as TINY_WEIGHTS
from sktransfer._runtime.backend import weights_folder
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras

_settings_lock = threading.RLock()  # of Keras' settings, which all threads share


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
    with_what_it_names(config_in(path))
    with lambdas_refused(repr(path)):
        try:
            return keras.saving.load_model(path, compile=False)
        except Exception as error:  # whatever a file can hold
            raise BackboneError(f"{path!r} cannot be loaded: {error}") from error


def graph_of(model):
    """A Keras model as a graph of layers, of one input and one output.

    Raises
    ------
    BackboneError
        It is none.
    """
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs)
    if not hasattr(model, "operations"):
        raise BackboneError(
            "the network is neither a functional model nor a Sequential one that knows its "
            "input: begin it with keras.Input((height, width, 3))"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BackboneError(
            f"the network has {len(model.inputs)} inputs and {len(model.outputs)} outputs, "
            "and one of each is needed: keras.Model(an input, an output) of it"
        )
    return model


def size_of(model, asked_size):
    """The size of the images that a model of one input takes, checked.

    Raises
    ------
    BackboneError
        It takes no images, or not those of the size that was asked for.
    """
    shape = model.inputs[0].shape[1:]
    if len(shape) != 3 or shape[2] != 3:
        raise BackboneError(f"the network takes {shape}, not (height, width, 3)")
    size = asked_size or shape[:2]
    if None in size:
        raise BackboneError("the network takes images of any size: set input_size")
    if any(own not in (None, asked) for own, asked in zip(shape[:2], size, strict=True)):
        raise BackboneError(f"input_size={size}, but the network takes {shape[:2]}")
    return tuple(size)


def cloned(model, size):
    """A copy of a model of one input and one output, of layers and weights of its own."""
    graph = keras.Model(model.inputs[0], model.outputs[0])
    name = graph.inputs[0]._keras_history.operation.name  # or infos of copies would differ
    with lambdas_refused("the network"):
        inputs = keras.Input((*size, 3), name=name)
        copy = keras.models.clone_model(graph, input_tensors=inputs)
    set_weights(copy, model.get_weights())
    thaw(copy)
    if not compute_the_same(graph, copy, size):
        raise BackboneError(
            "a copy of the network by its configuration and weights computes something else: "
            "it holds state of another kind"
        )
    return copy


def thaw(model):
    """Let all layers be trained: they were frozen, maybe, and here `unfreeze` says what is."""
    for layer in model._flatten_layers():
        layer.trainable = True


def compute_the_same(some, others, size):
    """Whether two models make the same of an image of noise."""
    batch = np.random.default_rng(0).uniform(0, 1, (1, *size, 3)).astype(np.float32)
    a, b = (keras.ops.convert_to_numpy(m(batch, training=False)) for m in (some, others))
    return np.allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max())


def pack(model, converter=None):
    """A Keras model as plain values."""
    weights = [np.asarray(weight) for weight in model.get_weights()]
    return PackedNetwork(model.to_json(), weights, converter=converter)


@held_back()
def unpack(packed):
    """The Keras model that `pack` packed."""
    with_what_it_names(packed.config)
    with plain_settings(), lambdas_refused("the stored network"):
        model = keras.models.model_from_json(packed.config)
    set_weights(model, packed.weights)
    return model


def with_what_it_names(config):
    """Have KerasHub loaded, where Keras' JSON of a network names layers of it."""
    text = config.decode(errors="replace") if isinstance(config, bytes) else config
    if '"keras_hub' in text:
        from sktransfer._runtime import kerashub  # noqa: F401


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
