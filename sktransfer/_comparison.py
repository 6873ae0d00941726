"""`compare_backbones`: several networks on one's own images."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sktransfer._transformer import PretrainedFeatureTransformer
from sktransfer._typing import Backbone, Images

BACKBONES = ("mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_v2_b0")
N_TIMED = 20  # images that are timed


@dataclass(frozen=True)
class BackboneComparison:
    """What one network brings, as `compare_backbones` returns it.

    Attributes
    ----------
    backbone : str, path or keras.Model
    mean_score, std_score : float
        Mean and standard deviation over the folds of cross-validation.
    ms_per_image : float
        Milliseconds that an image takes that is not in the cache: decoding and the network.
    n_features : int
    n_parameters : int
        Of the network up to its last layer. Each takes 4 bytes.

    See Also
    --------
    compare_backbones : Returns one for each network.

    Examples
    --------
    >>> from sktransfer import BackboneComparison
    >>> one = BackboneComparison("vgg16", 0.91, 0.02, 99.0, 512, 14_714_688)
    >>> f"{one.backbone}: {one.mean_score}, {4 * one.n_parameters / 1e6:.0f} MB"
    'vgg16: 0.91, 59 MB'
    """

    backbone: object
    mean_score: float
    std_score: float
    ms_per_image: float
    n_features: int
    n_parameters: int


def compare_backbones(
    X: Images,
    y: Any,
    backbones: Iterable[Backbone] = BACKBONES,
    *,
    transformer: PretrainedFeatureTransformer | None = None,
    estimator: Any = None,
    cv: Any = 5,
    scoring: Any = None,
) -> list[BackboneComparison]:
    """Try several networks on images: how accurate, how quick and how large each one is.

    Features of each network are computed once and kept in the cache, as ever: what is
    compared here need not be computed again later.

    Parameters
    ----------
    X : sequence of n_samples images
        As in `PretrainedFeatureTransformer.fit`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        What is predicted.
    backbones : sequence of str, path or keras.Model
        Each as `PretrainedFeatureTransformer` takes it. Parameters of a network go into its
        name, as in ``"mobilenet?alpha=0.75"``.
    transformer : PretrainedFeatureTransformer, default=None
        Further parameters: its `backbone` is replaced. None is one with ``pooling="avg"``.
    estimator : estimator, default=None
        What follows the features. None is a `StandardScaler` and a
        ``LogisticRegression(C=0.01, max_iter=1000)``, for classes. For numbers, pass a
        regressor, such as `RidgeCV`.
    cv : int, cross-validation generator or iterable, default=5
        As in scikit-learn's `cross_val_score`. The folds are the same for all networks.
    scoring : str or callable, default=None
        As in scikit-learn's `cross_val_score`.

    Returns
    -------
    comparison : list of BackboneComparison
        One for each network, in their order. `pandas.DataFrame` takes it as it is.

    Raises
    ------
    BackboneError
        There is no such backbone, or its weights cannot be downloaded.
    InvalidImagesError
        Rows of X are no readable images.

    See Also
    --------
    list_backbones : What there is to choose from.
    sklearn.model_selection.GridSearchCV : Searches over `backbone` and everything else.

    Notes
    -----
    The best of several scores is a little too good, since chance had a part in it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import PretrainedFeatureTransformer, compare_backbones
    >>> X, y = load_digits(return_X_y=True)
    >>> [tiny] = compare_backbones(
    ...     X[:100].reshape(-1, 8, 8),
    ...     y[:100],
    ...     ["tiny"],
    ...     transformer=PretrainedFeatureTransformer(input_range=(0, 16), pooling="avg"),
    ... )
    >>> tiny.n_features, tiny.mean_score > 0.8
    (48, True)
    """
    from sklearn.linear_model import LogisticRegression  # which importing us need not wait for
    from sklearn.model_selection import check_cv, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if transformer is None:
        transformer = PretrainedFeatureTransformer(pooling="avg")
    if estimator is None:
        estimator = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    folds = list(check_cv(cv, y, classifier=is_classifier(estimator)).split(X, y))
    compared = []
    for backbone in backbones:
        model = clone(transformer).set_params(backbone=backbone)
        features = model.fit_transform(X)
        scores = cross_val_score(estimator, features, y, cv=folds, scoring=scoring)
        compared.append(
            BackboneComparison(
                backbone,
                float(np.mean(scores)),
                float(np.std(scores)),
                _ms_per_image(model, X),
                features.shape[1],
                sum(layer.parameters for layer in model.summary().layers),
            )
        )
    return compared


def _ms_per_image(transformer, X):
    """Milliseconds for one of the first images, none of them looked up."""
    timed = clone(transformer).set_params(cache_dir=None, verbose=0)
    n = min(_num_samples(X), N_TIMED)
    some = _safe_indexing(X, np.arange(n))
    timed.transform(some)  # traces the network
    started = time.perf_counter()
    timed.transform(some)
    return 1000 * (time.perf_counter() - started) / n
