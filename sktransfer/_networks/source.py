"""The table of backbones, and what can be said of one without importing Keras.

Native sizes and preprocessing are those of https://keras.io/api/applications/.
"""

import difflib
import functools
import hashlib
import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sktransfer._exceptions import BackboneError
from sktransfer._networks.foreign import foreign_code
from sktransfer._networks.tiny import WEIGHTS as TINY_WEIGHTS
from sktransfer._runtime.backend import keras_backend, keras_version, weights_folder
from sktransfer._runtime.checks import is_shape

FORMAT = 5  # of keys, rows and facts: raised when one of them changes its meaning


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes
    ----------
    constructor : str
        Its function in `keras.applications`; "tiny" is our own.
    native_size : int
        Height and width of the images it was trained on, in pixels.
    preprocessing : str or None
        The arithmetic of its module's `preprocess_input`, a key of `ARITHMETIC`: None where
        the network's first layers do what is needed.
    weights_files : str
        A pattern that its ImageNet weights match in Keras' folder of models.
    """

    constructor: str
    native_size: int
    preprocessing: str
    weights_files: str


FAMILIES = {
    "convnext_tiny": Family("ConvNeXtTiny", 224, None, "convnext_tiny_notop.h5"),
    "convnext_small": Family("ConvNeXtSmall", 224, None, "convnext_small_notop.h5"),
    "convnext_base": Family("ConvNeXtBase", 224, None, "convnext_base_notop.h5"),
    "convnext_large": Family("ConvNeXtLarge", 224, None, "convnext_large_notop.h5"),
    "convnext_xlarge": Family("ConvNeXtXLarge", 224, None, "convnext_xlarge_notop.h5"),
    "densenet121": Family("DenseNet121", 224, "torch", "densenet121_*_notop.h5"),
    "densenet169": Family("DenseNet169", 224, "torch", "densenet169_*_notop.h5"),
    "densenet201": Family("DenseNet201", 224, "torch", "densenet201_*_notop.h5"),
    "efficientnet_b0": Family("EfficientNetB0", 224, None, "efficientnetb0_notop.h5"),
    "efficientnet_b1": Family("EfficientNetB1", 240, None, "efficientnetb1_notop.h5"),
    "efficientnet_b2": Family("EfficientNetB2", 260, None, "efficientnetb2_notop.h5"),
    "efficientnet_b3": Family("EfficientNetB3", 300, None, "efficientnetb3_notop.h5"),
    "efficientnet_b4": Family("EfficientNetB4", 380, None, "efficientnetb4_notop.h5"),
    "efficientnet_b5": Family("EfficientNetB5", 456, None, "efficientnetb5_notop.h5"),
    "efficientnet_b6": Family("EfficientNetB6", 528, None, "efficientnetb6_notop.h5"),
    "efficientnet_b7": Family("EfficientNetB7", 600, None, "efficientnetb7_notop.h5"),
    "efficientnet_v2_b0": Family("EfficientNetV2B0", 224, None, "efficientnetv2-b0_notop.h5"),
    "efficientnet_v2_b1": Family("EfficientNetV2B1", 240, None, "efficientnetv2-b1_notop.h5"),
    "efficientnet_v2_b2": Family("EfficientNetV2B2", 260, None, "efficientnetv2-b2_notop.h5"),
    "efficientnet_v2_b3": Family("EfficientNetV2B3", 300, None, "efficientnetv2-b3_notop.h5"),
    "efficientnet_v2_s": Family("EfficientNetV2S", 384, None, "efficientnetv2-s_notop.h5"),
    "efficientnet_v2_m": Family("EfficientNetV2M", 480, None, "efficientnetv2-m_notop.h5"),
    "efficientnet_v2_l": Family("EfficientNetV2L", 480, None, "efficientnetv2-l_notop.h5"),
    "inception_resnet_v2": Family(
        "InceptionResNetV2", 299, "tf", "inception_resnet_v2_*_notop.h5"
    ),
    "inception_v3": Family("InceptionV3", 299, "tf", "inception_v3_*_notop.h5"),
    "mobilenet": Family("MobileNet", 224, "tf", "mobilenet_[0-9]*_no_top.h5"),
    "mobilenet_v2": Family("MobileNetV2", 224, "tf", "mobilenet_v2_*_no_top.h5"),
    "mobilenet_v3_small": Family(
        "MobileNetV3Small", 224, None, "weights_mobilenet_v3_small_*_no_top_v2.h5"
    ),
    "mobilenet_v3_large": Family(
        "MobileNetV3Large", 224, None, "weights_mobilenet_v3_large_*_no_top_v2.h5"
    ),
    "nasnet_mobile": Family("NASNetMobile", 224, "tf", "nasnet_mobile_no_top.h5"),
    "nasnet_large": Family("NASNetLarge", 331, "tf", "nasnet_large_no_top.h5"),
    "resnet50": Family("ResNet50", 224, "caffe", "resnet50_*_notop.h5"),
    "resnet101": Family("ResNet101", 224, "caffe", "resnet101_*_notop.h5"),
    "resnet152": Family("ResNet152", 224, "caffe", "resnet152_*_notop.h5"),
    "resnet50_v2": Family("ResNet50V2", 224, "tf", "resnet50v2_*_notop.h5"),
    "resnet101_v2": Family("ResNet101V2", 224, "tf", "resnet101v2_*_notop.h5"),
    "resnet152_v2": Family("ResNet152V2", 224, "tf", "resnet152v2_*_notop.h5"),
    "tiny": Family("tiny", 32, "tf", ""),
    "vgg16": Family("VGG16", 224, "caffe", "vgg16_*_notop.h5"),
    "vgg19": Family("VGG19", 224, "caffe", "vgg19_*_notop.h5"),
    "xception": Family("Xception", 299, "tf", "xception_*_notop.h5"),
}


def _minus_one_to_one(pixels):
    pixels /= 127.5
    pixels -= 1
    return pixels


def _zero_to_one(pixels):
    pixels /= 255
    return pixels


def _centred_bgr(pixels):
    # The mean of ImageNet's training images, as VGG's authors published it.
    pixels = pixels[..., ::-1]
    pixels -= np.array([103.939, 116.779, 123.68], dtype=np.float32)
    return pixels


def _standardized(pixels):
    # Mean and standard deviation of ImageNet's training images, of values from 0 to 1.
    pixels /= 255
    pixels -= np.array([0.485, 0.456, 0.406], dtype=np.float32)
    pixels /= np.array([0.229, 0.224, 0.225], dtype=np.float32)
    return pixels


ARITHMETIC = {
    "tf": _minus_one_to_one,
    "caffe": _centred_bgr,
    "torch": _standardized,
    "rescale": _zero_to_one,
    None: lambda pixels: pixels,
}


@dataclass(frozen=True)
class PackedNetwork:
    """A network in plain values, for which neither its file nor its name is needed.

    Attributes
    ----------
    config : str
        Keras' JSON of its architecture.
    weights : list of ndarray
    """

    config: str
    weights: list

    @functools.cached_property
    def sha256(self):
        """Of configuration and weights, in hexadecimal."""
        result = hashlib.sha256(self.config.encode())
        for array in self.weights:
            result.update(f"{array.dtype.str} {array.shape}".encode())
            result.update(np.ascontiguousarray(array))
        return result.hexdigest()


@dataclass(frozen=True)
class BackboneSpec:
    """The parameters that say which network sees which pixels, checked.

    The attributes are those parameters of `PretrainedFeatureTransformer`.
    """

    backbone: object
    weights: str | None
    params: dict
    input_size: tuple | None
    preprocessing: object
    input_range: tuple
    precision: str = "float32"

    @classmethod
    def of(cls, estimator):
        """From the parameters of an estimator."""
        return cls(
            backbone=estimator.backbone,
            weights=estimator.weights,
            params=estimator.backbone_params or {},
            input_size=estimator.input_size,
            preprocessing=estimator.preprocessing,
            input_range=tuple(estimator.input_range),
            precision=estimator.precision,
        )

    def __post_init__(self):
        if self.family is None:
            self._check_custom()
        elif self.backbone == "tiny":
            if self.weights == "imagenet":
                raise BackboneError("backbone='tiny' knows digits, not ImageNet")
            if self.params:
                raise BackboneError("backbone='tiny' has no backbone_params")
        elif self.preprocessing == "backbone" and not self.params.get(
            "include_preprocessing", True
        ):
            raise BackboneError(
                "include_preprocessing=False takes the preprocessing out of the network: say "
                "what preprocessing is instead, or leave it in"
            )
        if self.weights not in ("pretrained", "imagenet", None) and not (
            os.path.isfile(self.weights)
        ):
            raise BackboneError(
                f"weights={os.fspath(self.weights)!r} is neither 'pretrained', 'imagenet', "
                "None nor a file there is"
            )
        if len(self.input_range) != 2 or not np.isfinite(self.input_range).all():
            raise ValueError(f"input_range={self.input_range} is not (black, white)")
        if not (self.input_range[0] < self.input_range[1]):
            raise ValueError(f"input_range={self.input_range} is empty")
        if self.input_size is not None and not is_shape(self.input_size, lengths=(2,)):
            raise ValueError(f"input_size={self.input_size} is not (height, width) in pixels")

    @property
    def family(self):
        """The row of the table, or None for a network of the user's own."""
        return FAMILIES.get(self.backbone) if isinstance(self.backbone, str) else None

    @property
    def size(self):
        """(height, width) as asked for, or native, or None if the network must tell."""
        if self.input_size is not None:
            return tuple(int(side) for side in self.input_size)
        return (self.family.native_size,) * 2 if self.family else None

    @property
    def arithmetic(self):
        """The preprocessing that is meant: a key of `ARITHMETIC`, or a function."""
        if self.preprocessing == "backbone":
            return self.family.preprocessing
        return self.preprocessing

    @property
    def preprocessing_token(self):
        """What stands for the preprocessing in keys; None means it cannot be told."""
        if callable(self.arithmetic):
            token = getattr(self.arithmetic, "cache_token", None)
            return None if token is None else f"callable {token}"
        return str(self.arithmetic)

    def preprocess(self, pixels):
        """Float32 pixels from 0 to 255 (n, h, w, 3), not kept → what the network takes."""
        if not callable(self.arithmetic):
            return ARITHMETIC[self.arithmetic](pixels)
        prepared = np.asarray(self.arithmetic(pixels), dtype=np.float32)
        if prepared.shape != pixels.shape:
            raise ValueError(
                f"preprocessing={self.preprocessing!r} made an array of shape "
                f"{prepared.shape} from one of {pixels.shape}"
            )
        return prepared

    def identity(self):
        """What determines the network, in plain values, found without Keras.

        None where that cannot be told: a Keras model, weights not downloaded yet, or a file
        that names code, which may change beside it.
        """
        weights = self._weights_identity()
        if weights is None:
            return None
        return {
            "format": FORMAT,
            "backbone": self.backbone if self.family else "file",
            "params": sorted((k, _plain(v)) for k, v in self.params.items()),
            "size": self.size,
            "weights": weights,
            "keras": keras_version(),
            "backend": keras_backend(),
        }

    def _weights_identity(self):
        if self.family is None:
            return self._own_identity()
        if self.weights is None:
            return "random"
        if self.weights not in ("pretrained", "imagenet"):
            return {"file": _sha256(self.weights)}
        if self.backbone == "tiny":
            return {TINY_WEIGHTS.name: _sha256(TINY_WEIGHTS)}
        files = sorted(weights_folder().glob(self.family.weights_files))
        return {file.name: _sha256(file) for file in files} or None

    def _own_identity(self):
        if isinstance(self.backbone, PackedNetwork):
            config, content = self.backbone.config, self.backbone.sha256
        elif self._is_path():
            config, content = _config_in(self.backbone), _sha256(self.backbone)
        else:
            return None
        return None if _names_code(config) else {"network": content}

    def _is_path(self):
        return isinstance(self.backbone, (str, os.PathLike))

    def _check_custom(self):
        if self._is_path():
            if Path(self.backbone).suffix != ".keras":
                raise BackboneError(
                    f"no backbone {os.fspath(self.backbone)!r}; "
                    f"{nearest(os.fspath(self.backbone), FAMILIES)}; "
                    "a network of your own is a .keras file or a Keras model"
                )
            if not os.path.isfile(self.backbone):
                raise BackboneError(f"no file {os.fspath(self.backbone)!r}")
        elif not isinstance(self.backbone, PackedNetwork) and not is_keras_model(
            self.backbone
        ):
            raise BackboneError(
                f"backbone is a {type(self.backbone).__name__}, neither a name, "
                "the path of a .keras file nor a Keras model"
            )
        if self.weights != "pretrained" or self.params:
            raise BackboneError(
                "a network of your own comes with its weights and parameters: "
                "leave weights and backbone_params at their defaults"
            )
        if self.preprocessing == "backbone":
            raise BackboneError(
                "what preprocessing a network of your own needs is not known: say "
                "preprocessing=None if it takes pixels from 0 to 255, 'rescale' if "
                "from 0 to 1, or pass a function"
            )


def is_keras_model(value):
    keras = sys.modules.get("keras")  # a model cannot come before its module
    return keras is not None and isinstance(value, keras.Model)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def nearest(name, names):
    """The names most like a given one, as the second half of an error message."""
    as_written = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), as_written, n=3, cutoff=0.5)
    if close:
        return "nearest: " + ", ".join(repr(as_written[c]) for c in close)
    return "there are: " + ", ".join(repr(n) for n in names)


def _config_in(path):
    """Keras' JSON in a .keras file, or none where it is damaged: loading it will say."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.read("config.json")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return "{}"


@functools.lru_cache(maxsize=64)
def _names_code(config):
    """Whether Keras' JSON of a network names code that is not Keras' own."""
    try:
        layers = {**json.loads(config), "compile_config": None}
    except (TypeError, ValueError):  # damaged as well
        return False
    return foreign_code(layers) is not None


def _sha256(path):
    path = Path(path).absolute()
    status = path.stat()
    # The change time cannot be set by hand, unlike size and modification time.
    return _sha256_of_state(path, status.st_ino, status.st_size, status.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of_state(path, *_state):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
