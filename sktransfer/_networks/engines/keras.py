"""Keras' backends, of which TensorFlow has a faster way."""

import os
import sys

from sktransfer._runtime.backend import ONEDNN, keras_backend


class KerasEngine:
    """A frozen network run by Keras."""

    name = "keras"
    # One image alone, or four: on 2 cores 4 is as fast as 8 or 16 within noise (MobileNet,
    # MobileNetV2, ResNet50, InceptionV3, Xception, VGG16).
    batch_sizes = (1, 4)

    def key(self):
        """The backend and, of TensorFlow, whether oneDNN computes."""
        backend = keras_backend()
        return (
            f"{backend} with oneDNN" if backend == "tensorflow" and _has_onednn() else backend
        )

    def compile(self, prefix, precision):
        from sktransfer._runtime.keras import keras

        model = prefix.folded(precision)
        if keras_backend() == "tensorflow":
            return _frozen_in_tensorflow(model)
        return lambda images: keras.tree.flatten(model.predict_on_batch(images))


def _frozen_in_tensorflow(model):
    """A model as a function of a batch of any size, its weights constants.

    It is as quick, and makes the same bits, as one for each size, each of which would need
    the weights' memory seven times.
    """
    import tensorflow as tf

    from sktransfer._runtime.keras import keras

    trainable = [v.value.numpy() for v in model.trainable_variables]
    non_trainable = [v.value.numpy() for v in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])
    def compute(batch):
        outputs, _ = model.stateless_call(
            [tf.constant(v) for v in trainable],
            [tf.constant(v) for v in non_trainable],
            batch,
            training=False,
        )
        return keras.tree.flatten(outputs)

    frozen = compute.get_concrete_function()
    return lambda images: [output.numpy() for output in frozen(tf.constant(images))]


def _has_onednn():
    """Whether TensorFlow computes by oneDNN, or will once it is loaded."""
    loaded = sys.modules.get("tensorflow.python.util._pywrap_util_port")
    if loaded is not None:  # perhaps before the setting was made: then it alone knows
        return loaded.IsMklEnabled()
    return os.environ.get(ONEDNN, "1").lower() not in ("0", "false")
