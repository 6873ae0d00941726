"""Transfer learning from pretrained convnets, as ordinary scikit-learn estimators."""

from sktransfer._augmentation import ImageAugmentation
from sktransfer._cache import CacheInfo, clear_cache
from sktransfer._exceptions import (
    BackboneError,
    BadRow,
    CacheWarning,
    ForkedProcessError,
    InvalidImagesError,
    InvalidImagesWarning,
    SktransferError,
)
from sktransfer._transformer import PretrainedFeatureTransformer

__version__ = "0.1.0"

__all__ = [
    "BackboneError",
    "BadRow",
    "CacheInfo",
    "CacheWarning",
    "ForkedProcessError",
    "ImageAugmentation",
    "InvalidImagesError",
    "InvalidImagesWarning",
    "PretrainedFeatureTransformer",
    "SktransferError",
    "clear_cache",
]
