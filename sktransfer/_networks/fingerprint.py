"""A hash of all that a Keras model computes with: what tells networks apart in keys."""

import hashlib
import json
import marshal

import numpy as np

from sktransfer._networks.foreign import foreign_code
from sktransfer._runtime.keras import keras

RANGES = ((0, 1), (-1, 1), (0, 255))  # of pixels that networks take


def fingerprint(model, size):
    """A hash of a model's architecture and weights, whatever its layers are called.

    Layers stand for themselves by their position. Where code counts that is not Keras' own,
    so do that of layers' methods and, since methods may call and look up anything, what the
    model makes of a few fixed images of a size.
    """
    positions = {o.name: f"layer {i}" for i, o in enumerate(model.operations)}
    config = _anonymous({**model.get_config(), "name": None}, positions)
    result = _hashed(config, model.get_weights())
    if foreign_code(config):
        for code in _codes(model):
            result.update(marshal.dumps(code))
        result.update(_probed(model, size))
    return result.hexdigest()


def fingerprint_of(config, weights):
    """A hash of a configuration, as plain values, without its names, and of weights."""
    return _hashed(_nameless(config), weights).hexdigest()


def _nameless(config):
    if isinstance(config, dict):
        return {key: _nameless(value) for key, value in config.items() if key != "name"}
    return list(map(_nameless, config)) if isinstance(config, (list, tuple)) else config


def _hashed(config, weights):
    result = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for weight in weights:
        result.update(f"{weight.dtype} {weight.shape}".encode())
        result.update(np.ascontiguousarray(weight))
    return result


def _codes(model):
    """The code of methods of layers that are not Keras' own, those within layers as well."""
    for part in (*model.operations, *model._flatten_layers()):
        for cls in type(part).__mro__:
            if not cls.__module__.startswith(("keras.", "keras_hub.", "builtins")):
                functions = (vars(cls)[name] for name in sorted(vars(cls)))
                yield from (f.__code__ for f in functions if hasattr(f, "__code__"))


def _probed(model, size):
    """What a model makes of noise, in the ranges that networks take."""
    rng = np.random.default_rng(0)
    images = [rng.uniform(low, high, (*size, 3)) for low, high in RANGES]
    plain = keras.Model(model.inputs[0], model.outputs[0])  # of an array, not a list of one
    made = plain(np.array(images, dtype=np.float32), training=False)
    return np.ascontiguousarray(keras.ops.convert_to_numpy(made))


def _anonymous(config, positions):
    """A model's configuration without layers' names, which it has in three places."""

    def position(name):
        return positions.get(name, name) if isinstance(name, str) else name

    def renamed(key, value):
        if key in ("input_layers", "output_layers"):
            return keras.tree.map_structure(position, value)
        if key == "keras_history":
            return [position(value[0]), *value[1:]]
        if key == "name" and isinstance(value, str):
            return position(value)
        return _anonymous(value, positions)

    if isinstance(config, dict):
        return {k: renamed(k, v) for k, v in config.items() if k != "trainable"}
    if isinstance(config, (list, tuple)):
        return [_anonymous(value, positions) for value in config]
    return config
