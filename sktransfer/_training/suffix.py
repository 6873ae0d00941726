"""The part of a network above a cut, copied so that it can be trained, and the head on it."""

import contextlib
import functools
import json
import math
import threading
from dataclasses import asdict, dataclass

import numpy as np

from sktransfer._networks.build import plain_settings
from sktransfer._networks.engines.keras import live
from sktransfer._networks.preprocessing import Preprocessing
from sktransfer._networks.whole import exportable, on_pixels
from sktransfer._runtime.devices import whole_batches
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras
from sktransfer._training.epochs import filled
from sktransfer._training.fitted import Weights

MAX_FREE = 8
PREDICT_BATCH = 32  # constant and padded: a prediction does not depend on other images

_lock = threading.RLock()
_free = []  # pairs of what a suffix is made of and the suffix; the last used are last
_predicting = {}  # id of a fitted network → what the threads share that predict with it


class CompiledSuffix:
    """A suffix compiled for training once, and used by one fit or prediction after the other.

    Building and compiling a Keras model anew for each fit leaks memory and traces anew.
    """

    def __init__(self, network, spec, target, optimizer, precision):
        with plain_settings():
            if spec.cut.position == network.info.output:
                x = inputs = keras.Input(network.info.row_shape(spec.cut))
                self._base = {}
            else:
                copy, self._base = network.copy_above(spec.cut.position)
                _compute_in(precision, copy)
                inputs, x = copy.inputs[0], copy.outputs[0]
            self._head = list(spec.head.layers(pooled=spec.cut.pooling is not None))
            for layer in self._head:
                x = layer(x)
            self.model = keras.Model(inputs, x)
            for i, layer in self._base.items():
                frozen = spec.first_trainable is None or i < spec.first_trainable
                _freeze(layer, everything=frozen)
            self.model.compile(
                optimizer=fresh_optimizer(optimizer),
                loss=target.keras_loss(),
                weighted_metrics=[target.keras_metric()],
            )
        self.model.optimizer.build(self.model.trainable_variables)
        self._fresh_optimizer = [v.numpy() for v in self.model.optimizer.variables]
        self._original = {i: layer.get_weights() for i, layer in self._base.items()}
        self._predicts_by = None  # the `Weights` that it has since then

    @held_back()
    def predict_by(self, weights):
        """Take these `Weights`, unless it has them since it last predicted."""
        if self._predicts_by is not weights:
            self.set_weights(weights)
            self._predicts_by = weights

    @held_back()
    def set_weights(self, weights):
        """Take these `Weights`, and leave the optimizer."""
        self._predicts_by = None
        for i, layer in self._base.items():
            layer.set_weights(weights.base.get(i, self._original[i]))
        _assign(_weights_of(self._head), weights.head)

    @held_back()
    def reset(self, weights, seed):
        """As if built anew, with these weights."""
        self.set_weights(weights)
        _assign(self.model.optimizer.variables, self._fresh_optimizer)
        base = [part for part in self.model._flatten_layers() if part not in self._head]
        for i, layer in enumerate([*self._head, *base]):
            for generator in layer._seed_generators:
                generator.state.assign(np.array([seed, i], dtype=np.uint32))

    @held_back()
    def get_weights(self):
        """The `Weights` of the layers that are trained."""
        trained = {i: layer for i, layer in self._base.items() if layer.trainable_variables}
        # As arrays: the weight of a layer may be a single number.
        base = {i: [*map(np.asarray, layer.get_weights())] for i, layer in trained.items()}
        return Weights(base, [w.numpy() for w in _weights_of(self._head)])

    @held_back()
    def features(self, rows):
        """What the last layer makes its outputs of, for at most `PREDICT_BATCH` rows."""
        return self._run(self._runs_below_last, rows)

    def head_shapes(self):
        """The shapes of the head's weights."""
        return [tuple(w.shape) for w in _weights_of(self._head)]

    @held_back()
    def outputs(self, rows):
        """The network's output for at most `PREDICT_BATCH` rows."""
        return self._run(self._runs, rows)

    @held_back()
    def outputs_of_one(self, rows):
        """The network's output for a single row, not padded: its last bits may differ."""
        [outputs] = self._runs.fetch(self._runs.submit(rows))
        return outputs.astype(np.float32, copy=False)

    @functools.cached_property
    def _runs(self):
        return live(self.model)

    @functools.cached_property
    def _runs_below_last(self):
        return live(keras.Model(self.model.inputs, self._head[-1].input))

    def _run(self, compiled, rows):
        batch = filled(rows, whole_batches(PREDICT_BATCH))
        [outputs] = compiled.fetch(compiled.submit(batch))
        return outputs[: len(rows)].astype(np.float32, copy=False)


