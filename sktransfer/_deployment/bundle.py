"""`bundle`: a fitted estimator whose networks travel with it."""

from typing import TypeVar

from sktransfer._deployment.nested import copied, nested_estimators
from sktransfer._features.computing import load_network
from sktransfer._networks.preprocessing import AS_KERAS_HUB_SAYS
from sktransfer._transformer import PretrainedFeatureTransformer
from sktransfer._typing import Path

Model = TypeVar("Model")


def bundle(estimator: Model, *, cache_dir: Path | None = None) -> Model:
    """A copy of an estimator that predicts anywhere, its networks packed inside.

    A stored `PretrainedFeatureTransformer` has a few hundred bytes: where it is loaded, it
    needs the file that Keras downloads, or the ``.keras`` file that its `backbone` names.
    A bundle needs nothing but itself. Store it with `joblib.dump` or `skops.io.dump`.

    Each transformer gets the network in place of its name, and what `preprocessing` and
    `input_size` mean for it. Its features stay the same to the bit.
    `FineTunedConvNetClassifier` and `FineTunedConvNetRegressor` hold their network in any
    case, and predict without its file. To be fitted again, they need it.

    Parameters
    ----------
    estimator : estimator
        Any that holds estimators of this package, at any depth: a Pipeline, a
        ColumnTransformer, a search, an ensemble; or one of them.
    cache_dir : path, "default" or None, default=None
        Where the copy keeps features. None keeps nothing of the images that it is given:
        most often they are other people's, and come once.

    Returns
    -------
    bundled : estimator
        Of the same class, fitted if `estimator` is. `backbone` of its transformers is a
        `PackedNetwork`, which clones share.

    Raises
    ------
    ValueError
        There is no estimator of this package in it.
    BackboneError
        The network cannot be built: it must be there when it is packed.

    See Also
    --------
    to_keras : A Keras model instead, for services without scikit-learn.
    warm_up : Loads the network before the first request.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sktransfer import PretrainedFeatureTransformer, bundle
    >>> X, y = load_digits(return_X_y=True)
    >>> pipe = make_pipeline(
    ...     PretrainedFeatureTransformer("tiny", image_shape=(8, 8), input_range=(0, 16)),
    ...     LogisticRegression(max_iter=1000),
    ... ).fit(X[:100], y[:100])
    >>> bundled = bundle(pipe)
    >>> bool((bundled.predict(X[100:200]) == pipe.predict(X[100:200])).all())
    True
    """
    if not nested_estimators(estimator):
        raise ValueError(
            f"this {type(estimator).__name__} holds no estimator of sktransfer, so there is "
            "no network to pack"
        )
    return copied(estimator, _Packer(cache_dir))


class _Packer:
    """Makes estimators carry their network, which those of the same network share."""

    def __init__(self, cache_dir):
        self._cache_dir, self._packed = cache_dir, {}

    def __call__(self, estimator):
        if not isinstance(estimator, PretrainedFeatureTransformer):
            return estimator._twin(cache_dir=self._cache_dir)
        return estimator._twin(cache_dir=self._cache_dir, **self._network_of(estimator))

    def _network_of(self, transformer):
        """The parameters of a transformer that say which network it runs, and on what."""
        source = transformer._source()
        how = transformer._reader(source).preprocessing.how
        network = load_network(source)
        if network not in self._packed:
            self._packed[network] = network.pack()
        return {
            "backbone": self._packed[network],
            "weights": "pretrained",
            "backbone_params": None,
            "input_size": network.info.input_size,
            "preprocessing": "backbone" if how == AS_KERAS_HUB_SAYS else how,
        }
