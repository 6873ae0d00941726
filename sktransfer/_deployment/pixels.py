"""A transformer and what follows it, as one Keras model."""

from sktransfer._deployment.layers import applied
from sktransfer._features.computing import load_network
from sktransfer._networks.build import plain_settings
from sktransfer._networks.whole import exportable
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras


@held_back()
def from_pixels(transformer, parts):
    """Pixels → the features of a transformer → what parts make of them."""
    cuts, source = transformer._feature_extractor().cuts, transformer._source()
    network = load_network(source)
    reader = transformer._reader(source).for_network(network.info)
    with plain_settings():
        model = network.from_pixels(cuts, reader.preprocessing.in_keras())
        flat = [keras.layers.Flatten()(output) for output in model.outputs]
        x = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
        for part in parts:
            x = applied(part, x)
        return exportable(keras.Model(model.inputs[0], x))
