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


def gradient(model, rows, outputs):
    """As `keras.gradient` describes it."""
    import torch

    from sktransfer._runtime.keras import keras

    rows = keras.ops.convert_to_tensor(rows).requires_grad_()
    made = model(rows, training=False)
    chosen = made[torch.arange(len(outputs)), torch.as_tensor(outputs)].sum()
    [gradient] = torch.autograd.grad(chosen, rows)
    return gradient.cpu().numpy()


@contextlib.contextmanager
def seeded(seed):
    """PyTorch's random numbers drawn from a seed, and afterwards as before.

    Keras' Dropout takes them from there, and not from the layer's seed.
    """
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
