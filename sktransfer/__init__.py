"""Transfer learning from pretrained convnets, as ordinary scikit-learn estimators."""

from sktransfer._audit.audit import audit_images
from sktransfer._audit.report import AuditReport
from sktransfer._classifier import FineTunedConvNetClassifier
from sktransfer._comparison import BackboneComparison, compare_backbones
from sktransfer._deployment.bundle import bundle
from sktransfer._deployment.to_keras import to_keras
from sktransfer._deployment.warm_up import warm_up
from sktransfer._displays.activation import ActivationMapDisplay
from sktransfer._displays.augmentation import AugmentationDisplay
from sktransfer._displays.history import TrainingHistoryDisplay
from sktransfer._displays.predictions import ImagePredictionDisplay
from sktransfer._exceptions import (
    BackboneError,
    BadRow,
    CacheWarning,
    ForkedProcessError,
    InvalidImagesError,
    InvalidImagesWarning,
    InvalidStateError,
    SktransferError,
    VersionWarning,
)
from sktransfer._features.cache import CacheInfo, clear_cache
from sktransfer._images.augmentation import ImageAugmentation
from sktransfer._images.folders import load_image_folder
from sktransfer._networks.catalogue import BackboneRecord, list_backbones
from sktransfer._regressor import FineTunedConvNetRegressor
from sktransfer._transformer import PretrainedFeatureTransformer

__version__ = "0.1.0"

__all__ = [
    "ActivationMapDisplay",
    "AuditReport",
    "AugmentationDisplay",
    "BackboneComparison",
    "BackboneError",
    "BackboneRecord",
    "BadRow",
    "CacheInfo",
    "CacheWarning",
    "FineTunedConvNetClassifier",
    "FineTunedConvNetRegressor",
    "ForkedProcessError",
    "ImageAugmentation",
    "ImagePredictionDisplay",
    "InvalidImagesError",
    "InvalidImagesWarning",
    "InvalidStateError",
    "PretrainedFeatureTransformer",
    "SktransferError",
    "TrainingHistoryDisplay",
    "VersionWarning",
    "audit_images",
    "bundle",
    "clear_cache",
    "compare_backbones",
    "list_backbones",
    "load_image_folder",
    "to_keras",
    "warm_up",
]

# Stored models name classes by where users find them, so that files may move.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
