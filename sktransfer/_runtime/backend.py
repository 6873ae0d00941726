"""What is known of Keras and what computes for it, without importing either."""

import functools
import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"  # set before TensorFlow is loaded, unless the user did


def keras_home():
    """Keras' folder, resolved as Keras 3 resolves it at import."""
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"])
    home = os.path.expanduser("~")
    return Path(home if os.access(home, os.W_OK) else "/tmp") / ".keras"


def weights_folder():
    """Where `keras.utils.get_file` keeps downloaded weights."""
    home = keras_home().expanduser()
    if not os.access(home, os.W_OK):
        base = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()
        home = Path(base) / ".keras"
    return home / "models"


def keras_backend():
    """The name of Keras' backend, without importing Keras where it is not."""
    # Another thread may be importing Keras: then it is there, but not its configuration.
    config = getattr(sys.modules.get("keras"), "config", None)
    if config is not None:
        return config.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    try:
        settings = json.loads((keras_home().expanduser() / "keras.json").read_text())
        return settings.get("backend", "tensorflow")
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


@functools.cache  # also that there is none, which takes a search of all folders
def installed_version(distribution):
    """The version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
