"""Networks of KerasHub: loaded, opened into blocks, built again by their constructors."""

import json
import os
from dataclasses import dataclass

import numpy as np

from sktransfer._exceptions import BackboneError, nearest
from sktransfer._networks.build import (
    cloned,
    compute_the_same,
    graph_of,
    pack,
    size_of,
    thaw,
    unpack,
)
from sktransfer._networks.converter import Converter
from sktransfer._networks.description import tensors_of
from sktransfer._networks.fingerprint import fingerprint_of
from sktransfer._networks.graphs import Cloned, outputs_at
from sktransfer._networks.opening import opened
from sktransfer._networks.packed import PackedNetwork
from sktransfer._runtime.keras import keras
from sktransfer._runtime.kerashub import keras_hub


class Constructed:
    """A network of KerasHub, as the constructor of its class builds it.

    Parameters
    ----------
    backbone : keras_hub.models.Backbone
        Ours alone. Of one for images and text, the part for images is taken.
    asked_size : (int, int) or None
        Height and width of its images.
    converter : Converter or None
    """

    foldable = frozenset()

    def __init__(self, backbone, asked_size, converter=None):
        self._backbone, self.converter = _image_tower(backbone), converter
        output = _last_output(self._backbone)
        graph = graph_of(keras.Model(self._backbone.inputs[0], output))
        if None in graph.input_shape[1:3] and converter:
            asked_size = asked_size or converter.size
        self.size = size_of(graph, asked_size)
        self.model = opened(graph, self.size)
        thaw(self.model)

    @classmethod
    def copy_of(cls, backbone, asked_size, converter):
        """A copy of a user's network."""
        return cls(_again(pack(_image_tower(backbone))), asked_size, converter)

    @property
    def names(self):
        """Names of layers, as users cut at."""
        return [operation.name for operation in self.model.operations]

    def frozen(self):
        """The same, or a clone where Keras can build each layer from its configuration."""
        try:
            clone = unpack(pack(cloned(self.model, self.size)))
        except Exception:  # whatever a configuration leaves out
            return self
        # Some of KerasHub's layers are called otherwise when they are built again.
        same_names = [operation.name for operation in clone.operations] == self.names
        same = same_names and compute_the_same(self.model, clone, self.size)
        return Cloned(clone, self.converter) if same else self

    def fingerprint(self):
        """A hash of architecture and weights."""
        packed = self.pack()
        return fingerprint_of([json.loads(packed.config), self.size], packed.weights)

    def pack(self):
        """The network in plain values."""
        return pack(self._backbone, self.converter)

    def prefix(self, cuts, layers, arithmetic, dtype):
        """The network up to some cuts, as an engine takes it."""
        return ConstructedPrefix(self, cuts, layers, arithmetic, dtype)

    def copy_below(self, cuts, layers):
        """A copy of what lies below some cuts, with weights of its own."""
        model = self.again().model
        return keras.Model(model.inputs, outputs_at(tensors_of(model), cuts, layers))

    def copy_above(self, position):
        """A copy of what lies above a layer, to be trained, and its layers by position."""
        second = self.again()
        above = keras.Model(tensors_of(second.model)[position], second.model.outputs[0])
        inside = {id(layer) for layer in above.layers if layer.weights}
        operations = enumerate(second.model.operations)
        return above, {i: part for i, part in operations if id(part) in inside}

    def again(self, precision="float32"):
        """A second one of the same weights, which computes in a precision."""
        return Constructed(_again(self.pack(), precision), self.size, self.converter)


@dataclass(frozen=True)
class ConstructedPrefix:
    """A network of KerasHub up to some cuts, as an engine takes it."""

    network: Constructed
    cuts: tuple
    layers: tuple
    arithmetic: object
    dtype: str

    def from_pixels(self, precision):
        """A model of the same weights that takes pixels, and computes in a precision."""
        network = self.network if precision == "float32" else self.network.again(precision)
        outputs = outputs_at(tensors_of(network.model), self.cuts, self.layers)
        pixels = keras.Input((*network.size, 3), dtype=self.dtype)
        return keras.Model(
            pixels, keras.Model(network.model.inputs[0], outputs)(self.arithmetic(pixels))
        )


def load(preset, asked_size):
    """The network of a preset.

    Raises
    ------
    BackboneError
        There is no such preset, or it takes no images.
    """
    _refuse_unknown(preset)
    converter = _converter(preset)
    if converter is None:  # perhaps it takes no images, which no weights are needed to tell
        _image_tower(_from_preset(preset, load_weights=False))
    backbone = _from_preset(preset)
    shape = _image_tower(backbone).inputs[0].shape[1:3]
    if asked_size and None not in shape and tuple(shape) != tuple(asked_size):
        backbone = _from_preset(preset, image_shape=(*asked_size, 3))
    return Constructed(backbone, asked_size, converter).frozen()


def _refuse_unknown(preset):
    """Refuse a name that is none of KerasHub's for images, before anything is downloaded."""
    names = keras_hub.layers.ImageConverter.presets
    if "://" in preset or os.path.isdir(preset) or preset in names:
        return
    if preset in keras_hub.models.Backbone.presets:
        raise BackboneError(f"KerasHub's {preset!r} is no network for images")
    raise BackboneError(f"KerasHub has no preset {preset!r}; {nearest(preset, names)}")


def _converter(preset):
    """What the preset's `ImageConverter` does, or None where there is none to go by."""
    own = keras_hub.layers.ImageConverter
    try:
        converter = own.from_preset(preset)
    except (FileNotFoundError, ValueError):  # no file, or no class for such networks
        return None
    if converter is None or type(converter)._call_python is not own._call_python:
        return None
    return Converter.of(converter)


def _from_preset(preset, **options):
    return keras_hub.models.Backbone.from_preset(preset, dtype="float32", **options)


def _image_tower(backbone):
    """The backbone, or of one for images and text the part for images."""
    if _takes_images(backbone):
        return backbone
    towers = [part for part in backbone.layers if _takes_images(part)]
    if len(towers) == 1:
        return towers[0]
    inputs = getattr(backbone, "inputs", None) or []
    shapes = ", ".join(f"{tensor.name} {tuple(tensor.shape[1:])}" for tensor in inputs)
    raise BackboneError(
        f"{type(backbone).__name__} takes no images: its inputs are {shapes}, and one of "
        "(height, width, 3) is needed"
    )


def _takes_images(model):
    if not isinstance(model, keras_hub.models.Backbone):
        return False
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    return len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] == 3


def _last_output(backbone):
    """Of several outputs, that of the last layer; of this, the one of the fewest positions."""
    positions = {id(o): i for i, o in enumerate(backbone.operations)}

    def place(tensor):
        fewest = -np.prod([side or 1 for side in tensor.shape[1:-1]])
        return positions[id(tensor._keras_history.operation)], fewest

    return max(backbone.outputs, key=place)


def _again(packed, precision="float32"):
    """A backbone that was packed, which computes in a precision."""
    config = _in_precision(json.loads(packed.config), precision)
    return unpack(PackedNetwork(json.dumps(config), packed.weights))


def _in_precision(config, precision):
    """A configuration of a network, with the type of its numbers replaced."""
    if isinstance(config, dict):
        return {
            key: precision if key == "dtype" else _in_precision(value, precision)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_in_precision(value, precision) for value in config]
    return config
