"""The layers on top of a network. To add a head, let `Head.layers` make its layers."""

import math
from dataclasses import dataclass

from sktransfer._exceptions import BackboneError
from sktransfer._networks.info import no_class_token

MOST_FLATTENED = 2048  # features, where `pooling` is "auto"


@dataclass(frozen=True)
class Head:
    """The layers on top of the base, as `FineTunedConvNetClassifier` describes them.

    Of a base that makes tokens, it knows their number, `n_tokens`, and that of those that
    stand for no part of the image, `n_special`.
    """

    conv_filters: tuple
    pooling: str | None
    hidden_units: tuple
    dropout: float
    n_outputs: int
    n_tokens: int = 0
    n_special: int = 0

    @classmethod
    def on(cls, layer, pooling, **parts):
        """The head on a layer.

        Parameters
        ----------
        layer : LayerInfo
        pooling : str or None
            As in `FineTunedConvNetClassifier`.
        **parts
            The head's other attributes.

        Raises
        ------
        BackboneError
            The layer has no class token, or no map for a convolution.
        """
        n_tokens = layer.shape[0] if len(layer.shape) == 2 else 0
        if parts["conv_filters"] and len(layer.shape) != 3:
            raise BackboneError(
                f"conv_filters needs a map, and the network makes {layer.shape}: hidden_units "
                "needs none"
            )
        pooling = _pooling_on(layer, pooling)
        return cls(pooling=pooling, n_tokens=n_tokens, n_special=layer.n_special, **parts)

    @property
    def is_linear(self):
        """Whether training it alone is a convex problem."""
        return not self.conv_filters and not self.hidden_units

    @property
    def cut_pooling(self):
        """The pooling of rows for the head alone."""
        return None if self.conv_filters else self.pooling

    def layers(self, pooled):
        """Fresh Keras layers; without the pooling if the rows are pooled."""
        from sktransfer._runtime.keras import keras

        for filters in self.conv_filters:
            yield keras.layers.Conv2D(filters, 3, padding="same", activation="relu")
        if self.pooling is None:
            yield keras.layers.Flatten()
        elif not pooled:
            yield from self._pooling_layers(keras.layers)
        for units in self.hidden_units:
            yield keras.layers.Dense(units, activation="relu")
            yield keras.layers.Dropout(self.dropout)
        if not self.hidden_units:
            yield keras.layers.Dropout(self.dropout)
        yield keras.layers.Dense(self.n_outputs)

    def _pooling_layers(self, layers):
        if self.pooling == "cls":
            yield layers.Cropping1D((0, self.n_tokens - 1))
            yield layers.Flatten()
            return
        if self.n_special:
            yield layers.Cropping1D((self.n_special, 0))
        kind = {"avg": "GlobalAveragePooling", "max": "GlobalMaxPooling"}[self.pooling]
        yield getattr(layers, f"{kind}{1 if self.n_tokens else 2}D")()


def _pooling_on(layer, pooling):
    """What "auto" means on a layer; None where nothing is left to pool."""
    if pooling == "cls" and not layer.n_special:
        raise no_class_token(layer)
    if len(layer.shape) == 1:
        return None
    if pooling != "auto":
        return pooling
    if math.prod(layer.shape) <= MOST_FLATTENED:
        return None
    return "cls" if layer.n_special else "avg"
