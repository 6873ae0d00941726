"""Keras, whose import no interrupt cuts short: the same session could not repeat it.

TensorFlow reads its settings once, when it is loaded. oneDNN is its quicker arithmetic on all
processors, which it leaves off on those without AVX-512.
"""

import os

from sktransfer._runtime.backend import ONEDNN
from sktransfer._runtime.interrupts import held_back

with held_back():
    os.environ.setdefault(ONEDNN, "1")
    import keras

__all__ = ["keras"]