@contextlib.contextmanager
def borrowed(network, spec, target, optimizer, precision):
    """A compiled suffix of that kind, for one user at a time: from memory or built.

    A callback may predict, and another thread fit, while a stage is trained.
    """
    key = _key(network, spec, target, optimizer, precision)
    suffix = _taken(key, network, spec, target, optimizer, precision)
    yield suffix  # and forget it, if an error leaves it in the middle of something
    _give_back(key, suffix)


@contextlib.contextmanager
def predicting(network, fitted, target, optimizer):
    """A compiled suffix with the weights of a fitted network, which threads share."""
    kind = network, fitted.suffix, target, optimizer, fitted.precision
    with _lock:
        shared = _predicting.get(id(fitted))
        if shared is None:
            key = _key(*kind)
            shared = _Shared(key, _taken(key, *kind))
            shared.suffix.predict_by(fitted.weights)
            _predicting[id(fitted)] = shared
        shared.n_users += 1
    try:
        yield shared.suffix
    finally:
        with _lock:
            shared.n_users -= 1
            if not shared.n_users:
                del _predicting[id(fitted)]
                _give_back(shared.key, shared.suffix)


@dataclass
class _Shared:
    """A suffix that some threads predict with."""

    key: str
    suffix: CompiledSuffix
    n_users: int = 0


def _key(network, spec, target, optimizer, precision):
    """What a suffix is made of."""
    return json.dumps(
        [
            network.info.fingerprint,
            asdict(spec),
            target.kind,
            _optimizer_config(optimizer),
            precision,
        ],
        sort_keys=True,
        default=str,
    )


def _taken(key, *kind):
    """A suffix of a kind that nobody uses: from memory or built."""
    with _lock, held_back():
        place = max((i for i, (free, _) in enumerate(_free) if free == key), default=None)
        return CompiledSuffix(*kind) if place is None else _free.pop(place)[1]


def _give_back(key, suffix):
    with _lock:
        _free.append((key, suffix))
        del _free[:-MAX_FREE]


@held_back()
def whole_model(fitted, target):
    """A fitted network as one new Keras model, from pixels to what is predicted."""
    arithmetic = Preprocessing(fitted.preprocessing).in_keras()
    with plain_settings():
        model = on_pixels(model_of_outputs(fitted), arithmetic)
        predicted = target.in_keras(model.outputs[0])
        return exportable(keras.Model(model.inputs[0], predicted))


@held_back()
def model_of_outputs(fitted):
    """A fitted network as one new Keras model, from preprocessed pixels to its outputs."""
    base = fitted.source().graph()
    operations = list(base.operations)
    for position, arrays in fitted.weights.base.items():
        operations[position].set_weights(arrays)
    x = base.outputs[0]
    with plain_settings():
        layers = list(fitted.suffix.head.layers(pooled=False))
        for layer in layers:
            x = layer(x)
        _assign(_weights_of(layers), fitted.weights.head)
        return keras.Model(base.inputs[0], x)


def initial_head(shapes, rng):
    """Weights of a new head: kernels uniform after Glorot and Bengio (2010), biases zero."""
    weights = []
    for shape in shapes:
        if len(shape) == 1:
            weights.append(np.zeros(shape, dtype=np.float32))
        else:
            limit = np.sqrt(6 / (math.prod(shape[:-2]) * sum(shape[-2:])))
            weights.append(rng.uniform(-limit, limit, shape).astype(np.float32))
    return weights


def _weights_of(layers):
    return [weight for layer in layers for weight in layer.weights]


def _assign(variables, arrays):
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _compute_in(precision, model):
    """Have layers compute in a precision; their weights, and the loss, stay in float32."""
    if precision == "bfloat16":
        for layer in model._flatten_layers(include_self=False):
            layer.dtype_policy = "mixed_bfloat16"


def _freeze(layer, everything):
    """Freeze a layer, or only what BatchNorm there is in it."""
    if everything:
        layer.trainable = False
    for part in layer._flatten_layers():
        if isinstance(part, keras.layers.BatchNormalization):
            part.trainable = False


def _optimizer_config(optimizer):
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return keras.optimizers.serialize(optimizer)
    return optimizer


def fresh_optimizer(optimizer):
    """A new optimizer: the learning rate is the stage's, and set in each epoch."""
    config = _optimizer_config(optimizer)
    try:
        if isinstance(config, str):
            return keras.optimizers.get(config)
        settings = {**config["config"], "learning_rate": 1e-3}
        return keras.optimizers.deserialize({**config, "config": settings})
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"optimizer={optimizer!r} is neither the name of one of Keras' optimizers, nor "
            f"one, nor what keras.optimizers.serialize makes of one: {error}"
        ) from error
