"""`warm_up`: what the first prediction would have to wait for."""

import io
from typing import TypeVar

from sktransfer._deployment.nested import nested_estimators
from sktransfer._features.computing import load_network
from sktransfer._fine_tuning import FineTunedConvNet
from sktransfer._networks.engines import ENGINES

Model = TypeVar("Model")


def warm_up(estimator: Model) -> Model:
    """Load and compile the networks of an estimator, so that its first prediction is quick.

    Without it, the first image waits until TensorFlow is imported, the network is built and
    its functions are traced, which takes seconds. Call it where a service starts. Nothing is
    written to the cache.

    Parameters
    ----------
    estimator : estimator
        Any that holds estimators of this package, at any depth, such as `bundle` returns.

    Returns
    -------
    estimator : estimator
        The same.

    See Also
    --------
    bundle : Makes an estimator that holds its networks.

    Examples
    --------
    >>> from sktransfer import PretrainedFeatureTransformer, warm_up
    >>> transformer = warm_up(PretrainedFeatureTransformer("tiny", pooling="avg"))
    """
    for found in nested_estimators(estimator):
        twin = found._twin(cache_dir=None, verbose=0)
        if not isinstance(twin, FineTunedConvNet):
            _run(twin._transform, twin.engine, twin._source())
        elif twin.__sklearn_is_fitted__():
            _run(twin.predict, twin.engine, twin._fitted.source())
    return estimator


def _run(predict, engine, source):
    """Predict batches of all sizes that an engine compiles for a network."""
    for size in ENGINES[engine].batch_sizes(load_network(source).info):
        predict([_encoded(width=i + 1) for i in range(size)])


def _encoded(width):
    """A small photograph of some width as a file, which tells it from others."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, 1)).save(file, "JPEG")
    return file.getvalue()
