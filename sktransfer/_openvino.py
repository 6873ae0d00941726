"""A frozen network run by OpenVINO, faster on some processors than Keras' backends."""

import functools
import importlib.metadata
import os
import tempfile

from sktransfer._exceptions import BackboneError

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


@functools.cache
def version():
    """OpenVINO's, found without importing it.

    Raises
    ------
    ImportError
        It is not installed.
    """
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            "engine='openvino' needs OpenVINO: pip install 'sktransfer[openvino]'; "
            "engine='keras' does without"
        ) from error


def compiled(model, batch, precision, n_threads):
    """A Keras model as a function from an array of `batch` images to its outputs' arrays."""
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the files are gone before the network is
    with tempfile.TemporaryDirectory(prefix="sktransfer-") as folder:
        path = os.path.join(folder, "network.xml")
        try:
            model.export(path, format="openvino", verbose=False)
            network = core.read_model(path)
        except Exception as error:  # whatever Keras or OpenVINO finds no word for
            raise BackboneError(
                f"OpenVINO cannot take this network, which engine='keras' runs: {error}"
            ) from error
    # The outputs come first; dead ends, such as what only a gradient would use, follow.
    results = network.get_results()[: len(model.outputs)]
    network = openvino.Model(results, network.get_parameters())
    network.reshape((batch, *model.input_shape[1:]))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": n_threads,
    }
    run = core.compile_model(network, "CPU", settings)

    def rows(images):
        computed = run(images)
        return [computed[i] for i in range(len(results))]

    return rows
