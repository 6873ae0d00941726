"""`PretrainedFeatureTransformer`: images → features of a frozen network."""

import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self, TypeVar

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import StrOptions

from sktransfer._base import ImageEstimator, documented
from sktransfer._exceptions import BackboneError
from sktransfer._images.inputs import check_images
from sktransfer._runtime.tasks import Task, watch_extraction
from sktransfer._training.summary import Summary, summarize
from sktransfer._typing import (
    Backbone,
    Engine,
    Images,
    OnError,
    Path,
    Precision,
    Preprocessing,
)

Out = TypeVar("Out")  # an array that need not be NumPy's


@documented
class PretrainedFeatureTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ImageEstimator
):
    """Turn images into features of a frozen, pretrained convolutional network.

    Each image goes through the network once, ever: its features are kept on disk under a
    key made of its content and of everything else that changes them, and looked up from
    then on, by any fold, candidate, process or session. Follow it with any classifier.

    The transformer is stateless: `fit` learns nothing but shapes, and `transform` works
    without it (but for `set_output`, which needs the names that shapes give).

    Parameters
    ----------
    <backbone>

    <weights>

    <backbone_params>

    layer : str or list of str, default=None
        Take the output of this layer, and so use only the layers up to it. Unnamed layers are
        numbered as in a fresh process. None is the last layer. The features of a list of
        layers stand side by side, in its order; they are computed in one pass.

    pooling : {"avg", "max", "cls"}, default=None
        How the positions of each layer's output become one feature a channel. If the network
        makes tokens, those that stand for a part of the image count as positions.

        - ``"avg"``: their mean.
        - ``"max"``: their maximum.
        - ``"cls"``: the class token, of a vision transformer that has one.
        - None: no pooling; the output is flattened in C order (rows, columns, channels).

    <input_size>

    <preprocessing>

    <input_range>

    <image_shape>

    <precision>

    <engine>

    <max_image_pixels>

    <cache_dir>

    on_error : {"raise", "nan"}, default="raise"
        What to do if rows of X are no readable images.

        - ``"raise"``: one error names all of them.
        - ``"nan"``: one warning names them, and their features are NaN.

    <n_jobs>

    <verbose>

    Attributes
    ----------
    feature_shape_ : tuple of int
        Shape of the features of one image before they are flattened; of a list of layers,
        their number.

    n_features_in_ : int
        Number of values in one row of X; 1 for paths and other single objects. It is
        compared only where `image_shape` is set: fit on files, transform arrays.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X; defined only when X has string column names.

    Raises
    ------
    InvalidImagesError
        From `transform`: rows of X are no readable images. Its ``rows`` lists all of them.
        If one shows when files are opened, all are decoded, and nothing is computed. Those
        that only decoding shows are else found after the other rows are computed and kept.
    BackboneError
        There is no such backbone, layer, class token or weights file; or OpenVINO cannot take
        the network.
    ImportError
        ``engine="openvino"``, and OpenVINO is not installed; or a network of KerasHub, and
        KerasHub is not.
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
    where they are transparent, converted to RGB and resized bilinearly with antialiasing
    (or as the preset of a network of KerasHub says).
    Colour profiles are ignored, as by Keras and PyTorch. A JPEG is decoded at the smallest
    scale that its format offers (1/8, 1/4, 1/2) with at least twice the pixels that are
    needed in both directions. Its pixels then differ by less than 1 of 255 in the mean.
    A process reads a file again only if its features are not in the cache, or if its device,
    inode, size or times have changed, or had changed less than a minute before it was read.
    The same call on the same machine repeats to the bit, and what is in the cache is returned
    as it is. Together with other images, or in another order, features of an image agree to a
    relative 1e-6: on some processors their last bits depend on the place in a batch.

    TensorFlow is told to compute with oneDNN, which is faster on most processors, unless the
    environment variable ``TF_ENABLE_ONEDNN_OPTS`` is set, or TensorFlow is loaded already. The
    cache keeps features with and without it apart.

    See Also
    --------
    FineTunedConvNetClassifier : Trains the top of the network as well.
    ImageAugmentation : Draws altered views of images for training.
    clear_cache : Empties the cache.

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
        **ImageEstimator._parameter_constraints,
        "layer": [str, list, None],
        "pooling": [StrOptions({"avg", "cls", "max"}), None],
    }

    def __init__(
        self,
        backbone: Backbone = "efficientnet_v2_b0",
        *,
        weights: Path | None = "pretrained",
        backbone_params: dict[str, Any] | None = None,
        layer: str | list[str] | None = None,
        pooling: Literal["avg", "cls", "max"] | None = None,
        input_size: Sequence[int] | None = None,
        preprocessing: Preprocessing = "backbone",
        input_range: Sequence[float] = (0, 255),
        image_shape: Sequence[int] | None = None,
        precision: Precision = "float32",
        engine: Engine = "keras",
        max_image_pixels: int | None = None,
        cache_dir: Path | None = "default",
        on_error: OnError = "raise",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
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
    def fit(self, X: Images, y: object = None) -> Self:
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
    def fit_transform(self, X: Images, y: object = None) -> np.ndarray:
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

    def transform(self, X: Images) -> np.ndarray:
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

    def transform_batches(self, X: Images, *, batch_size: int = 1000) -> Iterator[np.ndarray]:
        """Yield the features of images batch by batch, where all would not fit into memory.

        The features are those of `transform`. Parameters and the form of X are checked at
        once. An image is read when its batch comes: an error or a warning names all rows of
        that batch that are no readable images. Each batch has a progress bar of its own.

        Parameters
        ----------
        X : sequence of n_samples images
            As in `fit`.
        batch_size : int, default=1000
            Number of images in a batch; the last may have fewer.

        Yields
        ------
        features : float32 ndarray of shape (batch_size, n_features_out)
            An array, also after `set_output`.

        Raises
        ------
        InvalidImagesError
            As from `transform`, and all batches before it are kept in the cache.
        TypeError, ValueError
            `batch_size` is no positive whole number.

        Examples
        --------
        >>> import numpy as np
        >>> from sktransfer import PretrainedFeatureTransformer
        >>> X = np.zeros((250, 8, 8), np.uint8)
        >>> transformer = PretrainedFeatureTransformer("tiny", pooling="avg")
        >>> for features in transformer.transform_batches(X, batch_size=100):
        ...     print(features.shape)
        (100, 48)
        (100, 48)
        (50, 48)
        """
        self._validate_params()
        sources = check_images(self, X, reset=False)
        return self._batches(self._feature_extractor(), sources, batch_size)

    def transform_into(self, X: Images, out: Out, *, batch_size: int = 1000) -> Out:
        """Write the features of images into an array that need not be in memory.

        Parameters
        ----------
        X : sequence of n_samples images
            As in `fit`.
        out : array of shape (n_samples, n_features_out)
            Of a floating-point type: a `numpy.memmap`, a Zarr array, or any other that takes
            ``out[start:stop] = features``.
        batch_size : int, default=1000
            Number of images whose features are in memory at a time. If `out` is stored in
            chunks, a multiple of the rows of one writes each chunk once.

        Returns
        -------
        out : array of shape (n_samples, n_features_out)
            The same.

        Raises
        ------
        InvalidImagesError
            As from `transform`, and all batches before it are written.
        TypeError, ValueError
            `batch_size` is no positive whole number, or features do not fit into `out`.

        Examples
        --------
        >>> import numpy as np
        >>> from sktransfer import PretrainedFeatureTransformer
        >>> X = np.zeros((250, 8, 8), np.uint8)
        >>> transformer = PretrainedFeatureTransformer("tiny", pooling="avg")
        >>> out = np.empty((250, 48), np.float16)
        >>> transformer.transform_into(X, out, batch_size=100) is out
        True
        """
        self._validate_params()
        sources = check_images(self, X, reset=False)
        extractor = self._feature_extractor()
        _check_fits((len(sources), sum(map(math.prod, _shapes(extractor)))), out)
        done = 0
        for features in self._batches(extractor, sources, batch_size):
            out[done : done + len(features)] = features
            done += len(features)
        return out

    def layer_names(self) -> list[str]:
        """The names that `layer` can take, from the first layer to the last.

        Returns
        -------
        names : list of str
            Of the layers that have one output. The network is not built if the cache has what
            is known of it.

        Raises
        ------
        BackboneError
            There is no such backbone or weights file.

        See Also
        --------
        summary : Their shapes and parameters.

        Examples
        --------
        >>> from sktransfer import PretrainedFeatureTransformer
        >>> PretrainedFeatureTransformer("tiny").layer_names()[-2:]
        ['block3_conv2', 'block3_pool']
        """
        layers = self._info(self._source()).layers
        return [layer.name for layer in layers if layer.shape is not None]

    def summary(self) -> Summary:
        """The layers of the network, their shapes and their parameters.

        Returns
        -------
        summary : Summary
            Prints as a table. ``layers`` has ``name``, ``shape`` (of the output; None if
            there are several) and ``parameters`` (their number) of each layer.

        Raises
        ------
        BackboneError
            There is no such backbone or weights file.

        See Also
        --------
        layer_names : The names that `layer` can take.

        Examples
        --------
        >>> from sktransfer import PretrainedFeatureTransformer
        >>> PretrainedFeatureTransformer("tiny").summary().layers[-1].shape
        (4, 4, 48)
        """
        return summarize(self._info(self._source()), depths=[])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the features.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            The class name in lower case and a number. Of a list of layers, the class name, the
            layer and a number within its features, as in
            ``"pretrainedfeaturetransformer_conv_pw_5_relu_0"``.
        """
        names = super().get_feature_names_out(input_features)
        if not isinstance(self.layer, list):
            return names
        prefix = type(self).__name__.lower()
        sizes = zip(self.layer, self._layer_sizes, strict=True)
        names = [f"{prefix}_{name}_{i}" for name, size in sizes for i in range(size)]
        return np.asarray(names, dtype=object)

    @property
    def _n_features_out(self):
        return math.prod(self.feature_shape_)

    def _fit(self, X):
        check_images(self, X, reset=True)
        extractor = self._feature_extractor()
        if self.layer is None:
            extractor.info.warn_of_top("features are better taken below: layer={below}")
        shapes = _shapes(extractor)
        self._layer_sizes = [math.prod(shape) for shape in shapes]
        several = isinstance(self.layer, list)
        self.feature_shape_ = (sum(self._layer_sizes),) if several else shapes[0]

    def _transform(self, X, task=None):
        sources = check_images(self, X, reset=False)
        watch = watch_extraction(self.verbose, task)
        return self._features(self._feature_extractor(), sources, watch)

    def _batches(self, extractor, sources, size):
        check_scalar(size, "batch_size", numbers.Integral, min_val=1)
        watch = watch_extraction(self.verbose)
        return (
            self._features(extractor, sources[first : first + size], watch, first)
            for first in range(0, len(sources), size)
        )

    def _features(self, extractor, sources, watch, first=0):
        """The features of some images, whose rows of X are counted from `first`."""
        images = extractor.identify(sources, first=first, verbose=self.verbose)
        if self.on_error == "raise":
            extractor.refuse_bad(images)
        items = [(position, 0) for position in range(len(images))]
        rows = extractor.rows(images, items, extractor.cuts, watch=watch)
        if self.on_error == "raise":
            images.raise_if_bad()
        images.warn_of_bad("Their features are NaN.")
        parts = [part.reshape(len(part), math.prod(part.shape[1:])) for part in rows]
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def _feature_extractor(self):
        layers = self.layer if isinstance(self.layer, list) else [self.layer]
        if not layers:
            raise BackboneError("layer is an empty list; None is the last layer")
        source = self._source()
        reader = self._reader(source)  # or an error, before weights are downloaded
        info = self._info(source)
        reader = reader.for_network(info)
        cuts = [info.cut_at(layer, self.pooling) for layer in layers]
        return self._extractor(source, info, cuts, reader, self.precision)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _shapes(extractor):
    """The shapes of a row, at each cut."""
    return [extractor.shape(cut) for cut in extractor.cuts]


def _check_fits(shape, out):
    """Refuse an array that float32 features of a shape cannot be written into."""
    if tuple(out.shape) != shape:
        raise ValueError(f"out has shape {tuple(out.shape)}, and the features of X {shape}")
    if not np.can_cast(np.float32, out.dtype, "same_kind"):
        raise TypeError(f"out has dtype {out.dtype}: features need a floating-point type")
