"""Where a network comes from: a named family, a .keras file, a Keras model, a packed network.

Each source has `identity()`, what determines the network, in plain values and found without
Keras; `build()`, the Keras model; and `own_preprocessing()`. To add a kind of source, add a
class and let `source_of` choose it.
"""

import ast
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from sktransfer._exceptions import BackboneError, nearest
from sktransfer._networks.catalogue import FAMILIES
from sktransfer._networks.hub import PREFIX, HubSource
from sktransfer._networks.identity import config_in, identity_of, names_code, sha256_of
from sktransfer._networks.packed import PackedNetwork
from sktransfer._networks.preprocessing import AS_KERAS_HUB_SAYS
from sktransfer._networks.tiny import WEIGHTS as TINY_WEIGHTS
from sktransfer._runtime.backend import weights_folder

PUBLISHED = ("pretrained", "imagenet")  # weights


def source_of(backbone, weights="pretrained", params=None, size=None):
    """The source that parameters of an estimator name.

    Parameters
    ----------
    backbone, weights
        As in `PretrainedFeatureTransformer`.
    params : dict or None
        Its `backbone_params`.
    size : (int, int) or None
        Its `input_size`.

    Raises
    ------
    BackboneError
        They name no network.
    """
    if isinstance(backbone, str):
        name, _, query = backbone.partition("?")
        if name in FAMILIES:
            return FamilySource(name, weights, _parameters(query, params), size)
    if weights != "pretrained" or params:
        raise BackboneError(
            "a network of your own comes with its weights and parameters: leave weights and "
            "backbone_params at their defaults"
        )
    if is_keras_model(backbone):
        return ModelSource(backbone, size)
    if isinstance(backbone, PackedNetwork):
        return PackedSource(backbone, size)
    if isinstance(backbone, str) and backbone.startswith(PREFIX):
        return HubSource(backbone.removeprefix(PREFIX), size)
    if isinstance(backbone, (str, os.PathLike)):
        return FileSource(os.fspath(backbone), size)
    raise BackboneError(
        f"backbone is a {type(backbone).__name__}, neither a name, the path of a .keras file "
        "nor a Keras model"
    )


def _parameters(query, params):
    """A network's further arguments, in its name after a question mark, or beside it."""
    if not query:
        return params or {}
    if params:
        raise BackboneError(
            f"the backbone's name has parameters, {query!r}, and so has backbone_params: give "
            "them in one place"
        )
    try:
        return {name: _literal(value) for name, value in parse_qsl(query, strict_parsing=True)}
    except ValueError as error:
        raise BackboneError(
            f"parameters in a backbone's name are as in 'mobilenet?alpha=0.75', and not "
            f"{query!r}: {error}"
        ) from error


def _literal(text):
    """A number, True, None and the like, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def is_keras_model(value):
    keras = sys.modules.get("keras")  # a model cannot come before its module
    return keras is not None and isinstance(value, keras.Model)


def is_backbone(model):
    """Whether a Keras model is one of KerasHub's."""
    keras_hub = sys.modules.get("keras_hub")
    return keras_hub is not None and isinstance(model, keras_hub.models.Backbone)


