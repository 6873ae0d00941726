"""`PretrainedFeatureTransformer`: images → features of a frozen network."""

import math
import numbers
import os

from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions

from sktransfer._exceptions import BackboneError, InvalidImagesWarning, list_bad_rows, warn
from sktransfer._features.extractor import Extractor
from sktransfer._features.store import FeatureCache
from sktransfer._images.inputs import check_images
from sktransfer._networks.facts import warn_of_top
from sktransfer._networks.source import BackboneSpec
from sktransfer._runtime.tasks import Task, watch_extraction
from sktransfer._training.fitted import complete, pack_backbone


class PretrainedFeatureTransformer(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Turn images into features of a frozen, pretrained convolutional network.

    Each image goes through the network once, ever: its features are kept on disk under a
    key made of its content and of everything else that changes them, and looked up from
    then on, by any fold, candidate, process or session. Follow it with any classifier.

    The transformer is stateless: `fit` learns nothing but shapes, and `transform` works
    without it (but for `set_output`, which needs the names that shapes give).

    Parameters
    ----------
    backbone : str, path or keras.Model, default="vgg16"
        The network. ``"vgg16"``, ``"resnet50"``, ``"mobilenet_v3_small"``,
        ``"efficientnet_b0"``, ``"convnext_tiny"``, …: any network of `keras.applications`,
        without its top; ``docs/backbones.md`` lists them. ``"tiny"``: a network of 51,000
        parameters that comes with this package and knows the digits 0 to 4. A path to a
        ``.keras`` file, or a functional or Sequential Keras model of one input and one
        output, which is copied and never changed; a path is quicker to clone. One that holds
        a Lambda layer, which is code, is refused until
        `keras.config.enable_unsafe_deserialization` is called. Where it has layers or
        functions of your own, the cache notices when these change by their code and by what
        the network makes of noise. A warning says so where a top is still on, and names the
        layer below it.

    weights : {"pretrained", "imagenet"}, path or None, default="pretrained"
        ``"pretrained"`` is what the backbone is published with: ImageNet, or digits for
        ``"tiny"``; Keras downloads it once into its own folder. A path is a weights file
        of Keras. None is random, from a fixed seed.

    backbone_params : dict, default=None
        Further arguments of the backbone's constructor, such as ``{"alpha": 0.75}``.

    layer : str or list of str, default=None
        Stop at the output of this layer, and so use only the first layers. Unnamed layers
        are numbered as in a fresh process. None is the last one. The features of a list of
        layers stand side by side, in its order; they are computed in one pass.

    pooling : {"avg", "max"}, default=None
        Take the mean or the maximum over all positions of each layer, one feature a channel.
        None flattens, in C order (rows, columns, channels).

    input_size : (int, int), default=None
        Height and width in pixels to which images are stretched, without keeping their
        proportions. None is the network's native size.

    preprocessing : {"backbone", "rescale"}, callable or None, default="backbone"
        ``"backbone"`` is what the family was trained with, ``"rescale"`` divides by 255,
        None leaves pixels from 0 to 255. A function takes and returns a float32 array of
        shape (n, height, width, 3), image by image: what else is in the array is arbitrary.
        To be cached, it needs an attribute ``cache_token``, a text that changes whenever the
        function does.

    input_range : (float, float), default=(0, 255)
        Black and full brightness in arrays given as images. Files and PIL images know
        their own.

    image_shape : tuple of int, default=None
        ``(height, width)``, ``(height, width, 1)`` or ``(height, width, 3)``: the rows of a
        two-dimensional X are flattened images. One may be -1, as in `numpy.reshape`.

    precision : {"float32", "bfloat16"}, default="float32"
        Of the network's weights and arithmetic; features are float32 in any case. In
        bfloat16 they are less exact: by 0.6–0.7 % (relative L2 error) for VGG16 and
        ResNet50, by 12 % for MobileNet. That pays only where the processor is faster in
        bfloat16 than in float32, which not all are that know it (docs/benchmarks.md).
        Features of both kinds do not mix: fit and predict with one.

    engine : {"keras", "openvino"}, default="keras"
        What runs the frozen network. ``"openvino"``, on the CPU, needs the extra
        ``sktransfer[openvino]``, takes some seconds more to begin, and is faster for some
        networks and processors (docs/benchmarks.md). Features in float32 agree to a relative
        1e-5; the cache keeps them apart.

    max_image_pixels : int, default=None
        Files with more pixels than this are refused before they are decoded: a small file
        can hold an image that fills the memory. None is Pillow's own limit,
        ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million unless changed), which holds in any case.

    cache_dir : path or None, default="default"
        Where features are kept. ``"default"`` is the folder that the environment variable
        ``SKTRANSFER_CACHE`` names, or one in the user's cache folder. None keeps nothing.
        The environment variable ``SKTRANSFER_CACHE_SIZE`` bounds the folder, in bytes
        (default 20e9); beyond it, what has not been used for longest is removed.

    on_error : {"raise", "nan"}, default="raise"
        What to do if rows of X are no readable images. ``"raise"``: one error names all of
        them. ``"nan"``: one warning names them, and their features are NaN.

    n_jobs : int, default=None
        Number of threads that decode images beside the network. None means 1, -1 all
        cores. The network itself uses all cores.

    verbose : int, default=0
        1 shows a progress bar on standard error: how many features are there, how many of
        them were looked up, and how long the others take.

    Attributes
    ----------
    feature_shape_ : tuple of int
        Shape of the features of one image before they are flattened; of a list of layers,
        their number.

    n_features_in_ : int
        Number of values in one row of X; 1 for paths and other single objects. It is
        compared only where `image_shape` is set: fit on files, transform arrays.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X; defined only when X has string column names.

    Raises
    ------
    InvalidImagesError
        From `transform`: rows of X are no readable images. Its ``rows`` lists them. Those
        that show when a file is opened are found before anything is computed; those that
        only decoding shows, after the other rows are computed and kept.
    BackboneError
        There is no such backbone, layer or weights file; or OpenVINO cannot take the network.
    ImportError
        ``engine="openvino"``, and OpenVINO is not installed.
    ForkedProcessError
        This process was forked from one that had used a network.
    ValueError
        The form of X or a parameter does not fit; or `preprocessing` is a function without a
        ``cache_token``, and there is a cache.

    Warns
    -----
    InvalidImagesWarning
        From `transform` with ``on_error="nan"``: rows of X are no readable images.
    CacheWarning
        Features cannot be kept in the cache: they are right, but will be computed again.

    Notes
    -----
    Images are decoded by Pillow, turned upright by their EXIF orientation, laid on white
    where they are transparent, converted to RGB and resized bilinearly with antialiasing.
    The same call on the same machine repeats to the bit, and what is in the cache is returned
    as it is. Together with other images, or in another order, features of an image agree to a
    relative 1e-6: on some processors their last bits depend on the place in a batch.

    TensorFlow is told to compute with oneDNN, which is faster on most processors, unless the
    environment variable ``TF_ENABLE_ONEDNN_OPTS`` is set, or TensorFlow is loaded already. The
    cache keeps features with and without it apart.

    References
    ----------
    Features of a pretrained network as input of linear classifiers: A. S. Razavian et al.,
    "CNN Features off-the-shelf: an Astounding Baseline for Recognition", 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sktransfer import PretrainedFeatureTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> pipe = make_pipeline(
    ...     PretrainedFeatureTransformer("tiny", image_shape=(8, 8), input_range=(0, 16)),
    ...     LogisticRegression(max_iter=1000),
    ... )
    >>> pipe.fit(X[:100], y[:100]).score(X[100:], y[100:]) > 0.8
    True
    """

    _parameter_constraints = {  # noqa: RUF012, as scikit-learn does
        "backbone": "no_validation",  # BackboneSpec does, and knows Keras models
        "weights": [str, os.PathLike, None],
        "backbone_params": [dict, None],
        "layer": [str, list, None],
        "pooling": [StrOptions({"avg", "max"}), None],
        "input_size": ["array-like", None],
        "preprocessing": [StrOptions({"backbone", "rescale"}), callable, None],
        "input_range": ["array-like"],
        "image_shape": ["array-like", None],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "engine": [StrOptions({"keras", "openvino"})],
        "max_image_pixels": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "cache_dir": [str, os.PathLike, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [numbers.Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone="vgg16",
        *,
        weights="pretrained",
        backbone_params=None,
        layer=None,
        pooling=None,
        input_size=None,
        preprocessing="backbone",
        input_range=(0, 255),
        image_shape=None,
        precision="float32",
        engine="keras",
        max_image_pixels=None,
        cache_dir="default",
        on_error="raise",
        n_jobs=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.weights = weights
        self.backbone_params = backbone_params
        self.layer = layer
        self.pooling = pooling
        self.input_size = input_size
        self.preprocessing = preprocessing
        self.input_range = input_range
        self.image_shape = image_shape
        self.precision = precision
        self.engine = engine
        self.max_image_pixels = max_image_pixels
        self.cache_dir = cache_dir
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters and the form of X; no image is opened.

        Parameters
        ----------
        X : sequence of n_samples images
            Paths, `bytes` of encoded files, PIL images or arrays, in a list, an array, a
            Series or a one-column data frame; or an array of shape (n_samples, h, w),
            (n_samples, h, w, 1 or 3), or, with `image_shape`, (n_samples, n_features).
        y : ignored

        Returns
        -------
        self : object
        """
        task = Task.root(self, (X, y, None), "fit", 0)
        self._fit(X)
        task.end(dict)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None):
        """Fit, then look the features of images up, or compute and keep them.

        Parameters
        ----------
        X : sequence of n_samples images
            As in `fit`.
        y : ignored

        Returns
        -------
        features : float32 ndarray of shape (n_samples, n_features_out)
        """
        task = Task.root(self, (X, y, None), "fit-transform", 1)
        self._fit(X)
        features = self._transform(X, task)
        task.end(dict)
        return features

    def transform(self, X):
        """Look the features of images up, or compute and keep them.

        Parameters
        ----------
        X : sequence of n_samples images
            As in `fit`.

        Returns
        -------
        features : float32 ndarray of shape (n_samples, n_features_out)
        """
        self._validate_params()
        return self._transform(X)

    def cache_info(self):
        """What the cache folder did so far, for this process.

        Returns
        -------
        info : CacheInfo
            ``hits``, ``misses`` (rows computed) and ``bytes`` (of the folder, now).
        """
        return FeatureCache(self.cache_dir).info()

    @property
    def _n_features_out(self):
        return math.prod(self.feature_shape_)

    def _fit(self, X):
        check_images(self, X, reset=True)
        extractor = self._extractor()
        if self.layer is None:
            better = "features are better taken below: layer={below}"
            warn_of_top(extractor.facts, better)
        shapes = extractor.shapes
        several = isinstance(self.layer, list)
        self.feature_shape_ = (sum(map(math.prod, shapes)),) if several else shapes[0]

    def _transform(self, X, task=None):
        sources = check_images(self, X, reset=False)
        extractor = self._extractor()
        images = extractor.identify(sources)
        if self.on_error == "raise":
            images.raise_if_bad()
        items = [(row, 0) for row in range(len(images))]
        watch = watch_extraction(self.verbose, task)
        rows = extractor.rows_side_by_side(images, items, watch)
        if self.on_error == "raise":
            images.raise_if_bad()
        elif images.bad:
            message = f"{list_bad_rows(images.bad_rows())}\nTheir features are NaN."
            warn(message, InvalidImagesWarning)
        return rows

    def _extractor(self):
        layers = self.layer if isinstance(self.layer, list) else [self.layer]
        if not layers:
            raise BackboneError("layer is an empty list; None is the last layer")
        return Extractor(
            BackboneSpec.of(self),
            [(layer, self.pooling) for layer in layers],
            max_image_pixels=self.max_image_pixels,
            cache_dir=self.cache_dir,
            engine=self.engine,
            n_jobs=self.n_jobs,
        )

    def __getstate__(self):
        return pack_backbone(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(complete(state, self))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags
