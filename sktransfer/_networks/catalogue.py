"""The table of networks that have a name, and what is known of each without Keras.

Native sizes and preprocessing are those of https://keras.io/api/applications/. To add a
network of `keras.applications`, add a row.
"""

from dataclasses import dataclass


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
        The arithmetic of its module's `preprocess_input`, a name in `ARITHMETIC`. None where
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
