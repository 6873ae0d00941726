"""Keras, whose import no interrupt cuts short: the same session could not repeat it.

TensorFlow takes its settings before it computes for the first time. oneDNN is its quicker
arithmetic on all processors, which it leaves off on those without AVX-512.
"""

import contextlib
import importlib.util
import os

from sktransfer._runtime.backend import ONEDNN, keras_backend
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.startup import without_start_up_lines
from sktransfer._runtime.workers import granted_threads, take_gpus_in_turn

BACKENDS = ("tensorflow", "jax", "torch")


def _import_keras():
    """Keras, or an error that says how to have something compute for it."""
    try:
        import keras
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != keras_backend():
            raise
        raise _not_installed(keras_backend()) from error
    return keras


def _not_installed(backend):
    others = [name for name in BACKENDS if importlib.util.find_spec(name)]
    instead = f", or set the environment variable KERAS_BACKEND={others[0]}" if others else ""
    what = backend if backend == "tensorflow" else f"sktransfer[{backend}]"
    return ImportError(f"{backend} is not installed: pip install {what!r}{instead}")


def _set_up_tensorflow():
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # in use already, as its user wanted it
        if granted_threads() is not None:
            tf.config.threading.set_intra_op_parallelism_threads(granted_threads())
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


with held_back(), without_start_up_lines():
    take_gpus_in_turn()
    os.environ.setdefault(ONEDNN, "1")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX takes 75 % of a GPU
    keras = _import_keras()
    if keras_backend() == "tensorflow":
        _set_up_tensorflow()
    else:
        with contextlib.suppress(ImportError):  # Keras does so where it describes a layer
            import tensorflow  # noqa: F401

__all__ = ["keras"]
