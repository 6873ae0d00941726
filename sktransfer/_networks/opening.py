"""Encoders of KerasHub, which are one layer each, opened into the blocks within.

So that a network can be cut between blocks, and trained block by block.
"""

import contextlib
from collections import Counter

from sktransfer._networks.description import fresh_names
from sktransfer._runtime.keras import keras


def opened(model, size):
    """The graph of a model for images of a size, of the same layers.

    They are named as in a fresh process; layers within encoders by the encoder's name and
    their own.

    Parameters
    ----------
    model : keras.Model
        Functional, of one input and one output, ours alone.
    size : (int, int)

    Returns
    -------
    graph : keras.Model
    """
    for layer in model.layers:
        if _holds_blocks(layer):
            _rename(_parts(layer), f"{layer.name}_")
    graph = keras.models.clone_model(
        model,
        input_tensors=keras.Input((*size, 3)),
        clone_function=lambda layer: layer,
        call_function=_call,
    )
    _rename(graph.operations)
    return graph


def _rename(operations, prefix=""):
    for operation, name in zip(operations, fresh_names(operations), strict=True):
        operation.name = prefix + name


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
    parts = _parts(operation)
    within = {id(weight) for part in parts for weight in part.weights}
    blocks = Counter(type(part) for part in parts if part.weights and _parts(part))
    return max(blocks.values(), default=0) > 1 and within == set(map(id, operation.weights))


def _parts(layer):
    """The layers directly within a layer."""
    return list(layer._flatten_layers(include_self=False, recursive=False))
