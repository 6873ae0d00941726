"""Frozen networks: built, described, and run on batches of few constant sizes.

The only file that builds base networks. They live in a process-wide least-recently-used
cache and are never trained; a Keras model that a user passes is copied, never touched.
"""

import contextlib
import fnmatch
import json
import os
import random
import re
import threading
from collections import OrderedDict

import numpy as np
from joblib import cpu_count

from sktransfer._exceptions import BackboneError, ForkedProcessError
from sktransfer._networks.description import describe, tensors_of
from sktransfer._networks.engines import openvino as _openvino
from sktransfer._networks.fingerprint import fingerprint
from sktransfer._networks.folding import finalize, foldable_norms, folded
from sktransfer._networks.precision import warn_if_slow_in_bfloat16
from sktransfer._networks.source import TINY_WEIGHTS, PackedNetwork
from sktransfer._runtime.backend import weights_folder
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras

MAX_NETWORKS = 4
MAX_FUNCTIONS = 3  # of a network: TensorFlow needs seven times the weights for each

_lock = threading.RLock()
_settings_lock = threading.RLock()  # of Keras' settings, which all threads share
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
        with held_back():
            key = _key(spec)
        if key is None or key not in _networks:
            # Weights that are not there yet are downloaded, which may take minutes.
            with contextlib.nullcontext() if key is None else held_back():
                network = FrozenNetwork(_build(spec), fresh_names=spec.family is not None)
                key = key or _key(spec)  # known now, of weights downloaded just now
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
        As `describe` states them.
    batch_sizes : tuple of int
        Sizes of the batches that go through the network, in rising order; smaller ones are
        filled up. On 2 cores 4 is as fast as 8 or 16 within noise (MobileNet, MobileNetV2,
        ResNet50, InceptionV3, Xception, VGG16); 1 is for an image alone.
    """

    batch_sizes = (1, 4)

    def __init__(self, model, fresh_names):
        self._model = model
        self._functions = OrderedDict()  # cuts, precision, engine → function of a batch
        self._folded_into = set(foldable_norms(model))
        self._tensors = tensors_of(model)
        self.facts = describe(model, self._tensors, fresh_names)

    def rows(self, batch, cuts, precision="float32", engine="keras"):
        """What the network makes of at most ``batch_sizes[-1]`` images, at some cuts.

        Parameters
        ----------
        batch : float32 ndarray of shape (n, height, width, 3), preprocessed
        cuts : list of (position of a layer, None or "avg" or "max")
        precision : {"float32", "bfloat16"}
            That of weights and arithmetic; rows are float32.
        engine : {"keras", "openvino"}
            What runs the network.

        Returns
        -------
        rows : list of float32 ndarray of shape (n, ...), one for each cut
        """
        size = next(size for size in self.batch_sizes if size >= len(batch))
        padded = np.zeros((size, *batch.shape[1:]), dtype=np.float32)
        padded[: len(batch)] = batch
        computed = {}
        _refuse_after_fork()
        with _lock, held_back():
            groups = self._passes(cuts)
            for group in groups:
                run = self._function(group, precision, engine)
                computed |= zip(group, run(padded), strict=True)
            while len(self._functions) > max(MAX_FUNCTIONS, len(groups)):
                self._functions.popitem(last=False)
        return [computed[cut][: len(batch)].astype(np.float32, copy=False) for cut in cuts]

    def _passes(self, cuts):
        """The cuts, in groups that one pass computes.

        What a convolution makes is not to be had where a BatchNorm is folded into it, and
        without folding, rows above it would differ in their last bits.
        """
        within = [cut for cut in cuts if self._is_folded_into(cut[0])]
        others = tuple(cut for cut in cuts if cut not in within)
        return [(cut,) for cut in within] + ([others] if others else [])

    def _is_folded_into(self, layer):
        return self._model.operations[layer].name in self._folded_into

    def _function(self, cuts, precision, engine):
        """The network up to some cuts as a function of a batch."""
        key = cuts, precision, engine
        if key not in self._functions:
            if precision == "bfloat16":
                warn_if_slow_in_bfloat16()
            with plain_settings():
                outputs = [self._tensor(*cut) for cut in cuts]
                below = keras.Model(self._model.inputs, outputs)
                if engine == "openvino":  # which casts to its precision itself
                    model = folded(below, self._folded_into, "float32")
                    threads = _granted_threads() or cpu_count()
                    self._functions[key] = _openvino.compiled(model, precision, threads)
                else:
                    model = folded(below, self._folded_into, precision)
                    self._functions[key] = _freeze(model)
        self._functions.move_to_end(key)
        return self._functions[key]

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

    @held_back()
    def pack(self):
        """The network in plain values."""
        return pack(self._model)

    def _tensor(self, layer, pooling):
        output = self._tensors[layer]
        if pooling is None:
            return output
        output = keras.ops.cast(output, "float32")  # which half precision is not
        reduce = {"avg": keras.ops.mean, "max": keras.ops.max}[pooling]
        return reduce(output, axis=tuple(range(1, len(output.shape) - 1)))


def _freeze(model):
    """A model as a function from array to arrays, its weights constants where that helps.

    TensorFlow's is one for batches of any size: as quick, and with the same bits, as one for
    each size, of which each would need the weights' memory seven times.
    """
    if keras.config.backend() != "tensorflow":
        return lambda batch: keras.tree.flatten(model.predict_on_batch(batch))
    import tensorflow as tf

    trainable = [v.value.numpy() for v in model.trainable_variables]
    non_trainable = [v.value.numpy() for v in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])
    def compute(batch):
        outputs, _ = model.stateless_call(
            [tf.constant(v) for v in trainable],
            [tf.constant(v) for v in non_trainable],
            batch,
            training=False,
        )
        return keras.tree.flatten(outputs)

    frozen = compute.get_concrete_function()
    return lambda batch: [output.numpy() for output in frozen(tf.constant(batch))]


def pack(model):
    """A Keras model as plain values."""
    return PackedNetwork(model.to_json(), model.get_weights())


@held_back()
def unpack(packed):
    """The Keras model that `pack` packed."""
    with plain_settings(), _lambdas_refused("the stored network"):
        model = keras.models.model_from_json(packed.config)
    _set_weights(model, packed.weights)
    return model


def _set_weights(model, weights):
    model.set_weights(weights)
    finalize(model)


def _key(spec):
    """What tells networks in memory apart, or None while the weights are not there."""
    identity = spec.identity()
    if identity is None and spec.family is None:
        model, size = _own_network(spec)
        identity = [fingerprint(model, size), size]
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

    from sktransfer._networks.tiny import build

    model = build((*spec.size, 3))
    if spec.weights == "pretrained":
        arrays = load_file(TINY_WEIGHTS)
        # Not by paths, which begin with a scope of Keras' if an interrupt left one open.
        names = (f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights)
        model.set_weights([arrays[name] for name in names])
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
        raise BackboneError(_how_to_provide(spec.family, error)) from error
    if not pretrained and spec.weights is not None:
        _load_weights(model, spec)
    return model


def _how_to_provide(family, error):
    """What to do about weights that could not be downloaded."""
    named = re.findall(r"[^/\s]+\.h5", str(error))
    files = [*fnmatch.filter(named, family.weights_files), family.weights_files]
    return (
        f"{family.constructor} needs the file {files[0]} with its ImageNet weights, which is "
        f"not in {weights_folder()} and could not be downloaded ({error}). Without a network, "
        "put a copy of it into that folder, or into the folder models of one that the "
        "environment variable KERAS_HOME names; weights=None does without"
    )


def _load_weights(model, spec):
    try:
        model.load_weights(spec.weights)
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"weights={os.fspath(spec.weights)!r} does not fit: {error}"
        ) from error


def _own_copy(spec):
    """The user's network at the size asked for, with layers and weights of its own."""
    model, size = _own_network(spec)
    graph = keras.Model(model.inputs[0], model.outputs[0])
    with _lambdas_refused("the network"):
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


