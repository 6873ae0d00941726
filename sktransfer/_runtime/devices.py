"""Which devices compute."""

import functools
import os
import sys

from sktransfer._exceptions import warn
from sktransfer._runtime.backend import keras_backend
from sktransfer._runtime.workers import VISIBLE, gpus_there


def gpu():
    """The name of the GPU that computes, or will; None where it is the CPU.

    Before the backend is loaded this is a guess, by what GPUs there are.
    """
    if getattr(sys.modules.get("keras"), "config", None) is None:
        return "GPU" if _is_there() else None
    return NAMES.get(keras_backend(), lambda: None)()


@functools.cache
def warn_of_idle_gpu():
    """Say once that there is a GPU which does not compute."""
    if _is_there() and gpu() is None:
        warn(
            f"this machine has an NVIDIA GPU, and {keras_backend()} computes on the CPU: "
            "docs/engines.md says what to install; CUDA_VISIBLE_DEVICES=-1 is for the CPU"
        )


def _is_there():
    return os.environ.get(VISIBLE, "all") not in ("", "-1") and bool(gpus_there())


@functools.cache
def _of_tensorflow():
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return None
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


@functools.cache
def _of_jax():
    import jax

    return None if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


@functools.cache
def _of_torch():
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


NAMES = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}


def n_devices():
    """Over how many devices Keras spreads a batch, as `keras.distribution` was told."""
    from sktransfer._runtime.keras import keras

    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.device_mesh.devices.size


def whole_batches(n):
    """The least number of images, n or more, of which all devices get as many."""
    return -(-n // n_devices()) * n_devices()


def refuse_replicas():
    """Raise an error under a strategy of `tf.distribute`, which would not divide a batch."""
    tf = sys.modules.get("tensorflow")
    if tf is not None and tf.distribute.has_strategy():
        raise ValueError(
            "under a strategy of tf.distribute each replica would compute the whole batch: "
            "leave its scope, or set KERAS_BACKEND=jax and "
            "keras.distribution.set_distribution(keras.distribution.DataParallel())"
        )
