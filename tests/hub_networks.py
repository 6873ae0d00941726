"""A small network of every class of KerasHub's that takes images, and those that cannot be."""

import inspect

import keras_hub

models = keras_hub.models
VIT = {
    "image_shape": (32, 32, 3),
    "patch_size": 8,
    "num_layers": 3,
    "num_heads": 2,
    "hidden_dim": 16,
}
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 64, 64, 64],
    "stackwise_num_blocks": [1, 1, 1, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
}
MIT = {
    "layerwise_depths": [1, 2],
    "num_layers": 2,
    "layerwise_num_heads": [1, 2],
    "layerwise_sr_ratios": [2, 1],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2],
    "hidden_dims": [8, 16],
}
TEXT = {
    "vocabulary_size": 32,
    "embedding_dim": 16,
    "hidden_dim": 16,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_dim": 32,
    "max_sequence_length": 8,
}

# Class → arguments of its constructor.
ARGUMENTS = {
    "CLIPVisionEncoder": VIT | {"intermediate_dim": 32},
    "CSPNetBackbone": {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 1],
        "stackwise_strides": [2, 2],
        "stackwise_num_filters": [8, 16],
        "block_type": "dark_block",
        "stage_type": "csp",
        "bottle_ratio": [0.5],
        "expand_ratio": [2.0],
    },
    "DINOV2Backbone": VIT
    | {
        "intermediate_dim": 32,
        "num_register_tokens": 2,
        "position_embedding_shape": (64, 64, 3),
    },
    "DINOV3Backbone": VIT | {"intermediate_dim": 32},
    "DeiTBackbone": VIT | {"intermediate_dim": 32},
    "DenseNetBackbone": {"stackwise_num_repeats": [2, 2], "growth_rate": 4},
    "EfficientNetBackbone": {
        "stackwise_width_coefficients": [1.0, 1.0],
        "stackwise_depth_coefficients": [1.0, 1.0],
        "stackwise_kernel_sizes": [3, 3],
        "stackwise_num_repeats": [1, 2],
        "stackwise_input_filters": [8, 8],
        "stackwise_output_filters": [8, 16],
        "stackwise_expansion_ratios": [1, 2],
        "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
        "stackwise_strides": [1, 2],
        "stackwise_block_types": ["v1", "v1"],
        "stackwise_force_input_filters": [0, 0],
        "stackwise_nores_option": [False, False],
    },
    "HGNetV2Backbone": {
        "depths": [1, 1, 1, 1],
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 16, 16],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": True,
        "stackwise_stage_filters": [
            (8, 8, 8, 1, 1, 3),
            (8, 8, 16, 1, 1, 3),
            (16, 8, 16, 1, 1, 3),
            (16, 8, 16, 1, 1, 3),
        ],
        "apply_downsample": [False, True, True, True],
        "use_lightweight_conv_block": [False, False, True, True],
        "image_shape": (64, 64, 3),
    },
    "MetaCLIP2VisionEncoder": VIT | {"intermediate_dim": 32},
    "MiTBackbone": MIT | {"image_shape": (32, 32, 3)},
    "MobileNetBackbone": {
        "stackwise_expansion": [[8, 8], [16, 16]],
        "stackwise_num_blocks": [2, 2],
        "stackwise_num_filters": [[8, 8], [16, 16]],
        "stackwise_kernel_size": [[3, 3], [3, 3]],
        "stackwise_num_strides": [[2, 1], [2, 1]],
        "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
        "stackwise_activation": [["relu", "relu"], ["hard_swish", "hard_swish"]],
        "stackwise_padding": [[1, 1], [1, 1]],
        "output_num_filters": 32,
        "depthwise_filters": 8,
        "depthwise_stride": 1,
        "depthwise_residual": False,
        "last_layer_filter": 32,
        "input_num_filters": 8,
    },
    "MobileNetV5Backbone": {
        "stackwise_block_types": [["er"], ["uir", "mqa"]],
        "stackwise_num_blocks": [1, 2],
        "stackwise_num_filters": [[8], [16, 16]],
        "stackwise_strides": [[2], [2, 1]],
        "stackwise_act_layers": [["relu"], ["relu", "relu"]],
        "stackwise_exp_ratios": [[4.0], [6.0, 6.0]],
        "stackwise_se_ratios": [[0.0], [0.0, 0.0]],
        "stackwise_dw_kernel_sizes": [[0], [5, 5]],
        "stackwise_dw_start_kernel_sizes": [[0], [0, 0]],
        "stackwise_dw_end_kernel_sizes": [[0], [0, 0]],
        "stackwise_exp_kernel_sizes": [[3], [0, 0]],
        "stackwise_pw_kernel_sizes": [[1], [0, 0]],
        "stackwise_num_heads": [[0], [0, 2]],
        "stackwise_key_dims": [[0], [0, 8]],
        "stackwise_value_dims": [[0], [0, 8]],
        "stackwise_kv_strides": [[0], [0, 1]],
        "stackwise_use_cpe": [[False], [False, False]],
        "use_msfa": False,
        "image_shape": (32, 32, 3),
    },
    "ResNetBackbone": RESNET | {"image_shape": (None, None, 3)},
    "SigLIPVisionEncoder": VIT | {"intermediate_dim": 32},
    "SwinTransformerBackbone": {
        "image_shape": (32, 32, 3),
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (2, 2),
        "window_size": 4,
    },
    "VGGBackbone": {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [8, 16]},
    "ViTBackbone": VIT | {"mlp_dim": 32},
    "ViTDetBackbone": {
        "hidden_size": 16,
        "num_layers": 3,
        "intermediate_dim": 32,
        "num_heads": 2,
        "global_attention_layer_indices": [2],
        "image_shape": (32, 32, 3),
        "patch_size": 8,
        "num_output_channels": 8,
        "window_size": 2,
    },
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 8], [16, 16]],
        "stackwise_pooling": [True, False],
    },
}

