"""The layers on top of a network. To add a head, let `Head.layers` make its layers."""

import math
from dataclasses import dataclass

MOST_FLATTENED = 2048  # features, where `pooling` is "auto"


def pooling_of(pooling, shape):
    """What "auto" means for an output of some shape; None where nothing is left to pool."""
    if len(shape) == 1:
        return None
    if pooling != "auto":
        return pooling
    return None if math.prod(shape) <= MOST_FLATTENED else "avg"


@dataclass(frozen=True)
class Head:
    """The layers on top of the base, as `FineTunedConvNetClassifier` describes them."""

    conv_filters: tuple
    pooling: str | None
    hidden_units: tuple
    dropout: float
    n_outputs: int

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
            kinds = {"avg": "GlobalAveragePooling2D", "max": "GlobalMaxPooling2D"}
            yield getattr(keras.layers, kinds[self.pooling])()
        for units in self.hidden_units:
            yield keras.layers.Dense(units, activation="relu")
            yield keras.layers.Dropout(self.dropout)
        if not self.hidden_units:
            yield keras.layers.Dropout(self.dropout)
        yield keras.layers.Dense(self.n_outputs)
