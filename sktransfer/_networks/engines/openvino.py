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


def compiled(model, precision, n_threads):
    """A Keras model as a function from an array of images to its outputs' arrays."""
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the files are gone before the network is
    network = _converted(core, model)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": n_threads,
    }

    @functools.cache
    def of_size(n_images):  # one for any number would be slower by up to a seventh
        network.reshape((n_images, *model.input_shape[1:]))
        return core.compile_model(network, "CPU", settings)

    def rows(images):
        computed = of_size(len(images))(images)
        return [computed[i] for i in range(len(model.outputs))]

    return rows


def _converted(core, model):
    import openvino

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
    return openvino.Model(results, network.get_parameters())
