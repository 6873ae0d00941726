"""Every architecture of `keras.applications`, by its smallest member, and small images."""

# The smallest member of each, and a block near its top to be unfrozen.
ARCHITECTURES = {
    "convnext_tiny": "convnext_tiny_stage_3_block_2",
    "densenet121": "conv5_block15",
    "efficientnet_b0": "block6d",
    "efficientnet_v2_b0": "block6g",
    "inception_resnet_v2": "block8_9",
    "inception_v3": "mixed9",
    "mobilenet": "conv_dw_12",
    "mobilenet_v2": "block_15",
    "mobilenet_v3_small": "expanded_conv_9",
    "nasnet_mobile": "normal_concat_11",
    "resnet50": "conv5_block3",
    "resnet50_v2": "conv5_block3",
    "tiny": "block3",
    "vgg16": "block5",
    "vgg19": "block5",
    "xception": "block13",
}
SMALLEST_SIDES = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}  # else 32


def smallest_size(name):
    """The height and width of the smallest images that a network takes."""
    return (SMALLEST_SIDES.get(name, 32),) * 2
