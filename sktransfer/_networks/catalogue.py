"""The table of networks that have a name, and what is known of each without Keras.

Native sizes, preprocessing and accuracies are those of https://keras.io/api/applications/; of
MobileNetV3, accuracies are those of its own page there. To add a network of
`keras.applications`, add a row.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

MEASURED = Path(__file__).with_name("measured.csv")  # written by benchmarks/backbones.py


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes
    ----------
    constructor : str
        Its function in `keras.applications`; "tiny" is our own.
    native_size : int
        Height and width of the images it was trained on, in pixels.
    top_1 : float or None
        Accuracy with its own top on ImageNet's validation images, in percent, as published.
    preprocessing : str or None
        The arithmetic of its module's `preprocess_input`, a name in `ARITHMETIC`. None where
        the network's first layers do what is needed.
    weights_files : str
        A pattern that its ImageNet weights match in Keras' folder of models.
    """

    constructor: str
    native_size: int
    top_1: float | None
    preprocessing: str
    weights_files: str


FAMILIES = {
    "convnext_tiny": Family("ConvNeXtTiny", 224, 81.3, None, "convnext_tiny_notop.h5"),
    "convnext_small": Family("ConvNeXtSmall", 224, 82.3, None, "convnext_small_notop.h5"),
    "convnext_base": Family("ConvNeXtBase", 224, 85.3, None, "convnext_base_notop.h5"),
    "convnext_large": Family("ConvNeXtLarge", 224, 86.3, None, "convnext_large_notop.h5"),
    "convnext_xlarge": Family("ConvNeXtXLarge", 224, 86.7, None, "convnext_xlarge_notop.h5"),
    "densenet121": Family("DenseNet121", 224, 75.0, "torch", "densenet121_*_notop.h5"),
    "densenet169": Family("DenseNet169", 224, 76.2, "torch", "densenet169_*_notop.h5"),
    "densenet201": Family("DenseNet201", 224, 77.3, "torch", "densenet201_*_notop.h5"),
    "efficientnet_b0": Family("EfficientNetB0", 224, 77.1, None, "efficientnetb0_notop.h5"),
    "efficientnet_b1": Family("EfficientNetB1", 240, 79.1, None, "efficientnetb1_notop.h5"),
    "efficientnet_b2": Family("EfficientNetB2", 260, 80.1, None, "efficientnetb2_notop.h5"),
    "efficientnet_b3": Family("EfficientNetB3", 300, 81.6, None, "efficientnetb3_notop.h5"),
    "efficientnet_b4": Family("EfficientNetB4", 380, 82.9, None, "efficientnetb4_notop.h5"),
    "efficientnet_b5": Family("EfficientNetB5", 456, 83.6, None, "efficientnetb5_notop.h5"),
    "efficientnet_b6": Family("EfficientNetB6", 528, 84.0, None, "efficientnetb6_notop.h5"),
    "efficientnet_b7": Family("EfficientNetB7", 600, 84.3, None, "efficientnetb7_notop.h5"),
    "efficientnet_v2_b0": Family(
        "EfficientNetV2B0", 224, 78.7, None, "efficientnetv2-b0_notop.h5"
    ),
    "efficientnet_v2_b1": Family(
        "EfficientNetV2B1", 240, 79.8, None, "efficientnetv2-b1_notop.h5"
    ),
    "efficientnet_v2_b2": Family(
        "EfficientNetV2B2", 260, 80.5, None, "efficientnetv2-b2_notop.h5"
    ),
    "efficientnet_v2_b3": Family(
        "EfficientNetV2B3", 300, 82.0, None, "efficientnetv2-b3_notop.h5"
    ),
    "efficientnet_v2_s": Family(
        "EfficientNetV2S", 384, 83.9, None, "efficientnetv2-s_notop.h5"
    ),
    "efficientnet_v2_m": Family(
        "EfficientNetV2M", 480, 85.3, None, "efficientnetv2-m_notop.h5"
    ),
    "efficientnet_v2_l": Family(
        "EfficientNetV2L", 480, 85.7, None, "efficientnetv2-l_notop.h5"
    ),
    "inception_resnet_v2": Family(
        "InceptionResNetV2", 299, 80.3, "tf", "inception_resnet_v2_*_notop.h5"
    ),
    "inception_v3": Family("InceptionV3", 299, 77.9, "tf", "inception_v3_*_notop.h5"),
    "mobilenet": Family("MobileNet", 224, 70.4, "tf", "mobilenet_[0-9]*_no_top.h5"),
    "mobilenet_v2": Family("MobileNetV2", 224, 71.3, "tf", "mobilenet_v2_*_no_top.h5"),
    "mobilenet_v3_small": Family(
        "MobileNetV3Small", 224, 68.1, None, "weights_mobilenet_v3_small_*_no_top_v2.h5"
    ),
    "mobilenet_v3_large": Family(
        "MobileNetV3Large", 224, 75.6, None, "weights_mobilenet_v3_large_*_no_top_v2.h5"
    ),
    "nasnet_mobile": Family("NASNetMobile", 224, 74.4, "tf", "nasnet_mobile_no_top.h5"),
    "nasnet_large": Family("NASNetLarge", 331, 82.5, "tf", "nasnet_large_no_top.h5"),
    "resnet50": Family("ResNet50", 224, 74.9, "caffe", "resnet50_*_notop.h5"),
    "resnet101": Family("ResNet101", 224, 76.4, "caffe", "resnet101_*_notop.h5"),
    "resnet152": Family("ResNet152", 224, 76.6, "caffe", "resnet152_*_notop.h5"),
    "resnet50_v2": Family("ResNet50V2", 224, 76.0, "tf", "resnet50v2_*_notop.h5"),
    "resnet101_v2": Family("ResNet101V2", 224, 77.2, "tf", "resnet101v2_*_notop.h5"),
    "resnet152_v2": Family("ResNet152V2", 224, 78.0, "tf", "resnet152v2_*_notop.h5"),
    "tiny": Family("tiny", 32, None, "tf", ""),
    "vgg16": Family("VGG16", 224, 71.3, "caffe", "vgg16_*_notop.h5"),
    "vgg19": Family("VGG19", 224, 71.3, "caffe", "vgg19_*_notop.h5"),
    "xception": Family("Xception", 299, 79.0, "tf", "xception_*_notop.h5"),
}


