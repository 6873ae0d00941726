"""How PyTorch runs a frozen network."""


class InTorch:
    """A model called without what only training needs."""

    def __init__(self, model):
        self._model = model

    @staticmethod
    def detail():
        """What of it changes the last bits of a row: nothing."""
        return ""

    def submit(self, pixels):
        import torch

        from sktransfer._runtime.keras import keras

        with torch.inference_mode():
            outputs = self._model(keras.ops.convert_to_tensor(pixels), training=False)
        return keras.tree.flatten(outputs)

    def fetch(self, outputs):
        return [output.cpu().numpy() for output in outputs]
