"""How TensorFlow runs a frozen network."""

import os
import sys

from sktransfer._runtime.backend import ONEDNN


class InTensorFlow:
    """A model as a function of a batch of any size, its weights constants.

    It is as quick, and makes the same bits, as one for each size, each of which would need
    the weights' memory seven times.
    """

    def __init__(self, model):
        import tensorflow as tf

        from sktransfer._runtime.keras import keras

        trainable = [v.value.numpy() for v in model.trainable_variables]
        non_trainable = [v.value.numpy() for v in model.non_trainable_variables]

        [pixels] = model.inputs

        @tf.function(input_signature=[tf.TensorSpec(pixels.shape, pixels.dtype)])
        def compute(batch):
            outputs, _ = model.stateless_call(
                [tf.constant(v) for v in trainable],
                [tf.constant(v) for v in non_trainable],
                batch,
                training=False,
            )
            return keras.tree.flatten(outputs)

        self._compute, self._constant = compute.get_concrete_function(), tf.constant

    @staticmethod
    def detail():
        """What of it changes the last bits of a row: whether oneDNN computes, or will."""
        return " with oneDNN" if _has_onednn() else ""

    def submit(self, pixels):
        return self._compute(self._constant(pixels))

    def fetch(self, outputs):
        return [output.numpy() for output in outputs]


def _has_onednn():
    loaded = sys.modules.get("tensorflow.python.util._pywrap_util_port")
    if loaded is not None:  # perhaps before the setting was made: then it alone knows
        return loaded.IsMklEnabled()
    return os.environ.get(ONEDNN, "1").lower() not in ("0", "false")