@dataclass(frozen=True)
class FamilySource:
    """A network of `keras.applications`, or the embedded one.

    Attributes
    ----------
    name : str
        A key of `FAMILIES`.
    weights : {"pretrained", "imagenet"}, path or None
    params : dict
        Further arguments of its constructor.
    asked_size : (int, int) or None
        Height and width; None is the native size.
    """

    name: str
    weights: object
    params: dict
    asked_size: tuple | None

    has_automatic_names = True  # of layers, numbered through the process

    def __post_init__(self):
        if self.name == "tiny" and self.weights == "imagenet":
            raise BackboneError("backbone='tiny' knows digits, not ImageNet")
        if self.name == "tiny" and self.params:
            raise BackboneError("backbone='tiny' has no backbone_params")
        if self.has_weights_file and not os.path.isfile(self.weights):
            raise BackboneError(
                f"weights={os.fspath(self.weights)!r} is neither 'pretrained', 'imagenet', "
                "None nor an existing file"
            )

    @property
    def family(self):
        return FAMILIES[self.name]

    @property
    def size(self):
        return self.asked_size or (self.family.native_size,) * 2

    @property
    def is_published(self):
        """Whether its weights are those it was published with."""
        return self.weights in PUBLISHED

    @property
    def has_weights_file(self):
        return self.weights is not None and not self.is_published

    def own_preprocessing(self):
        """What the family was trained with, a name in `ARITHMETIC`."""
        if not self.params.get("include_preprocessing", True):
            raise BackboneError(
                "include_preprocessing=False takes the preprocessing out of the network: set "
                "preprocessing to what replaces it, or leave it in"
            )
        return self.family.preprocessing

    def identity(self):
        """What determines the network; None if its weights are not downloaded yet."""
        weights = self._weights_identity()
        if weights is None:
            return None
        params = sorted((key, _plain(value)) for key, value in self.params.items())
        return identity_of(self.name, self.size, params=params, weights=weights)

    def identity_of_built(self):
        """None: what determines it is known without building it, or after a download."""
        return

    def build(self):
        from sktransfer._networks.build import of_family
        from sktransfer._networks.graphs import Cloned

        return Cloned(of_family(self))

    def _weights_identity(self):
        if self.weights is None:
            return "random"
        if self.has_weights_file:
            return {"file": sha256_of(self.weights)}
        if self.name == "tiny":
            return {TINY_WEIGHTS.name: sha256_of(TINY_WEIGHTS)}
        files = sorted(weights_folder().glob(self.family.weights_files))
        return {file.name: sha256_of(file) for file in files} or None


class _OwnSource:
    """A network of the user's own: what its kinds have in common."""

    has_automatic_names, converter = False, None

    def own_preprocessing(self):
        raise BackboneError(
            "the preprocessing that a network of your own needs is not known: set "
            "preprocessing to the name of the network that it was made from, such as "
            "'resnet50', to 'rescale' if it takes pixels from 0 to 1, or to None if from 0 to "
            "255; or pass a function"
        )

    def identity_of_built(self):
        """What determines the network, found with Keras."""
        network = self._network
        print_, names = network.fingerprint(), network.names
        return identity_of("model", network.size, fingerprint=print_, names=names)

    def build(self):
        return self._network.frozen()

    def graph(self):
        """The network as a Keras model, layer by layer as it is cut and trained."""
        return self._network.model

    @functools.cached_property
    def _network(self):
        model = self.open()
        if is_backbone(model):
            from sktransfer._networks.kerashub import Constructed

            return Constructed.copy_of(model, self.asked_size, self.converter)
        from sktransfer._networks.graphs import OwnNetwork

        return OwnNetwork.of(model, self.asked_size, self.converter)


@dataclass(frozen=True)
class ModelSource(_OwnSource):
    """A Keras model."""

    model: object
    asked_size: tuple | None

    def identity(self):
        """None: what determines the network is found with Keras only."""
        return

    def open(self):
        return self.model


@dataclass(frozen=True)
class PackedSource(_OwnSource):
    """A network that is packed in an estimator."""

    packed: PackedNetwork
    asked_size: tuple | None

    @property
    def has_automatic_names(self):
        return self.packed.has_automatic_names

    @property
    def converter(self):
        return self.packed.converter

    def own_preprocessing(self):
        if self.converter is None:
            return super().own_preprocessing()
        return AS_KERAS_HUB_SAYS

    def identity(self):
        """What determines the network; None if it names code, which may change."""
        if names_code(self.packed.config):
            return None
        names = {"automatic_names": True} if self.has_automatic_names else {}
        return identity_of("file", self.asked_size, network=self.packed.sha256, **names)

    def open(self):
        from sktransfer._networks import build

        return build.unpack(self.packed)


@dataclass(frozen=True)
class FileSource(_OwnSource):
    """A .keras file."""

    path: str
    asked_size: tuple | None

    def __post_init__(self):
        if Path(self.path).suffix != ".keras":
            raise BackboneError(
                f"no backbone {self.path!r}; {nearest(self.path.split('?')[0], FAMILIES)}; a "
                "network of your own is a .keras file or a Keras model"
            )
        if not os.path.isfile(self.path):
            raise BackboneError(f"no file {self.path!r}")

    def identity(self):
        """What determines the network; None if it names code, which may change."""
        if names_code(config_in(self.path)):
            return None
        return identity_of("file", self.asked_size, network=sha256_of(self.path))

    def open(self):
        from sktransfer._networks import build

        return build.opened(self.path)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
