"""Which device computes."""

import functools
import os
import sys
from pathlib import Path

from sktransfer._runtime.backend import keras_backend

DEVICES = Path("/dev")


def gpu():
    """The name of the GPU that computes, or will; None where it is the CPU.

    Before the backend is loaded this is a guess, by what GPUs there are.
    """
    if getattr(sys.modules.get("keras"), "config", None) is None:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
        return "GPU" if not hidden and any(DEVICES.glob("nvidia[0-9]*")) else None
    return NAMES[keras_backend()]()


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
