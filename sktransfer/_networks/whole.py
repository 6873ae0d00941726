"""A network as a Keras model for others, which takes pixels from 0 to 255."""

from sktransfer._networks.build import finalize
from sktransfer._networks.description import is_of_kerashub
from sktransfer._runtime.keras import keras


def on_pixels(model, arithmetic):
    """A functional model with `Arithmetic` before it, as one graph of layers.

    Parameters
    ----------
    model : keras.Model
        Nobody else's: layers of KerasHub, which cannot be copied, become those of the result.
    arithmetic : Arithmetic or ScaleAndOffset
    """
    copies = {}

    def copy_of(operation):  # whose `output` is then what it makes here
        if is_of_kerashub(operation):
            return operation
        if operation.name not in copies:
            copies[operation.name] = type(operation).from_config(operation.get_config())
        return copies[operation.name]

    def called(operation, *inputs, **options):
        return operation(*inputs, **options)

    pixels = keras.Input(model.input_shape[1:], name="pixels")
    # As `keras.models.clone_model` does, which would begin with an input of its own.
    outputs = model._run_through_graph(arithmetic(pixels), copy_of, called)
    whole = keras.Model(pixels, outputs)
    for layer in model.layers:
        if layer.weights and layer.name in copies:
            copies[layer.name].set_weights(layer.get_weights())
    finalize(whole)
    return whole


def exportable(model):
    """The same model, called once: else Keras refuses to export it in some formats."""
    model(keras.KerasTensor((1, *model.input_shape[1:])))
    return model