def _own_network(spec):
    """The user's network, which is one for images, and their size."""
    model = _functional(spec.backbone)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BackboneError(
            f"the network has {len(model.inputs)} inputs and {len(model.outputs)} "
            "outputs, and one of each is needed: keras.Model(an input, an output) of it"
        )
    shape = model.inputs[0].shape[1:]
    if len(shape) != 3 or shape[2] != 3:
        raise BackboneError(f"the network takes {shape}, not (height, width, 3)")
    size = spec.size or shape[:2]
    if None in size:
        raise BackboneError("the network takes images of any size: say input_size")
    if any(own not in (None, asked) for own, asked in zip(shape[:2], size, strict=True)):
        raise BackboneError(f"input_size={size}, but the network takes {shape[:2]}")
    return model, size


def _functional(model):
    """The user's network, a file, packed or a model, as a graph of layers."""
    if isinstance(model, PackedNetwork):
        return unpack(model)
    if isinstance(model, (str, os.PathLike)):
        try:
            with _lambdas_refused(repr(os.fspath(model))):
                model = keras.saving.load_model(model, compile=False)
        except BackboneError:
            raise
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
def _lambdas_refused(subject):
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


def _keep_to_share_of_cores():
    """Hold TensorFlow to the threads that are granted."""
    threads = _granted_threads()
    if keras.config.backend() == "tensorflow" and threads is not None:
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # in use already, as its user wanted it
            tf.config.threading.set_intra_op_parallelism_threads(threads)


def _granted_threads():
    """How many joblib grants the libraries of a worker; None outside of one."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdigit() else None


def _refuse_after_fork():
    if _used_in_process not in (None, os.getpid()):
        raise ForkedProcessError(
            "a network was used before this process was forked, and would hang here: "
            "use joblib's loky backend (the default of n_jobs) or multiprocessing's "
            "'spawn' instead of 'fork'"
        )
