"""A Keras model, described."""

import math
import re
from collections import defaultdict

import numpy as np

from sktransfer._images.resizing import STRETCHED
from sktransfer._networks.info import LayerInfo, NetworkInfo
from sktransfer._networks.tokens import Tokens
from sktransfer._runtime.keras import keras


def tensors_of(model):
    """What each operation makes, or None where that is several tensors or it is used twice."""
    nodes = nodes_of(model)
    tensors = [_only_output(nodes[id(operation)]) for operation in model.operations]
    tensors[model.operations.index(_operation_of(model.outputs[0]))] = model.outputs[0]
    return tensors


def nodes_of(model):
    """The uses of each operation in a model, by its id."""
    nodes = defaultdict(list)
    for same_depth in model._nodes_by_depth.values():
        for node in same_depth:
            nodes[id(node.operation)].append(node)
    return nodes


def describe(network, has_automatic_names):
    """What is known of a network.

    Parameters
    ----------
    network : Cloned or Constructed
        Of one input of a fixed size.
    has_automatic_names : bool
        Whether to number layer names as a fresh process would.

    Returns
    -------
    info : NetworkInfo
    """
    model, converter = network.model, network.converter
    operations, size = list(model.operations), tuple(model.inputs[0].shape[1:3])
    names = [operation.name for operation in operations]
    if has_automatic_names:
        names = fresh_names(operations)
    return NetworkInfo(
        fingerprint=network.fingerprint(),
        input_size=size,
        layers=tuple(_layers(model, names)),
        output=operations.index(_operation_of(model.outputs[0])),
        below_top=_below_top(model, operations),
        preprocessing=converter and converter.arithmetic,
        resizing=converter.resizing if converter else STRETCHED,
    )


def _layers(model, names):
    """What is known of each layer."""
    operations, tensors, nodes = list(model.operations), tensors_of(model), nodes_of(model)
    tokens, shapes = Tokens.of(model, tensors), _shapes(model, tensors)
    described = zip(names, operations, tensors, shapes, strict=True)
    for name, operation, tensor, shape in described:
        yield LayerInfo(
            name=name,
            shape=shape,
            has_kernel=bool(_kernels(operation)),
            n_parameters=sum(map(_size, getattr(operation, "weights", ()))),
            n_trainable=sum(map(_size, _trainable(operation))),
            macs=_macs(operation, tensor, shape),
            inputs=tuple(_inputs_of(operation, nodes[id(operation)], operations)),
            n_special=tokens.n_special(shape),
        )


def _shapes(model, tensors):
    """The shapes of what layers make of one image; None where they tell it wrongly.

    Those of KerasHub are tried: Swin's do not tell how many tokens they make, and SigLIP's
    say that they make one more.
    """
    told = [tensor if tensor is None else tuple(tensor.shape[1:]) for tensor in tensors]
    if not any(map(is_of_kerashub, model.operations)):
        return told
    image = np.zeros((1, *model.input_shape[1:]), np.float32)
    known = [tensor for tensor in tensors if tensor is not None]
    made = iter(keras.Model(model.inputs[0], known)(image, training=False))
    return [None if shape is None else _shape_of(next(made), shape) for shape in told]


def is_of_kerashub(operation):
    """Whether it is a layer of KerasHub's, or has such layers within."""
    is_layer = isinstance(operation, keras.Layer)
    parts = operation._flatten_layers() if is_layer else [operation]
    return any(type(part).__module__.startswith("keras_hub.") for part in parts)


def _shape_of(made, told):
    """The shape of what a layer made of one image, unless it told another one."""
    shape = tuple(made.shape[1:])
    if len(told) != len(shape):
        return None
    as_told = all(side in (None, real) for side, real in zip(told, shape, strict=True))
    return shape if as_told else None


def fresh_names(operations):
    """Layer names with the numbers that Keras would give in a fresh process.

    Keras numbers unnamed layers of a class throughout the process: what is ``conv2d_3`` in
    one network of a kind is ``conv2d_97`` in the next.
    """
    numbered = defaultdict(list)
    for operation in operations:
        stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", operation.name).groups("0")
        if stem.replace("_", "") == type(operation).__name__.lower():
            numbered[stem].append((int(number), operation.name))
    fresh = {}
    for stem, names in numbered.items():
        for i, (_, name) in enumerate(sorted(names)):
            fresh[name] = f"{stem}_{i}" if i else stem
    return [fresh.get(operation.name, operation.name) for operation in operations]


def _operation_of(tensor):
    return tensor._keras_history.operation


def _below_top(model, operations):
    """The layer below a top, which makes class scores of features, or None without one."""
    top = _operation_of(model.outputs[0])
    activation = getattr(top, "activation", None)
    probabilities = isinstance(top, keras.layers.Softmax) or activation in (
        keras.activations.softmax,
        keras.activations.sigmoid,
    )
    logits = isinstance(top, keras.layers.Dense) and activation is keras.activations.linear
    if len(model.outputs[0].shape) != 2 or not (probabilities or logits):
        return None
    with_kernels = [operation for operation in operations if _kernels(operation)]
    if not with_kernels:
        return None
    nodes = nodes_of(model)

    def source(operation):
        return _operation_of(nodes[id(operation)][0].input_tensors[0])

    below = source(with_kernels[-1])
    while isinstance(below, keras.layers.Dropout):
        below = source(below)
    return operations.index(below)


def _kernels(operation):
    return [w for w in getattr(operation, "weights", ()) if "kernel" in w.name]


def _trainable(operation):
    """The weights that are trained when a layer is: none of BatchNorm's."""
    if not isinstance(operation, keras.layers.Layer):
        return []
    parts = operation._flatten_layers()
    norms = [p for p in parts if isinstance(p, keras.layers.BatchNormalization)]
    fixed = {id(weight) for norm in norms for weight in norm.weights}
    return [w for w in operation.trainable_weights if id(w) not in fixed]


def _macs(operation, tensor, shape):
    """Multiplications for one image: each kernel is applied at each place of the output."""
    places = 0 if tensor is None else math.prod((shape or tensor.shape[1:])[:-1])
    return places * sum(map(_size, _kernels(operation)))


def _size(weight):
    return math.prod(weight.shape)


def _inputs_of(operation, nodes, operations):
    """Positions of the layers that an operation takes from, wherever it is used."""
    tensors = (t for node in nodes for t in node.input_tensors)
    inputs = {operations.index(_operation_of(tensor)) for tensor in tensors}
    return sorted(inputs - {operations.index(operation)})


def _only_output(nodes):
    if len(nodes) > 1:
        return None
    # Not `operation.output`, which of a nested model is the tensor within.
    tensors = nodes[0].output_tensors
    return tensors[0] if len(tensors) == 1 else None
