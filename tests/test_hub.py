"""Networks of KerasHub, from presets that are stored with random weights."""

import contextlib
import json
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from networks import relative_error
from PIL import Image

from sktransfer import (
    BackboneError,
    FineTunedConvNetClassifier,
    ImageAugmentation,
    PretrainedFeatureTransformer,
    bundle,
    to_keras,
)

keras_hub = pytest.importorskip("keras_hub", reason="needs KerasHub: sktransfer[hub]")

from hub_networks import ARGUMENTS, OTHERS, PARTS, image_classes, small  # noqa: E402

QUICK = (
    "DINOV2Backbone",
    "HGNetV2Backbone",
    "ResNetBackbone",
    "SigLIPBackbone",
    "ViTBackbone",
)
SIZE = (64, 64)
SCALE, OFFSET = (0.017, 0.018, 0.019), (-2.1, -2.0, -1.8)

# What KerasHub's own layers have of a class token, and how many other tokens follow it.
LEADING = {
    "CLIPBackbone": 1,
    "CLIPVisionEncoder": 1,
    "DINOV2Backbone": 3,
    "DINOV3Backbone": 5,
    "DeiTBackbone": 2,
    "MetaCLIP2Backbone": 1,
    "MetaCLIP2VisionEncoder": 1,
    "ViTBackbone": 1,
}


CUT_NOWHERE = {  # and why: summary() says that it is so
    "DINOV3Backbone": "each block takes positions that are made of the input",
    "DepthAnythingBackbone": "what comes last takes from four blocks",
    "SigLIPVisionEncoder": "its layers tell a wrong shape",
}
KERAS_SAYS = (  # of some of KerasHub's classes
    "ignore:Layer .* looks like it has unbuilt state",
    "ignore:Layer 'attn' .* was passed an input with a mask",
    "ignore:Gradients do not exist for variables .'fpn/",
)


def every(names):
    return [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in names
    ]


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((70, 90), (64, 48))
    ]


class Preset:
    """A network that is stored in a folder, with how its images are prepared."""

    def __init__(self, folder, name, **conversion):
        keras.utils.set_random_seed(0)
        self.folder, backbone = str(folder), small(name)
        backbone.save_to_preset(self.folder)
        self.tower = getattr(backbone, "vision_encoder", backbone)
        own = getattr(self.tower, "image_shape", (None, None, 3))[:2]
        self.size = SIZE if None in own else tuple(own)
        conversion = {"scale": SCALE, "offset": OFFSET} | conversion
        self.converter = keras_hub.layers.ImageConverter(image_size=self.size, **conversion)
        self.has_converter = self._stores_converter(type(backbone))

    @property
    def parameters(self):
        """Parameters of an estimator."""
        named = {"backbone": f"hub:{self.folder}", "preprocessing": "backbone"}
        if not self.has_converter:
            named |= {"preprocessing": converted, "input_size": self.size}
        return named

    def _stores_converter(self, cls):
        converters = (
            c for c in vars(keras_hub.layers).values() if getattr(c, "backbone_cls", 0) is cls
        )
        own = next(converters, None)
        if own is not None:
            config = {**self.converter.get_config(), "name": "converter"}
            own.from_config(config).save_to_preset(self.folder)
        return own is not None

    def outputs(self, images):
        """What KerasHub makes of images."""
        # As numbers with fractions, or KerasHub would cut these off after resizing.
        pixels = [self.converter(image.astype(np.float32))[None] for image in images]
        if isinstance(self.tower.input, dict):
            pixels = [dict.fromkeys(self.tower.input, x) for x in pixels]
        made = [self.tower(x, training=False) for x in pixels]
        return np.concatenate([keras.ops.convert_to_numpy(_last_of(m)) for m in made])


def converted(pixels):
    return pixels * np.float32(SCALE) + np.float32(OFFSET)


