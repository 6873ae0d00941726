"""What all estimators share: parameters of images and networks, the extractor, tags, state."""

import inspect
import numbers
import os
import re
from typing import TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions

from sktransfer._features.cache import CacheInfo, FeatureCache
from sktransfer._features.extractor import Extractor, find_info
from sktransfer._features.reading import ImageReader
from sktransfer._networks.engines import ENGINES
from sktransfer._networks.foreign import refuse_foreign
from sktransfer._networks.packed import PackedNetwork
from sktransfer._networks.preprocessing import Preprocessing, named
from sktransfer._networks.source import is_keras_model, source_of
from sktransfer._runtime.checks import is_shape

Estimator = TypeVar("Estimator", bound=type)


def documented(cls: Estimator) -> Estimator:
    """Put the texts that estimators share where the docstring of a class names them."""
    for base in cls.__mro__[1:]:
        if issubclass(base, ImageEstimator):
            shared = (base.__doc__ or "").partition("----------\n")[2]
            shared = re.sub(r"^ *Attributes\n *-+\n", "", shared, flags=re.MULTILINE)
            names_and_texts = re.split(r"^ *(\w+)(?= : )", shared, flags=re.MULTILINE)[1:]
            for name, text in zip(names_and_texts[::2], names_and_texts[1::2], strict=True):
                cls.__doc__ = cls.__doc__.replace(f"<{name}>", name + text.rstrip())
    return cls


