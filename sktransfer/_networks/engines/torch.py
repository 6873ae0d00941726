"""How PyTorch runs a network."""


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
        return [output.cpu().numpy() for output in outputs]