def _last_of(made):
    """The coarsest of several maps, which is the last that a network makes."""
    if not isinstance(made, dict):
        return made
    return min(made.values(), key=lambda tensor: np.prod(tensor.shape[1:-1]))


def close(got, expected):
    assert got.shape == expected.shape
    assert relative_error(got, expected) < 1e-5
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=2e-5)


def test_every_class_is_tried_or_there_is_a_reason():
    assert image_classes() == {*ARGUMENTS, *PARTS, *OTHERS}


@pytest.mark.filterwarnings(*KERAS_SAYS)
@pytest.mark.parametrize("name", every([*ARGUMENTS, *PARTS]))
def test_a_network_is_cut_pooled_trained_and_stored(name, tmp_path, images):
    preset = Preset(tmp_path / "preset", name)
    expected = preset.outputs(images if preset.has_converter else resized(images, preset.size))
    X = images if preset.has_converter else resized(images, preset.size)
    transformer = PretrainedFeatureTransformer(**preset.parameters, cache_dir=None)
    features = transformer.fit_transform(X)
    close(features, expected.reshape(2, -1))
    n_leading = LEADING.get(name, 0)
    pool(transformer, X, expected, n_leading)
    if preset.has_converter:
        travels(transformer, X, preset.size)
    cut_and_trained(preset, X)


def resized(images, size):
    return [np.asarray(Image.fromarray(image).resize(size[::-1])) for image in images]


def pool(transformer, X, expected, n_leading):
    """Pooled features are those of the tokens of parts of the image, or of the class."""
    positions = tuple(range(1, expected.ndim - 1))
    parts = expected[:, n_leading:] if n_leading else expected
    transformer.set_params(pooling="avg")
    close(transformer.fit_transform(X), parts.mean(positions))
    transformer.set_params(pooling="max")
    close(transformer.fit_transform(X), parts.max(positions))
    transformer.set_params(pooling="cls")
    if n_leading:
        close(transformer.fit_transform(X), expected[:, 0])
    else:
        with pytest.raises(BackboneError, match="has no class token"):
            transformer.fit_transform(X)


def travels(transformer, X, size):
    """A bundle and a Keras model make the same features."""
    features = transformer.set_params(pooling="max").fit_transform(X)
    bundled = pickle.loads(pickle.dumps(bundle(transformer)))
    np.testing.assert_allclose(bundled.fit_transform(X), features, rtol=1e-5, atol=1e-6)
    pixels = np.stack(resized(X, size))
    close(to_keras(transformer).predict(pixels, verbose=0), transformer.transform(pixels))


def cut_and_trained(preset, X):
    """The top block is trained on rows cut below it; stored, it predicts the same."""
    classifier = FineTunedConvNetClassifier(
        **preset.parameters,
        unfreeze=1,
        fine_tune_epochs=1,
        early_stopping=False,
        augmentation=ImageAugmentation(),
        augmentation_views=1,
        random_state=0,
        cache_dir=None,
    )
    X, y = [*X, *X], [0, 1, 0, 1]
    classifier.fit(X, y)
    said = pytest.warns(UserWarning, match="0% of the work can be cached")
    is_cut_nowhere = type(preset.tower).__name__ in CUT_NOWHERE
    with said if is_cut_nowhere else contextlib.nullcontext():
        summary = classifier.summary()
    trained = [layer for layer in summary.layers if layer.stages[1] == "trained"]
    assert len(trained) > 1
    assert summary.cuts[1] != summary.cuts[0]
    probabilities = classifier.predict_proba(X)
    restored = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(restored.predict_proba(X), probabilities)


