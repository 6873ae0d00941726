"""Frozen networks: built, described, and run on batches of one constant size.

The only file that builds base networks. They live in a process-wide least-recently-used
cache and are never trained; a Keras model that a user passes is copied, never touched.
"""

import contextlib
import json
import math
import os
import random
import re
import threading
from collections import OrderedDict, defaultdict

import keras
import numpy as np

from sktransfer._backbones import TINY_WEIGHTS, PackedNetwork, weights_folder
from sktransfer._exceptions import BackboneError, ForkedProcessError
from sktransfer._fingerprint import fingerprint

# Every image goes through the network in a batch of this size, padded, since what comes
# along may otherwise change the last bits. On 2 cores 4 is as fast as 8 or 16 within noise
# (MobileNet, MobileNetV2, ResNet50, InceptionV3, Xception, VGG16) and quickest for one image.
BATCH = 4
MAX_NETWORKS = 4

_lock = threading.RLock()
_networks = OrderedDict()  # identity → FrozenNetwork
_used_in_process = None  # id of the process that built the first network


def adopt(spec, network):
    """Let a spec name a network that is there already."""
    with _lock:
        _remember(_key(spec), network)


def load(spec):
    """The network that a `BackboneSpec` names, from memory or built."""
    _refuse_after_fork()  # before the lock, which a thread may have held at the fork
    with _lock:
        key = _key(spec)
        if key is None or key not in _networks:
            network = FrozenNetwork(_build(spec), fresh_names=spec.family is not None)
            key = _key(spec)  # known now, even of weights downloaded just now
            _remember(key, network)
        _networks.move_to_end(key)
        return _networks[key]


def _remember(key, network):
    _networks[key] = network
    _networks.move_to_end(key)
    if len(_networks) > MAX_NETWORKS:
        _networks.popitem(last=False)


class FrozenNetwork:
    """A network in inference mode, cut wherever it is asked.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, of fixed input size, ours alone.
    fresh_names : bool
        Number automatic layer names as a fresh process would.

    Attributes
    ----------
    facts : dict
        In plain values: ``fingerprint``, of architecture and weights; ``input_size``;
        ``layers``, each a dict of its ``name``, ``shape`` (of its output without the batch,
        or None where that is not one tensor), ``kernel`` (whether it has one), numbers of
        ``parameters``, of those that are ``trainable`` and of multiplications (``macs``),
        and ``inputs`` (positions of layers); ``output``, the last layer's position.
    """

    batch = BATCH

    def __init__(self, model, fresh_names):
        self._model = model
        self._functions = {}  # cuts → function of a batch
        operations = list(model.operations)
        output = operations.index(_operation_of(model.outputs[0]))
        self._tensors = [_only_output(operation) for operation in operations]
        self._tensors[output] = model.outputs[0]
        names = _fresh_names(operations) if fresh_names else [o.name for o in operations]
        self.facts = {
            "fingerprint": fingerprint(model),
            "input_size": list(model.inputs[0].shape[1:3]),
            "layers": [
                {
                    "name": name,
                    "shape": None if tensor is None else list(tensor.shape[1:]),
                    "kernel": bool(_kernels(operation)),
                    "parameters": sum(map(_size, getattr(operation, "weights", ()))),
                    "trainable": sum(map(_size, _trainable(operation))),
                    "macs": _macs(operation, tensor),
                    "inputs": _inputs_of(operation, operations),
                }
                for name, operation, tensor in zip(
                    names, operations, self._tensors, strict=True
                )
            ],
            "output": output,
        }

    def rows(self, batch, cuts):
        """What the network makes of at most `BATCH` images, at some cuts, in one pass.

        Parameters
        ----------
        batch : float32 ndarray of shape (n, height, width, 3), preprocessed
        cuts : list of (position of a layer, None or "avg" or "max")

        Returns
        -------
        rows : list of float32 ndarray of shape (n, ...), one for each cut
        """
        cuts = tuple(cuts)
        padded = np.zeros((BATCH, *batch.shape[1:]), dtype=np.float32)
        padded[: len(batch)] = batch
        _refuse_after_fork()
        with _lock:
            if cuts not in self._functions:
                with plain_settings():
                    outputs = [self._tensor(*cut) for cut in cuts]
                    self._functions[cuts] = _freeze(keras.Model(self._model.inputs, outputs))
            computed = self._functions[cuts](padded)
        return [rows[: len(batch)].astype(np.float32, copy=False) for rows in computed]

    def copy_above(self, layer):
        """A copy of what lies above a layer, to be trained.

        Returns
        -------
        model : keras.Model
            From that layer's output to the network's, with weights of its own.
        layers : dict
            Its layers that have weights, by position in this network.
        """
        above = keras.Model(self._tensors[layer], self._model.outputs[0])
        copy = keras.models.clone_model(above)
        _set_weights(copy, above.get_weights())
        positions = {o.name: i for i, o in enumerate(self._model.operations)}
        return copy, {positions[part.name]: part for part in copy.layers if part.weights}

    def pack(self):
        """The network in plain values."""
        return pack(self._model)

    def _tensor(self, layer, pooling):
        output = self._tensors[layer]
        if pooling is None:
            return output
        reduce = {"avg": keras.ops.mean, "max": keras.ops.max}[pooling]
        return reduce(output, axis=tuple(range(1, len(output.shape) - 1)))


