"""What a row depends on, beside the image: its namespace."""

import numpy as np

from sktransfer._images.decoding import RESIZE_FILTER, decoder
from sktransfer._networks.engines import openvino
from sktransfer._networks.source import FORMAT
from sktransfer._runtime.backend import arithmetic, keras_backend


def namespace_of(spec, facts, layer, pooling, dtype, engine):
    """All that changes a row, but for the image: in plain values."""
    token = spec.preprocessing_token
    return {
        "format": FORMAT,
        "network": facts["fingerprint"],
        "layer": layer,
        "pooling": pooling,
        "input_size": list(facts["input_size"]),
        "input_range": [float(bound) for bound in spec.input_range],
        "preprocessing": token,
        "resize": RESIZE_FILTER,
        "decoder": decoder(),
        "precision": spec.precision,
        "kept_as": np.dtype(dtype).name,
        "backend": keras_backend(),
        "arithmetic": arithmetic(),
        "engine": f"openvino {openvino.version()}" if engine == "openvino" else engine,
    }
