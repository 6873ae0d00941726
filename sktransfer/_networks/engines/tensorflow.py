"""How TensorFlow runs a network."""

import os
import sys

from sktransfer._runtime.backend import ONEDNN

# Of weights. As constants they need up to twenty times as much memory, while the function is
# traced. Large networks are only a tenth slower without.
MOST_CONSTANT_BYTES = 250_000_000


def frozen(model):
    """What runs a model that is never trained."""
    nbytes = 4 * model.count_params()
    return Constant(model) if nbytes <= MOST_CONSTANT_BYTES else Live(model)


class _Function:
    """A function of a batch of any size, traced once.

    It is as quick, and makes the same bits, as one for each size, each of which would need the
    memory of constant weights seven times.
    """

    def __init__(self, compute, model):
        import tensorflow as tf

        [batch] = model.inputs
        signature = [tf.TensorSpec(batch.shape, batch.dtype)]
        # Without rewriting Python code, as Keras does it: that would write files.
        function = tf.function(compute, input_signature=signature, autograph=False)
        self._compute = function.get_concrete_function()
        self._constant = tf.constant

    def submit(self, batch):
        return self._compute(self._constant(batch))

    def fetch(self, outputs):
        return [output.numpy() for output in outputs]


class Constant(_Function):
    """A model whose weights are constants."""

    def __init__(self, model):
        import tensorflow as tf

        from sktransfer._runtime.keras import keras

        trainable = [v.value.numpy() for v in model.trainable_variables]
        non_trainable = [v.value.numpy() for v in model.non_trainable_variables]

        def compute(pixels):
            outputs, _ = model.stateless_call(
                [tf.constant(v) for v in trainable],
                [tf.constant(v) for v in non_trainable],
                pixels,
                training=False,
            )
            return keras.tree.flatten(outputs)

        super().__init__(compute, model)


class Live(_Function):
    """A model by its weights as they are.

    Keras' `predict_on_batch` of one small model after another looks to TensorFlow like a
    function that is traced again and again, of which it warns. One that is never trained runs
    so if its weights are many.
    """

    def __init__(self, model):
        from sktransfer._runtime.keras import keras

        super().__init__(lambda batch: keras.tree.flatten(model(batch, training=False)), model)


def has_onednn():
    """Whether oneDNN computes, or will once TensorFlow is loaded."""
    loaded = sys.modules.get("tensorflow.python.util._pywrap_util_port")
    if loaded is not None:  # perhaps before the setting was made: then it alone knows
        return loaded.IsMklEnabled()
    return os.environ.get(ONEDNN, "1").lower() not in ("0", "false")


def gradient(model, rows, outputs):
    """As `keras.gradient` describes it."""
    import tensorflow as tf

    rows = tf.constant(rows)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        made = model(rows, training=False)
        chosen = tf.gather(made, tf.constant(outputs), axis=1, batch_dims=1)
    return tape.gradient(chosen, rows).numpy()
