"""A Keras model as a frozen network has it: copied, cut, and packed.

There are two kinds, by what builds a model again: `Cloned`, of which Keras builds each layer
from its configuration, and `kerashub.Constructed`, which only the constructor of its class
builds. A kind has

- `model`: the functional model, ours alone;
- `foldable`: names of convolutions into which BatchNorm is folded;
- `converter`: what KerasHub says of its images, or None;
- `fingerprint()`, `pack()`;
- `prefix(cuts, layers, arithmetic, dtype)`: what an engine compiles;
- `copy_below(cuts, layers)`, `copy_above(position)`: what can be given away, and trained.
"""

import functools
from dataclasses import dataclass

from sktransfer._networks.build import cloned, graph_of, pack, set_weights, size_of
from sktransfer._networks.description import tensors_of
from sktransfer._networks.fingerprint import fingerprint
from sktransfer._networks.folding import Prefix, foldable_norms
from sktransfer._runtime.keras import keras


class Cloned:
    """A network of which Keras builds each layer again from its configuration."""

    def __init__(self, model, converter=None):
        self.model, self.converter = model, converter
        self.foldable = frozenset(foldable_norms(model))

    @functools.cached_property
    def _tensors(self):
        return tensors_of(self.model)

    def fingerprint(self):
        """A hash of architecture and weights."""
        return fingerprint(self.model, self.model.input_shape[1:3])

    def pack(self):
        """The network in plain values."""
        return pack(self.model, self.converter)

    def prefix(self, cuts, layers, arithmetic, dtype):
        """The network up to some cuts, as an engine takes it.

        Parameters
        ----------
        cuts : sequence of Cut
        layers : sequence of LayerInfo
            Of the network.
        arithmetic : Arithmetic or ScaleAndOffset
        dtype : str
            Of the pixels.
        """
        outputs = outputs_at(self._tensors, cuts, layers)
        model = keras.Model(self.model.inputs, outputs)
        return Prefix(model, self.foldable, arithmetic, dtype)

    def copy_below(self, cuts, layers):
        """A copy of what lies below some cuts, with weights of its own."""
        below = keras.Model(self.model.inputs, outputs_at(self._tensors, cuts, layers))
        copy = keras.models.clone_model(below)
        set_weights(copy, below.get_weights())
        return copy

    def copy_above(self, position):
        """A copy of what lies above a layer, to be trained.

        Returns
        -------
        model : keras.Model
            From that layer's output to the network's, with weights of its own.
        layers : dict
            Its layers that have weights, by position in this network.
        """
        above = keras.Model(self._tensors[position], self.model.outputs[0])
        copy = keras.models.clone_model(above)
        set_weights(copy, above.get_weights())
        positions = {o.name: i for i, o in enumerate(self.model.operations)}
        return copy, {positions[part.name]: part for part in copy.layers if part.weights}


@dataclass(frozen=True)
class OwnNetwork:
    """A Keras model of the user's own.

    Attributes
    ----------
    model : keras.Model
        Functional, of one input and one output.
    size : (int, int)
        Of its images.
    converter : Converter or None
    """

    model: object
    size: tuple
    converter: object

    @classmethod
    def of(cls, model, asked_size, converter):
        """A model, checked to be a network for images."""
        model = graph_of(model)
        return cls(model, size_of(model, asked_size), converter)

    @property
    def names(self):
        """Names of layers, as users cut at."""
        return [operation.name for operation in self.model.operations]

    def fingerprint(self):
        """A hash of architecture and weights."""
        return fingerprint(self.model, self.size)

    def frozen(self):
        """A copy, of which Keras builds each layer."""
        return Cloned(cloned(self.model, self.size), self.converter)


def outputs_at(tensors, cuts, layers):
    """What a network makes at some cuts, of the outputs of its layers."""
    return [
        _pooled(tensors[cut.position], cut.pooling, layers[cut.position].n_special)
        for cut in cuts
    ]


def _pooled(output, pooling, n_special):
    if pooling is None:
        return output
    output = keras.ops.cast(output, "float32")  # which half precision is not
    if pooling == "cls":
        return output[:, 0]
    if n_special:
        output = output[:, n_special:]
    reduce = {"avg": keras.ops.mean, "max": keras.ops.max}[pooling]
    return reduce(output, axis=tuple(range(1, len(output.shape) - 1)))
