"""Networks, extractors and errors between arrays, for the tests of any module."""

import keras
import numpy as np

from sktransfer import ImageAugmentation
from sktransfer._features.cache import FeatureCache
from sktransfer._features.extractor import Extractor, find_info
from sktransfer._features.reading import ImageReader
from sktransfer._networks.frozen import load
from sktransfer._networks.preprocessing import Preprocessing
from sktransfer._networks.source import source_of

LARGEST_BATCH = 4  # of the engines on a CPU


def network(backbone="tiny", weights="pretrained", params=None, size=None):
    """The `FrozenNetwork` that these parameters name."""
    return load(source_of(backbone, weights, params, size))


def extractor(layers, backbone="tiny", *, cache_dir="default", augmentation="default", **how):
    """The `Extractor` of a network at layers, a dict of name or None → pooling, and its cuts.

    `how` are `preprocessing`, `input_range`, `max_image_pixels`, `weights` and `size`, else
    parameters of `Extractor`.
    """
    source = source_of(backbone, how.pop("weights", "pretrained"), None, how.pop("size", None))
    preprocessing = how.pop("preprocessing", "backbone")
    if preprocessing == "backbone":
        preprocessing = source.own_preprocessing()
    reader = ImageReader(
        how.pop("input_range", (0, 255)),
        how.pop("max_image_pixels", None),
        Preprocessing(preprocessing),
    )
    cache = FeatureCache(cache_dir)
    info = find_info(source, cache)
    cuts = [info.cut_at(layer, pooling) for layer, pooling in layers.items()]
    if augmentation == "default":
        augmentation = ImageAugmentation()
    made = Extractor(source, info, cuts, reader, cache, augmentation=augmentation, **how)
    return made, cuts


def prepared(how, images):
    """Images as a network takes them."""
    preprocessing = Preprocessing(how)
    batch = np.stack([preprocessing(image) for image in images])
    return keras.ops.convert_to_numpy(preprocessing.arithmetic(batch))


def relative_error(got, expected):
    """The L2 norm of the difference, against that of what is expected."""
    got, expected = map(keras.ops.convert_to_numpy, (got, expected))
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)