def test_pixels_of_photographs_are_as_the_converter_makes_them(tmp_path, photographs):
    for conversion in (
        {"crop_to_aspect_ratio": True},
        {"crop_to_aspect_ratio": False, "interpolation": "bicubic"},
        {"crop_to_aspect_ratio": False, "pad_to_aspect_ratio": True, "antialias": True},
    ):
        preset = Preset(tmp_path / f"preset{len(conversion)}", "VGGBackbone", **conversion)
        transformer = PretrainedFeatureTransformer(
            **preset.parameters, layer="input_layer", cache_dir=None
        )
        paths = photographs[0][:8]
        X = [np.asarray(Image.open(path).convert("RGB"), np.float32) for path in paths]
        expected = [keras.ops.convert_to_numpy(preset.converter(x)) for x in X]
        pixels = transformer.fit_transform(paths).reshape(8, *SIZE, 3)
        levels = np.abs(pixels - np.stack(expected)) / SCALE
        # Pillow antialiases in 8 bits; TensorFlow's bicubic filter is a table.
        assert levels.max() < (0.25 if not conversion.get("antialias") else 20)
        assert levels.mean() < (0.01 if not conversion.get("antialias") else 0.5)


def test_an_encoder_is_opened_into_blocks(tmp_path):
    preset = Preset(tmp_path / "preset", "ViTBackbone")
    for unfreeze, cut in (
        (1, "vit_encoder_transformer_block_2"),
        (2, "vit_encoder_transformer_block_1"),
    ):
        classifier = FineTunedConvNetClassifier(f"hub:{preset.folder}", unfreeze=unfreeze)
        assert classifier.summary().cuts[1] == cut


def test_another_size_where_the_network_takes_it(tmp_path, images):
    for name, size in (("ResNetBackbone", (96, 80)), ("DINOV2Backbone", (48, 48))):
        preset = Preset(tmp_path / name, name)
        transformer = PretrainedFeatureTransformer(
            f"hub:{preset.folder}", input_size=size, pooling="avg", cache_dir=None
        )
        other = keras_hub.models.Backbone.from_preset(preset.folder, image_shape=(*size, 3))
        preset.converter.image_size, preset.tower = size, other
        expected = preset.outputs(images)
        n_leading = LEADING.get(name, 0)
        parts = expected[:, n_leading:] if n_leading else expected
        close(transformer.fit_transform(images), parts.mean(tuple(range(1, parts.ndim - 1))))


def test_a_folder_in_the_layout_of_timm(tmp_path, images):
    store_resnet18(tmp_path)
    backbone = keras_hub.models.Backbone.from_preset(str(tmp_path))
    converter = keras_hub.layers.ImageConverter.from_preset(str(tmp_path))
    pixels = [converter(image.astype(np.float32))[None] for image in images]
    expected = np.concatenate([backbone(x, training=False) for x in pixels])
    transformer = PretrainedFeatureTransformer(f"hub:{tmp_path}", cache_dir=None)
    close(transformer.fit_transform(images), expected.reshape(2, -1))
    assert transformer.feature_shape_ == (2, 2, 512)