@dataclass(frozen=True)
class BackboneRecord:
    """One network that has a name, as `list_backbones` returns it.

    Attributes
    ----------
    name : str
        As `backbone` takes it.
    native_size : int
        Height and width of the images it was trained on, in pixels.
    top_1 : float or None
        Accuracy with its own top on ImageNet's validation images, in percent, as
        https://keras.io/api/applications/ states it.
    n_features : int
        Number of features of an image after the last layer, pooled.
    n_parameters : int
        Without the top. Each takes 4 bytes.
    macs : int
        Number of multiplications for one image.
    images_per_second : float
        How many images went through it in a second on 2 cores of an AMD EPYC, which did other
        work too, with random weights. Compare them with one another only.

    See Also
    --------
    list_backbones : Returns one for each network.

    Examples
    --------
    >>> from sktransfer import list_backbones
    >>> next(b for b in list_backbones() if b.name == "vgg16").top_1
    71.3
    """

    name: str
    native_size: int
    top_1: float | None
    n_features: int
    n_parameters: int
    macs: int
    images_per_second: float


def list_backbones() -> list[BackboneRecord]:
    """What `backbone` may be by name, and what is known of each network.

    Returns
    -------
    backbones : list of BackboneRecord
        Families together. `pandas.DataFrame` takes it as it is.

    See Also
    --------
    compare_backbones : Try some of them on images of your own.

    Examples
    --------
    >>> from sktransfer import list_backbones
    >>> quick = [b for b in list_backbones() if b.macs < 1e9]
    >>> max(quick, key=lambda b: b.top_1 or 0).name
    'efficientnet_b2'
    """
    with MEASURED.open(newline="") as file:
        return [_record(row) for row in csv.DictReader(file)]


def _record(row):
    family = FAMILIES[row["name"]]
    return BackboneRecord(
        row["name"],
        family.native_size,
        family.top_1,
        *(int(row[column]) for column in ("n_features", "n_parameters", "macs")),
        float(row["images_per_second"]),
    )
