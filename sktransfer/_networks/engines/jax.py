"""How JAX runs a network."""

import numpy as np


class Compiled:
    """A model by its weights as they are, compiled for each size of batches that comes.

    Weights are arguments: XLA would spend minutes on folding constants.
    """

    def __init__(self, model):
        import jax

        from sktransfer._runtime.keras import keras

        def compute(trainable, non_trainable, batch):
            outputs, _ = model.stateless_call(trainable, non_trainable, batch, training=False)
            return keras.tree.flatten(outputs)

        self._compute, self._model = jax.jit(compute), model

    def submit(self, batch):
        from sktransfer._runtime.keras import keras

        if (distribution := keras.distribution.distribution()) is not None:
            layout = distribution.get_data_layout(batch.shape)
            batch = keras.distribution.distribute_tensor(batch, layout)
        trainable = [v.value for v in self._model.trainable_variables]
        non_trainable = [v.value for v in self._model.non_trainable_variables]
        return self._compute(trainable, non_trainable, batch)

    def fetch(self, outputs):
        return [np.asarray(output) for output in outputs]


def gradient(model, rows, outputs):
    """As `keras.gradient` describes it."""
    import jax

    trainable = [v.value for v in model.trainable_variables]
    non_trainable = [v.value for v in model.non_trainable_variables]

    def chosen(rows):
        made, _ = model.stateless_call(trainable, non_trainable, rows, training=False)
        return made[np.arange(len(outputs)), outputs].sum()

    return np.asarray(jax.grad(chosen)(rows))
