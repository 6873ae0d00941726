"""What the promise about bits comes to, on the processor that runs the tests."""

import numpy as np

from sktransfer._networks.engines import ENGINES
from sktransfer._runtime.backend import keras_backend


def assert_same_features(got, expected):
    """Features of the same images in other company: equal, to the bit where oneDNN computes.

    Elsewhere the place of an image in a batch may change its last bits: then to a millionth
    of the largest feature or, by JAX and PyTorch, to a hundred-thousandth of all of them.
    """
    if "oneDNN" in ENGINES["keras"].key():
        np.testing.assert_array_equal(got, expected)
    elif keras_backend() != "tensorflow":
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)
    else:
        atol = 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)
