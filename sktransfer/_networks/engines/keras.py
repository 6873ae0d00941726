"""Keras' backends. To add one, write how it runs a model, and register that here."""

import contextlib
import math
import threading
from collections import defaultdict

import numpy as np

from sktransfer._networks.engines import jax, tensorflow, torch
from sktransfer._runtime.backend import installed_version, keras_backend
from sktransfer._runtime.devices import gpu, n_devices


class Predicting:
    """A model by its weights as they are, as any backend of Keras runs it."""

    def __init__(self, model):
        self._model, self._lock = model, threading.Lock()

    def submit(self, batch):
        with self._lock:  # the first call builds what all share
            return self._model.predict_on_batch(batch)

    def fetch(self, outputs):
        return outputs if isinstance(outputs, list) else [outputs]


FROZEN = defaultdict(
    lambda: Predicting,
    {"tensorflow": tensorflow.frozen, "jax": jax.Compiled, "torch": torch.Called},
)
LIVE = FROZEN | {"tensorflow": tensorflow.Live}
GRADIENTS = {
    "tensorflow": tensorflow.gradient,
    "jax": jax.gradient,
    "torch": torch.gradient,
}

# One image alone, or four: on 2 cores 4 is as fast as 8 or 16 within noise (MobileNet,
# MobileNetV2, ResNet50, InceptionV3, Xception, VGG16).
ON_CPU = (1, 4)
ON_GPU = (32, 64, 128, 256)
GPU_BYTES = 1 << 30  # of the two largest maps that a GPU holds of a batch


def live(model):
    """What runs a model of one input by its weights as they are, as `compile` returns it."""
    return LIVE[keras_backend()](model)


def gradient(model, rows, outputs):
    """How one output of each row changes with the row.

    Parameters
    ----------
    model : keras.Model
        Of one input and one output.
    rows : float32 ndarray of shape (n, ...)
    outputs : int ndarray of shape (n,)

    Returns
    -------
    gradient : float32 ndarray of the shape of `rows`
    """
    return GRADIENTS[keras_backend()](model, rows, outputs)


def seeded(seed):
    """A context in which the backend draws from a seed what does not come from layers'."""
    return torch.seeded(seed) if keras_backend() == "torch" else contextlib.nullcontext()


class KerasEngine:
    """A frozen network run by Keras."""

    name = "keras"

    def key(self):
        """The backend and, on a GPU, which and in what version.

        A GPU computes by kernels that differ between versions far more than the last bits.
        On a CPU an upgrade computes nothing again.
        """
        backend, device = keras_backend(), gpu()
        if device is not None:
            return f"{backend} {installed_version(backend)} on {device}"
        has_onednn = backend == "tensorflow" and tensorflow.has_onednn()
        return f"{backend} with oneDNN" if has_onednn else backend

    def batch_sizes(self, info):
        """On a CPU few images, on a GPU as many as surely fit; of several devices, of each."""
        return [n_devices() * size for size in self._batch_sizes_of_one(info)]

    def _batch_sizes_of_one(self, info):
        if gpu() is None:
            return ON_CPU
        shapes = (layer.shape for layer in info.layers if layer.shape)
        largest = 2 * 4 * max(math.prod(shape) for shape in shapes)
        fitting = [size for size in ON_GPU if size * largest <= GPU_BYTES]
        return (1, *(fitting or ON_GPU[:1]))

    def takes(self, dtypes):
        """Bytes if they are to be sent to a GPU; on a CPU one function serves all images."""
        return "uint8" if gpu() is not None and dtypes == {np.dtype(np.uint8)} else "float32"

    def compile(self, prefix, precision):
        return FROZEN[keras_backend()](prefix.from_pixels(precision))
