"""BatchNorm of a frozen network folded into the convolutions below it.

In inference BatchNorm is a fixed linear map of each channel, and so is part of the
convolution that feeds it. TensorFlow's own folding of constants leaves a good part of that
to be computed: folded here, MobileNet is 1.4 and ResNet50 1.2 times faster.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from sktransfer._networks.build import finalize
from sktransfer._runtime.keras import keras


@dataclass(frozen=True)
class Prefix:
    """A network up to some cuts, as an engine takes it.

    Attributes
    ----------
    model : keras.Model
        Functional.
    foldable : collection of str
        The convolutions of the whole network that `foldable_norms` names: what is folded must
        not depend on the cuts.
    arithmetic : Arithmetic
        What is done to pixels first.
    dtype : str
        Of the pixels.
    """

    model: object
    foldable: frozenset
    arithmetic: object
    dtype: str

    def from_pixels(self, precision):
        """A copy that takes pixels, with BatchNorm in convolutions where it can be.

        Parameters
        ----------
        precision : {"float32", "bfloat16"}
            Of the copy's weights and arithmetic.
        """
        pixels = keras.Input(self.model.input_shape[1:], dtype=self.dtype)
        return keras.Model(pixels, self._folded(precision)(self.arithmetic(pixels)))

    def _folded(self, precision):
        norms = foldable_norms(self.model)
        norms = {name: norms[name] for name in norms if name in self.foldable}
        gone = {norm.name for norm in norms.values()}

        def clone(operation):
            if isinstance(operation, keras.Model) and precision != "float32":
                return keras.models.clone_model(operation, clone_function=clone)
            config = operation.get_config()
            if operation.name in norms:
                config["use_bias"] = True
            if "dtype" in config and _computes(operation):
                config["dtype"] = precision
            return type(operation).from_config(config)

        def call(operation, *inputs, **options):
            return inputs[0] if operation.name in gone else operation(*inputs, **options)

        copy = keras.models.clone_model(self.model, clone_function=clone, call_function=call)
        originals = {layer.name: layer for layer in self.model.layers}
        for layer in copy.layers:
            if layer.weights:
                original = originals[layer.name]
                layer.set_weights(_fold(original, norms.get(layer.name)))
        finalize(copy)
        return copy


def _computes(operation):
    """Whether it is a layer, not an operation such as a cast, nor the exact input."""
    is_input = isinstance(operation, keras.layers.InputLayer)
    return isinstance(operation, keras.Layer) and not is_input


def foldable_norms(model):
    """Name of a convolution → the BatchNorm that alone sees what it makes."""
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    uses = Counter(id(node.operation) for node in nodes)
    seen = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    seen.update(map(id, model.outputs))
    norms = {}
    for node in nodes:
        if isinstance(node.operation, keras.layers.BatchNormalization):
            [tensor] = node.input_tensors
            below = tensor._keras_history.operation
            once = seen[id(tensor)] == uses[id(below)] == uses[id(node.operation)] == 1
            if once and _is_linear_convolution(below):
                norms[below.name] = node.operation
    return norms


def _is_linear_convolution(operation):
    kinds = keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D
    return (
        type(operation) in kinds
        and operation.activation is keras.activations.linear
        and operation.data_format == "channels_last"
    )


def _fold(layer, norm):
    """The weights of a layer, with those of the BatchNorm above it, if any, in them."""
    if norm is None:
        return layer.get_weights()
    # In double precision, so that it is rounded but once.
    *trained, mean, variance = (np.asarray(w, np.float64) for w in norm.get_weights())
    scale, shift = 1 / np.sqrt(variance + norm.epsilon), 0
    if norm.center:
        shift = trained.pop()
    if norm.scale:
        scale = scale * trained.pop()
    arrays = layer.get_weights()
    bias = arrays.pop() if layer.use_bias else 0
    *others, kernel = arrays
    by_channel = scale
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        by_channel = scale.reshape(kernel.shape[-2:])
    return [*others, kernel * by_channel, (bias - mean) * scale + shift]
