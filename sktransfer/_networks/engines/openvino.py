"""OpenVINO, on some processors faster than Keras' backends."""

import functools
import os
import tempfile
import threading

from joblib import cpu_count

from sktransfer._exceptions import BackboneError
from sktransfer._runtime.backend import installed_version
from sktransfer._runtime.workers import granted_threads

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOEngine:
    """A frozen network run by OpenVINO on the CPU."""

    name = "openvino"

    def key(self):
        """Its version.

        Raises
        ------
        ImportError
            OpenVINO is not installed.
        """
        version = installed_version("openvino")
        if version is None:
            raise ImportError(
                "engine='openvino' needs OpenVINO: pip install 'sktransfer[openvino]'; "
                "engine='keras' needs nothing more"
            )
        return f"openvino {version}"

    def batch_sizes(self, info):
        """As Keras' engine has them on a CPU."""
        return (1, 4)

    def takes(self, dtypes):
        """One function serves all images."""
        return "float32"

    def compile(self, prefix, precision):
        model = prefix.from_pixels("float32")  # OpenVINO casts to its precision itself
        return _Compiled(_converted(model), precision)


class _Compiled:
    """A network compiled for each size of batches that comes.

    One for batches of any size would be slower by up to a seventh.
    """

    def __init__(self, network, precision):
        self._network = network
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": granted_threads() or cpu_count(),
        }
        self._of_size, self._lock = {}, threading.Lock()

    def submit(self, pixels):
        with self._lock:  # the network has one shape at a time
            if len(pixels) not in self._of_size:
                self._network.reshape(pixels.shape)
                self._of_size[len(pixels)] = _core().compile_model(
                    self._network, "CPU", self._settings
                )
        # A request of its own: threads cannot share one.
        computed = self._of_size[len(pixels)].infer_new_request(pixels)
        return [computed[i] for i in range(len(self._network.outputs))]

    def fetch(self, computed):
        return computed


@functools.cache
def _core():
    """The one core of the process, which is never dropped.

    A core sets the stack on which signals are handled. Where there were two, and both are
    dropped, OpenVINO 2026.4 leaves a stack that is no longer mapped: Ctrl-C would end the
    process with a segmentation fault.
    """
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the files are gone before the network is
    return core


def _converted(model):
    import openvino

    with tempfile.TemporaryDirectory(prefix="sktransfer-") as folder:
        path = os.path.join(folder, "network.xml")
        try:
            model.export(path, format="openvino", verbose=False)
            network = _core().read_model(path)
        except Exception as error:  # whatever Keras or OpenVINO finds no word for
            raise BackboneError(
                f"OpenVINO cannot take this network, which engine='keras' runs: {error}"
            ) from error
    # The outputs come first; dead ends, such as what only a gradient would use, follow.
    results = network.get_results()[: len(model.outputs)]
    return openvino.Model(results, network.get_parameters())
