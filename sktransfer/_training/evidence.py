"""Where in images the evidence for an output of a fitted network lies."""

import numpy as np

from sktransfer._networks.engines.keras import gradient
from sktransfer._networks.preprocessing import Preprocessing
from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras
from sktransfer._training.suffix import model_of_outputs


@held_back()
def evidence_maps(fitted, pixels, outputs):
    """What each position of the map below the head contributes to an output.

    That is the map times the gradient of the output, summed over channels: HiResCAM (R.
    Draelos and L. Carin, 2020). Below a head without hidden layers the output is their sum and
    its bias.

    Parameters
    ----------
    fitted : FittedNetwork
    pixels : sequence of ndarray of shape (height, width, 3)
        Images of the network's size, from 0 to 255; a batch at most.
    outputs : int ndarray of shape (n_images,)
        Of the network, one for each image.

    Returns
    -------
    maps : float32 ndarray of shape (n_images, height, width), or None
        None if the head lies on features without places.
    """
    model = model_of_outputs(fitted)
    n_layers = len(list(fitted.suffix.head.layers(pooled=False)))
    map_below = model.layers[-n_layers].input
    if len(map_below.shape) != 4:
        return None
    preprocessing = Preprocessing(fitted.preprocessing)
    batch = np.stack([preprocessing(image) for image in pixels])
    batch = preprocessing.arithmetic(batch)
    rows = keras.Model(model.inputs, map_below)(batch, training=False)
    rows = keras.ops.convert_to_numpy(rows).astype(np.float32, copy=False)
    above = keras.Model(map_below, model.outputs[0])
    return (rows * gradient(above, rows, outputs)).sum(axis=-1)