# Class → the parts that it is made of.
PARTS = {
    "BASNetBackbone": lambda: {
        "image_encoder": models.ResNetBackbone(
            **RESNET | {"stackwise_num_filters": [64, 128, 256, 512]}
        ),
        "num_classes": 1,
        "image_shape": (64, 64, 3),
    },
    "CLIPBackbone": lambda: {
        "vision_encoder": models.CLIPVisionEncoder(**VIT, intermediate_dim=32, name="vision"),
        "text_encoder": models.CLIPTextEncoder(**TEXT, name="text"),
        "projection_dim": 8,
    },
    "DeepLabV3Backbone": lambda: {
        "image_encoder": models.ResNetBackbone(**RESNET, image_shape=(64, 64, 3)),
        "spatial_pyramid_pooling_key": "P5",
        "upsampling_size": 8,
        "dilation_rates": [1, 2, 3],
        "image_shape": (64, 64, 3),
    },
    "DepthAnythingBackbone": lambda: {
        "image_encoder": models.DINOV2Backbone(
            **VIT | {"num_layers": 4, "image_shape": (64, 64, 3)},
            intermediate_dim=32,
            position_embedding_shape=(64, 64, 3),
            apply_layernorm=True,
        ),
        "reassemble_factors": [4, 2, 1, 0.5],
        "neck_hidden_dims": [8, 8, 8, 8],
        "fusion_hidden_dim": 8,
        "head_hidden_dim": 8,
        "head_in_index": -1,
        "feature_keys": ["stage1", "stage2", "stage3", "stage4"],
    },
    "MetaCLIP2Backbone": lambda: {
        "vision_encoder": models.MetaCLIP2VisionEncoder(
            **VIT, intermediate_dim=32, name="vision"
        ),
        "text_encoder": models.MetaCLIP2TextEncoder(**TEXT, name="text"),
        "projection_dim": 8,
    },
    "RetinaNetBackbone": lambda: {
        "image_encoder": models.ResNetBackbone(**RESNET, image_shape=(64, 64, 3)),
        "min_level": 3,
        "max_level": 5,
        "use_p5": True,
        "image_shape": (64, 64, 3),
    },
    "SegFormerBackbone": lambda: {
        "image_encoder": models.MiTBackbone(
            **MIT
            | {
                "layerwise_depths": [1, 1, 1, 1],
                "num_layers": 4,
                "layerwise_num_heads": [1, 2, 2, 2],
                "layerwise_sr_ratios": [2, 1, 1, 1],
                "layerwise_patch_sizes": [7, 3, 3, 3],
                "layerwise_strides": [4, 2, 2, 2],
                "hidden_dims": [8, 16, 24, 32],
            },
            image_shape=(64, 64, 3),
        ),
        "projection_filters": 8,
    },
    "SigLIPBackbone": lambda: {
        "vision_encoder": models.SigLIPVisionEncoder(
            **VIT, intermediate_dim=32, name="vision"
        ),
        "text_encoder": models.SigLIPTextEncoder(**TEXT, name="text"),
    },
}

# Class → why it is none of ours, or is not made here.
OTHERS = {
    "BLIP2Backbone": "images and text: a language model",
    "DFineBackbone": "detects objects: its outputs are boxes, by the labels that it is given",
    "FluxBackbone": "makes images",
    "Gemma3Backbone": "images and text: a language model",
    "Gemma3nBackbone": "images and text: a language model",
    "Gemma4Backbone": "images and text: a language model",
    "PARSeqBackbone": "reads text: takes its tokens as well",
    "PaliGemmaBackbone": "images and text: a language model",
    "Qwen3_5Backbone": "images and text: a language model",
    "Qwen3_5MoeBackbone": "images and text: a language model",
    "SAM3PromptableConceptBackbone": "takes prompts as well",
    "SAMBackbone": "takes prompts as well",
    "StableDiffusion3Backbone": "makes images",
    "T5Gemma2Backbone": "images and text: a language model",
    "VideoPrismBackbone": "takes videos",
}


def image_classes():
    """Names of all classes of KerasHub's whose constructor says something of images."""
    converted = {
        cls.backbone_cls
        for cls in vars(keras_hub.layers).values()
        if inspect.isclass(cls) and issubclass(cls, keras_hub.layers.ImageConverter)
    }
    return {
        name
        for name, cls in vars(models).items()
        if inspect.isclass(cls) and issubclass(cls, models.Backbone)
        if cls in converted or _takes_images(cls)
    }


def _takes_images(cls):
    parameters = inspect.signature(cls.__init__).parameters
    return any("image" in name or "vision" in name for name in parameters)


def small(name):
    """A network of a class, with random weights."""
    arguments = PARTS[name]() if name in PARTS else ARGUMENTS[name]
    return getattr(models, name)(**arguments)
