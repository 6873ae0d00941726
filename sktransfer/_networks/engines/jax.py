"""How JAX runs a frozen network."""

import numpy as np


class InJax:
    """A model as a function of a batch, compiled for each size that comes.

    Its weights are arguments: XLA would spend minutes on folding constants.
    """

    def __init__(self, model):
        import jax

        from sktransfer._runtime.keras import keras

        def compute(trainable, non_trainable, batch):
            outputs, _ = model.stateless_call(trainable, non_trainable, batch, training=False)
            return keras.tree.flatten(outputs)

        self._compute = jax.jit(compute)
        self._weights = [
            [v.value for v in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]

    @staticmethod
    def detail():
        """What of it changes the last bits of a row: nothing."""
        return ""

    def submit(self, pixels):
        from sktransfer._runtime.keras import keras

        if (distribution := keras.distribution.distribution()) is not None:
            layout = distribution.get_data_layout(pixels.shape)
            pixels = keras.distribution.distribute_tensor(pixels, layout)
        return self._compute(*self._weights, pixels)

    def fetch(self, outputs):
        return [np.asarray(output) for output in outputs]