def _freeze(model):
    """A model as a function from array to arrays, its weights constants where that helps.

    TensorFlow folds constants: BatchNorm into convolutions among others, which makes the
    networks that have it a tenth to a quarter faster than `predict_on_batch`.
    """
    if keras.config.backend() != "tensorflow":
        return lambda batch: keras.tree.flatten(model.predict_on_batch(batch))
    import tensorflow as tf

    trainable = [v.numpy() for v in model.trainable_variables]
    non_trainable = [v.numpy() for v in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec((BATCH, *model.input_shape[1:]))])
    def frozen(batch):
        outputs, _ = model.stateless_call(
            [tf.constant(v) for v in trainable],
            [tf.constant(v) for v in non_trainable],
            batch,
            training=False,
        )
        return keras.tree.flatten(outputs)

    return lambda batch: [output.numpy() for output in frozen(tf.constant(batch))]


def pack(model):
    """A Keras model as plain values."""
    return PackedNetwork(model.to_json(), model.get_weights())


def unpack(packed):
    """The Keras model that `pack` packed."""
    with plain_settings():
        model = keras.models.model_from_json(packed.config)
    _set_weights(model, packed.weights)
    return model


def _set_weights(model, weights):
    """Set a model's weights, and what layers such as Normalization derive from theirs."""
    model.set_weights(weights)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _key(spec):
    """What tells networks in memory apart, or None while the weights are not there."""
    identity = spec.identity()
    if identity is None and spec.family is None:
        identity = [fingerprint(_functional(spec.backbone)), spec.size]
    return identity and json.dumps(identity, sort_keys=True)


def _build(spec):
    global _used_in_process
    if _used_in_process is None:
        _used_in_process = os.getpid()
        _keep_to_share_of_cores()
    with plain_settings():
        if spec.family is None:
            return _own_copy(spec)
        if spec.backbone == "tiny":
            return _build_tiny(spec)
        return _build_application(spec)


def _build_tiny(spec):
    from safetensors.numpy import load_file

    from sktransfer._tiny import build

    model = build((*spec.size, 3))
    if spec.weights == "pretrained":
        arrays = load_file(TINY_WEIGHTS)
        model.set_weights([arrays[weight.path] for weight in model.weights])
    elif spec.weights is not None:
        _load_weights(model, spec)
    return model


def _build_application(spec):
    pretrained = spec.weights in ("pretrained", "imagenet")
    constructor = getattr(keras.applications, spec.family.constructor)
    try:
        model = constructor(
            include_top=False,
            weights="imagenet" if pretrained else None,
            input_shape=(*spec.size, 3),
            **spec.params,
        )
    except (TypeError, ValueError) as error:
        raise BackboneError(f"{spec.family.constructor} refuses this: {error}") from error
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        raise BackboneError(
            f"the ImageNet weights of {spec.family.constructor} are not in "
            f"{weights_folder()} and could not be downloaded: {error}"
        ) from error
    if not pretrained and spec.weights is not None:
        _load_weights(model, spec)
    return model