class ImageEstimator(CallbackSupportMixin, BaseEstimator):
    """An estimator of images that runs a pretrained network.

    Parameters
    ----------
    backbone : str, path, keras.Model or PackedNetwork, default="efficientnet_v2_b0"
        The network.

        - A name, such as ``"efficientnet_v2_b0"``, ``"mobilenet_v3_large"``, ``"resnet50"``
          or ``"vgg16"``: any network of `keras.applications`, without its top.
          `list_backbones` returns them, and ``docs/backbones.md`` says how to choose.
          Parameters of its constructor may follow, as in ``"mobilenet?alpha=0.75"``.
        - ``"hub:"`` and a preset of KerasHub: its name
          (``"hub:vit_base_patch16_224_imagenet"``), a handle
          (``"hub:hf://timm/resnet50.a1_in1k"``, ``"hub:kaggle://…"``), or the path of a
          folder with its files. It needs the extra ``sktransfer[hub]``. ``docs/hub.md``
          tells more.
        - ``"tiny"``: a network of 51,000 parameters that comes with this package and knows
          the digits 0 to 4.
        - A path to a ``.keras`` file, or a functional or Sequential Keras model of one
          input and one output, or a backbone of KerasHub. It is copied and never changed. A
          path is quicker to clone. A Lambda layer is code: a network that has one is refused
          until `keras.config.enable_unsafe_deserialization` is called. The cache notices
          when layers or functions of your own change, by their code and by what the network
          makes of noise. If the network still has its top, a warning names the layer below
          it.
        - A `PackedNetwork`: what `bundle` makes of any of these. A Keras model that was
          stored comes back as one.

    weights : {"pretrained", "imagenet"}, path or None, default="pretrained"
        The weights of a network that has a name.

        - ``"pretrained"``: those it is published with, from ImageNet, or from digits for
          ``"tiny"``. Keras downloads them once into its own folder.
        - ``"imagenet"``: the same, but not for ``"tiny"``.
        - A path: a weights file of Keras.
        - None: random weights, from a fixed seed.

    backbone_params : dict, default=None
        Further arguments of the backbone's constructor, such as ``{"alpha": 0.75}``. In a
        search over several backbones, give each its own in its name, as in
        ``"mobilenet?alpha=0.75"``.

    input_size : (int, int), default=None
        Height and width in pixels. Images are stretched to it; their proportions change.
        Those for a network of KerasHub are cut off, padded or stretched as its preset says.
        None is the size the network was trained with.

    preprocessing : str, callable or None, default="backbone"
        What is done to pixels before the network.

        - ``"backbone"``: what the network was trained with.
        - The name of a network, such as ``"resnet50"``: what that one was trained with, for a
          network of your own that was made from it.
        - ``"rescale"``: pixels are divided by 255.
        - ``"tf"``, ``"caffe"``, ``"torch"``: as Keras' ``preprocess_input`` calls them. From
          -1 to 1; blue, green and red in this order, less their means in ImageNet; from 0 to
          1, less the means in ImageNet, over the standard deviations.
        - None: pixels stay from 0 to 255.
        - A function: it takes and returns a float32 array of shape (n, height, width, 3)
          and must treat each image by itself. It may change the array. To be cached, it
          needs an attribute ``cache_token``, a text that changes whenever the function
          does.

    input_range : (float, float), default=(0, 255)
        Black and full brightness in arrays given as images. For files and PIL images they
        are known.

    image_shape : tuple of int, default=None
        ``(height, width)``, ``(height, width, 1)`` or ``(height, width, 3)``: the rows of
        a two-dimensional X are flattened images. One may be -1, as in `numpy.reshape`.

    precision : {"float32", "bfloat16"}, default="float32"
        Type of numbers in which the network computes. Features, weights that are trained,
        and the loss are float32 in any case. bfloat16 is less exact: by 0.6–0.7 % (relative
        L2 error) for VGG16 and ResNet50, by 12 % for MobileNet. It pays only on processors
        that are faster in bfloat16 (docs/benchmarks.md); training on others is six times
        slower. Fit and predict with the same precision.

    engine : {"keras", "openvino"}, default="keras"
        What runs the frozen network.

        - ``"keras"``: the backend of Keras, by default TensorFlow.
        - ``"openvino"``: OpenVINO on the CPU. It needs the extra ``sktransfer[openvino]``
          and some seconds more to begin, and is faster for some networks and processors
          (docs/benchmarks.md). Features in float32 agree with Keras' to a relative 1e-5;
          the cache keeps them apart.

    max_image_pixels : int, default=None
        Files with more pixels than this are refused before they are decoded, because a
        small file can hold an image that fills the memory. None is Pillow's own limit,
        ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million by default), which holds in any case.

    cache_dir : path or None, default="default"
        Where features are kept.

        - ``"default"``: the folder in the environment variable ``SKTRANSFER_CACHE``, or
          one in the user's cache folder.
        - A path: that folder.
        - None: nothing is kept.

        Features of images that are only predicted are kept as well: the images that one fold
        predicts are those that another trains on. What `bundle` makes keeps nothing. The
        environment variable ``SKTRANSFER_CACHE_SIZE`` limits the folder, in bytes (default
        20e9). Above it, what was not used for longest is removed.

    n_jobs : int, default=None
        Number of threads that read files, and decode images while the network computes. None
        means one for every four cores or, where a GPU computes or files are larger than half a
        megabyte in the mean, one for every core, within what joblib grants a worker; -1 means
        all cores. On a CPU the network itself uses all cores.

    verbose : int, default=0
        1 shows progress bars on standard error: how many features are ready, how many of
        them came from the cache, and how long the others take. Predictions of a classifier
        show them from 2 on.
    """

    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints = {  # noqa: RUF012, as scikit-learn does
        "backbone": "no_validation",  # `source_of` does, and knows Keras models
        "weights": [str, os.PathLike, None],
        "backbone_params": [dict, None],
        "input_size": ["array-like", None],
        "preprocessing": [str, callable, None],  # `named` knows which
        "input_range": ["array-like"],
        "image_shape": ["array-like", None],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "engine": [StrOptions(set(ENGINES))],
        "max_image_pixels": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "cache_dir": [str, os.PathLike, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [numbers.Integral, None],
        "verbose": ["verbose"],
    }

    def cache_info(self) -> CacheInfo:
        """What the cache folder did so far, for this process.

        Returns
        -------
        info : CacheInfo
            ``hits`` (rows that were looked up), ``misses`` (rows that were computed) and
            ``bytes`` (of the folder, now).
        """
        return FeatureCache(self.cache_dir).info()

    def _twin(self, **parameters):
        """Another one that shares all that this one holds, but for some parameters."""
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self), **parameters)
        return twin

    def _source(self):
        """Where the network comes from."""
        size = self.input_size
        if size is not None:
            if not is_shape(size, lengths=(2,)):
                raise ValueError(f"input_size={size} is not (height, width) in pixels")
            size = tuple(int(side) for side in size)
        return source_of(self.backbone, self.weights, self.backbone_params, size)

    def _reader(self, source):
        """How images become what the network takes."""
        bounds = tuple(self.input_range)
        if len(bounds) != 2 or not np.isfinite(bounds).all():
            raise ValueError(f"input_range={bounds} is not (black, white)")
        if not bounds[0] < bounds[1]:
            raise ValueError(f"input_range={bounds} is empty")
        how = self.preprocessing
        if how == "backbone":
            how = source.own_preprocessing()
        elif isinstance(how, str):
            how = named(how)
        return ImageReader(bounds, self.max_image_pixels, Preprocessing(how))

    def _info(self, source):
        """What is known of the network."""
        return find_info(source, FeatureCache(self.cache_dir))

    def _extractor(self, source, info, cuts, reader, precision, augmentation=None):
        return Extractor(
            source,
            info,
            cuts,
            reader,
            FeatureCache(self.cache_dir),
            augmentation=augmentation,
            engine=self.engine,
            precision=precision,
            n_jobs=self.n_jobs,
        )

    def __getstate__(self):
        state = dict(super().__getstate__())
        if is_keras_model(self.backbone):
            from sktransfer._networks.build import pack

            state["backbone"] = pack(self.backbone).to_plain()
        elif isinstance(self.backbone, PackedNetwork):
            state["backbone"] = self.backbone.to_plain()
        return state

    def __reduce__(self):
        # A pickle runs the code that it holds: of one, that of a network is not refused.
        return _restored, (type(self), self.__getstate__())

    def __setstate__(self, state):
        """Take a state that anyone may have written.

        Raises
        ------
        InvalidStateError
            A network in it has layers that are not Keras' own, or that run code which their
            configuration names.
        """
        refuse_foreign(state)
        self._restore(state)

    def _restore(self, state):
        """Take a state. Parameters that an earlier version did not have get their defaults."""
        parameters = inspect.signature(type(self)).parameters.values()
        state = {p.name: p.default for p in parameters} | state
        if isinstance(state["backbone"], dict):
            state["backbone"] = PackedNetwork.from_plain(state["backbone"])
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags


def _restored(cls, state):
    """An estimator of a pickled state."""
    estimator = cls.__new__(cls)
    estimator._restore(state)
    return estimator
