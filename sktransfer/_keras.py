"""Keras, whose import no interrupt cuts short: the same session could not repeat it."""

from sktransfer._interrupts import held_back

with held_back():
    import keras

__all__ = ["keras"]