def store_resnet18(folder):
    """A ResNet18 with random weights, as timm stores it."""
    from safetensors.numpy import save_file

    rng, arrays = np.random.default_rng(0), {}

    def convolution(name, made, taken, side):
        kernel = rng.normal(0, (taken * side**2) ** -0.5, (made, taken, side, side))
        arrays[f"{name}.weight"] = kernel.astype(np.float32)

    def norm(name, n):
        for part in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{name}.{part}"] = rng.uniform(0.5, 1, n).astype(np.float32)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    taken = 64
    for i, n in enumerate((64, 128, 256, 512)):
        for block in range(2):
            name = f"layer{i + 1}.{block}"
            convolution(f"{name}.conv1", n, taken, 3)
            norm(f"{name}.bn1", n)
            convolution(f"{name}.conv2", n, n, 3)
            norm(f"{name}.bn2", n)
            if taken != n:
                convolution(f"{name}.downsample.0", n, taken, 1)
                norm(f"{name}.downsample.1", n)
            taken = n
    save_file(arrays, folder / "model.safetensors")
    pretrained = {
        "input_size": [3, 64, 64],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bicubic",
    }
    config = {"architecture": "resnet18", "num_features": 512, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_backbone_by_hand_is_copied_and_stored(tmp_path, images):
    preset = Preset(tmp_path / "preset", "ViTBackbone")
    expected = preset.outputs(images).reshape(2, -1)
    names = [layer.name for layer in preset.tower._flatten_layers()]
    X = [keras.ops.convert_to_numpy(preset.converter(x.astype(np.float32))) for x in images]
    path = tmp_path / "network.keras"
    preset.tower.save(path)
    for backbone in (preset.tower, str(path)):
        prepared = PretrainedFeatureTransformer(
            backbone, preprocessing=from_range, input_range=(-3, 3), cache_dir=None
        )
        close(prepared.fit_transform(X), expected)
        restored = pickle.loads(pickle.dumps(prepared))
        np.testing.assert_array_equal(restored.transform(X), prepared.transform(X))
    assert [layer.name for layer in preset.tower._flatten_layers()] == names


def from_range(pixels):
    """Pixels that `input_range` took from (-3, 3) to (0, 255), back."""
    return pixels * np.float32(6 / 255) - np.float32(3)


def test_what_is_in_the_cache_needs_neither_keras_nor_kerashub(tmp_path, images):
    preset = Preset(tmp_path / "preset", "ViTBackbone")
    path = tmp_path / "image.png"
    Image.fromarray(images[0]).save(path)
    code = (
        "import sys; from sktransfer import PretrainedFeatureTransformer;"
        f"t = PretrainedFeatureTransformer('hub:{preset.folder}', pooling='cls');"
        f"print(float(t.fit_transform(['{path}']).sum()).hex(), 'keras' in sys.modules)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert [keras_there for _, keras_there in runs] == ["True", "False"]
    assert runs[0][0] == runs[1][0]


def test_a_fitted_network_goes_through_skops(tmp_path, images):
    skops = pytest.importorskip("skops.io")
    preset = Preset(tmp_path / "preset", "ViTBackbone")
    classifier = FineTunedConvNetClassifier(
        f"hub:{preset.folder}", unfreeze=0, augmentation=None, cache_dir=None
    )
    classifier.fit(images * 2, [0, 1, 0, 1])
    stored = skops.dumps(classifier)
    trusted = skops.get_untrusted_types(data=stored)
    assert trusted == ["sktransfer.FineTunedConvNetClassifier"]
    got = skops.loads(stored, trusted=trusted).predict_proba(images)
    np.testing.assert_array_equal(got, classifier.predict_proba(images))


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("vit_base_patch16_224_imagenett", "nearest: 'vit_base_patch16_224_imagenet'"),
        ("bert_base_en", "'bert_base_en' is no network for images"),
        ("./missing", "'./missing' is no folder: a preset's folder has a config.json"),
    ],
)
def test_a_name_that_is_none(preset, message):
    with pytest.raises(BackboneError, match=message):
        PretrainedFeatureTransformer(f"hub:{preset}").fit(np.zeros((1, 8, 8), np.uint8))


def test_a_network_that_takes_no_images_is_refused(tmp_path):
    keras_hub.models.BertBackbone(
        vocabulary_size=8, num_layers=1, num_heads=1, hidden_dim=2, intermediate_dim=2
    ).save_to_preset(str(tmp_path))
    with pytest.raises(BackboneError, match="BertBackbone takes no images: its inputs are"):
        PretrainedFeatureTransformer(f"hub:{tmp_path}").fit(np.zeros((1, 8, 8), np.uint8))


def test_without_a_converter_preprocessing_is_asked_for(tmp_path):
    small("VGGBackbone").save_to_preset(str(tmp_path))
    transformer = PretrainedFeatureTransformer(f"hub:{tmp_path}", input_size=(32, 32))
    X = np.zeros((1, 8, 8), np.uint8)
    with pytest.raises(BackboneError, match=r"no ImageConverter .* set preprocessing="):
        transformer.fit(X)
    assert transformer.set_params(preprocessing="rescale").fit_transform(X).shape == (1, 1024)
