"""What determines a network, in plain values, found without Keras."""

import functools
import hashlib
import json
import zipfile
from pathlib import Path

from sktransfer._networks.foreign import foreign_code
from sktransfer._networks.info import FORMAT
from sktransfer._runtime.backend import installed_version, keras_backend


def identity_of(kind, size, **what):
    """A dict that tells a network from others: plain values alone."""
    return {
        "format": FORMAT,
        "kind": kind,
        "size": size and list(size),
        "keras": installed_version("keras"),
        "backend": keras_backend(),
        **what,
    }


def config_in(path):
    """Keras' JSON in a .keras file, or none where it is damaged: loading it will say."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.read("config.json")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return "{}"


@functools.lru_cache(maxsize=64)
def names_code(config):
    """Whether Keras' JSON of a network names code that is not Keras' own."""
    try:
        layers = {**json.loads(config), "compile_config": None}
    except (TypeError, ValueError):  # damaged as well
        return False
    return foreign_code(layers) is not None


def sha256_of(path):
    """The hash of a file's content, in hexadecimal."""
    path = Path(path).absolute()
    status = path.stat()
    # The change time cannot be set by hand, unlike size and modification time.
    return _sha256_of_state(path, status.st_ino, status.st_size, status.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of_state(path, *_state):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
