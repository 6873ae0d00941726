"""A network as a Keras model for others, which takes pixels from 0 to 255."""

from sktransfer._networks.build import finalize
from sktransfer._runtime.keras import keras


def on_pixels(model, arithmetic):
    """A functional model with `Arithmetic` before it, as one graph of layers.

    Parameters
    ----------
    model : keras.Model
        Nobody else's: its layers become those of the result.
    arithmetic : Arithmetic or ScaleAndOffset
    """

    def itself(operation):
        return operation

    def called(operation, *inputs, **options):
        return operation(*inputs, **options)

    pixels = keras.Input(model.input_shape[1:], name="pixels")
    # As `keras.models.clone_model` does, which would begin with an input of its own.
    outputs = model._run_through_graph(arithmetic(pixels), itself, called)
    whole = keras.Model(pixels, outputs)
    finalize(whole)
    return whole


def exportable(model):
    """The same model, called once: else Keras refuses to export it in some formats."""
    model(keras.KerasTensor((1, *model.input_shape[1:])))
    return model
