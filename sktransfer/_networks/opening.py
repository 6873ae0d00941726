"""Encoders of KerasHub, which are one layer each, opened into the blocks within.

So that a network can be cut between blocks, and trained block by block.
"""

import contextlib
from collections import Counter

from sktransfer._networks.description import fresh_names
from sktransfer._runtime.keras import keras


def opened(model, size):
    """The graph of a model for images of a size, of the same layers.

    Parameters
    ----------
    model : keras.Model
        Functional, of one input and one output, ours alone: layers within encoders are
        called by their encoder's name and their own.
    size : (int, int)

    Returns
    -------
    graph : keras.Model
    """
    for layer in model.layers:
        if _holds_blocks(layer):
            parts = layer._flatten_layers(include_self=False, recursive=False)
            parts = list(parts)
            for part, name in zip(parts, fresh_names(parts), strict=True):
                part.name = f"{layer.name}_{name}"
    name = model.inputs[0]._keras_history.operation.name
    return keras.models.clone_model(
        model,
        input_tensors=keras.Input((*size, 3), name=name),
        clone_function=lambda layer: layer,
        call_function=_call,
    )


def _call(operation, *inputs, **options):
    """What an operation makes, by the layers within where it holds blocks."""
    if _holds_blocks(operation):
        with contextlib.suppress(Exception):  # what its code does not do with a symbol
            return operation.call(*inputs, **options)
    return operation(*inputs, **options)


def _holds_blocks(operation):
    """Whether it is a layer of several alike that have layers of their own, and no weights."""
    if not isinstance(operation, keras.Layer) or isinstance(operation, keras.Model):
        return False
    parts = list(operation._flatten_layers(include_self=False, recursive=False))
    within = {id(weight) for part in parts for weight in part.weights}
    blocks = Counter(type(part) for part in parts if part.weights and _has_parts(part))
    return max(blocks.values(), default=0) > 1 and within == set(map(id, operation.weights))


def _has_parts(layer):
    return any(True for _ in layer._flatten_layers(include_self=False, recursive=False))