def _load_weights(model, spec):
    try:
        model.load_weights(spec.weights)
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"weights={os.fspath(spec.weights)!r} does not fit: {error}"
        ) from error


def _own_copy(spec):
    """The user's network at the size asked for, with layers and weights of its own."""
    model = _functional(spec.backbone)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BackboneError(
            f"the network has {len(model.inputs)} inputs and {len(model.outputs)} "
            "outputs; one of each is needed"
        )
    shape = model.inputs[0].shape[1:]
    if len(shape) != 3 or shape[2] != 3:
        raise BackboneError(f"the network takes {shape}, not (height, width, 3)")
    size = spec.size or shape[:2]
    if None in size:
        raise BackboneError("the network takes images of any size: say input_size")
    if any(own not in (None, asked) for own, asked in zip(shape[:2], size, strict=True)):
        raise BackboneError(f"input_size={size}, but the network takes {shape[:2]}")
    graph = keras.Model(model.inputs[0], model.outputs[0])
    copy = keras.models.clone_model(graph, input_tensors=keras.Input((*size, 3)))
    _set_weights(copy, model.get_weights())
    for layer in copy._flatten_layers():
        layer.trainable = True  # it was frozen, maybe: here `unfreeze` says what is trained
    batch = np.random.default_rng(0).uniform(0, 1, (1, *size, 3)).astype(np.float32)
    original, copied = (np.asarray(m(batch, training=False)) for m in (graph, copy))
    if not np.allclose(original, copied, rtol=1e-3, atol=1e-4 * np.abs(original).max()):
        raise BackboneError(
            "a copy of the network by its configuration and weights computes something "
            "else: it holds state of another kind"
        )
    return copy


def _functional(model):
    """The user's network, a file, packed or a model, as a graph of layers."""
    if isinstance(model, PackedNetwork):
        return unpack(model)
    if isinstance(model, (str, os.PathLike)):
        try:
            model = keras.saving.load_model(model, compile=False)
        except Exception as error:  # whatever a file can hold
            raise BackboneError(f"{os.fspath(model)!r} cannot be loaded: {error}") from error
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs)
    if not hasattr(model, "operations"):
        raise BackboneError(
            "the network is neither a functional model nor a Sequential one that knows "
            "its input: begin it with keras.Input((height, width, 3))"
        )
    return model


@contextlib.contextmanager
def plain_settings():
    """Build in float32, channels last, from a fixed seed; leave no trace of it."""
    state, policy = random.getstate(), keras.config.dtype_policy()
    layout = keras.config.image_data_format()
    random.seed(0)  # where Keras' initializers take their seeds from
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        random.setstate(state)
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(layout)


def _keep_to_share_of_cores():
    """Hold TensorFlow to as many threads as joblib grants the libraries of a worker."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if keras.config.backend() == "tensorflow" and threads.isdigit():
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # in use already, as its user wanted it
            tf.config.threading.set_intra_op_parallelism_threads(int(threads))


def _refuse_after_fork():
    if _used_in_process not in (None, os.getpid()):
        raise ForkedProcessError(
            "a network was used before this process was forked, and would hang here: "
            "use joblib's loky backend (the default of n_jobs) or multiprocessing's "
            "'spawn' instead of 'fork'"
        )


def _fresh_names(operations):
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


def _macs(operation, tensor):
    """Multiplications for one image: each kernel is applied at each place of the output."""
    places = 0 if tensor is None else math.prod(tensor.shape[1:-1])
    return places * sum(map(_size, _kernels(operation)))


def _size(weight):
    return math.prod(weight.shape)


def _inputs_of(operation, operations):
    """Positions of the layers that an operation takes from, wherever it is used."""
    tensors = (t for node in operation._inbound_nodes for t in node.input_tensors)
    inputs = {operations.index(_operation_of(tensor)) for tensor in tensors}
    return sorted(inputs - {operations.index(operation)})


def _only_output(operation):
    """The tensor that an operation makes, or None where it makes several or is used twice."""
    if len(operation._inbound_nodes) > 1:
        return None
    return operation.output if isinstance(operation.output, keras.KerasTensor) else None
