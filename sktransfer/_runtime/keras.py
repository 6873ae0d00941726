"""Keras, whose import no interrupt cuts short: the same session could not repeat it.

TensorFlow takes its settings before it computes for the first time. oneDNN is its quicker
arithmetic on all processors, which it leaves off on those without AVX-512.
"""

import contextlib
import os

from sktransfer._runtime.backend import ONEDNN, keras_backend
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.threads import granted_threads

with held_back():
    os.environ.setdefault(ONEDNN, "1")
    import keras

    if keras_backend() == "tensorflow" and granted_threads() is not None:
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # in use already, as its user wanted it
            tf.config.threading.set_intra_op_parallelism_threads(granted_threads())

__all__ = ["keras"]
