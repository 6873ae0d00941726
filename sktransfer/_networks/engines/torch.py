"""How PyTorch runs a network."""

import contextlib


class Called:
    """A model by its weights as they are, called without what only training needs."""

    def __init__(self, model):
        self._model = model

    def submit(self, batch):
        import torch

        from sktransfer._runtime.keras import keras

        with torch.inference_mode():
            outputs = self._model(keras.ops.convert_to_tensor(batch), training=False)
        return keras.tree.flatten(outputs)

    def fetch(self, outputs):
        return [output.float().cpu().numpy() for output in outputs]  # NumPy has no bfloat16


@contextlib.contextmanager
def seeded(seed):
    """PyTorch's random numbers drawn from a seed, and afterwards as before.

    Keras' Dropout takes them from there, and not from the layer's seed.
    """
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
