"""Where KerasHub's networks come from: a preset's name, a handle, or a folder.

What determines a network is found without Keras and KerasHub, by the preset's files.
"""

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sktransfer._exceptions import BackboneError
from sktransfer._networks.identity import identity_of, sha256_of
from sktransfer._networks.preprocessing import AS_KERAS_HUB_SAYS
from sktransfer._runtime.backend import installed_version

PREFIX = "hub:"
WEIGHTS = ("*.weights.h5", "*.safetensors")
FILES = (
    "config.json",
    "image_converter.json",
    "preprocessor_config.json",
    "*.weights.json",
    "*.safetensors.index.json",
    *WEIGHTS,
)


@dataclass(frozen=True)
class HubSource:
    """A network of KerasHub.

    Attributes
    ----------
    preset : str
        The name of a preset, a handle (``hf://…``, ``kaggle://…``) or the path of a folder.
    asked_size : (int, int) or None
        Height and width; None is the preset's own.
    """

    preset: str
    asked_size: tuple | None

    has_automatic_names = True

    def __post_init__(self):
        if self._is_path and not os.path.isfile(os.path.join(self.preset, "config.json")):
            problem = "has no config.json" if os.path.isdir(self.preset) else "is no folder"
            raise BackboneError(
                f"{self.preset!r} {problem}: a preset's folder has a config.json, weights "
                "(*.weights.h5, or *.safetensors as timm and transformers store them) and, of "
                "KerasHub's own, an image_converter.json"
            )

    @property
    def _is_path(self):
        has_scheme = "://" in self.preset
        return not has_scheme and (os.sep in self.preset or os.path.isdir(self.preset))

    def own_preprocessing(self):
        """What the preset's `ImageConverter` does, which the network's info tells."""
        return AS_KERAS_HUB_SAYS

    def identity(self):
        """What determines the network; None if its files are not there yet."""
        files = self._files()
        names = {path.name for path in files}
        if "config.json" not in names or not any(map(_is_weights, files)):
            return None
        return identity_of(
            "hub",
            self.asked_size,
            keras_hub=installed_version("keras-hub"),
            files=[[path.name, sha256_of(path)] for path in files],
        )

    def identity_of_built(self):
        """None: what determines it are files, which are there once it is built."""
        return

    def build(self):
        from sktransfer._networks.kerashub import load

        try:
            with contextlib.redirect_stdout(sys.stderr):  # what is said of a download
                return load(self.preset, self.asked_size)
        except BackboneError:
            raise
        except ImportError as error:
            raise ImportError(f"{error}: pip install 'sktransfer[hub]'") from error
        except Exception as error:  # whatever a folder can hold, or a connection can do
            raise BackboneError(self._how_to_provide(error)) from error

    def _how_to_provide(self, error):
        """What to do about a preset that could not be loaded."""
        if self._is_path:
            return f"the preset {self.preset!r} cannot be loaded: {error}"
        place = hugging_face_folder() if self.preset.startswith("hf:") else kaggle_folder()
        return (
            f"the preset {self.preset!r} cannot be loaded: {str(error).rstrip('.')}. It needs "
            "config.json, image_converter.json and *.weights.h5 (or *.safetensors), which are "
            f"not in {place} and could not be downloaded. Without Internet access, put a copy "
            "of the preset's files into a folder, and pass that: backbone='hub:/the/folder'"
        )

    def _files(self):
        """The files that a network is made of, as far as they are there."""
        return sorted(
            {
                path
                for folder in self._folders()
                for kind in FILES
                for path in folder.glob(kind)
            }
        )

    def _folders(self):
        """Where its files are, or would be."""
        if self._is_path:
            return [Path(self.preset)]
        scheme, _, handle = self.preset.rpartition("://")
        if scheme == "hf":
            return _hugging_face_folders(handle)
        if scheme == "kaggle":
            return list(kaggle_folder().glob(_kaggle_pattern(handle)))
        return list(kaggle_folder().glob(f"*/*/[kK]eras/{self.preset}/*"))


def _is_weights(path):
    return any(path.match(kind) for kind in WEIGHTS)


def kaggle_folder():
    """Where `kagglehub` keeps models."""
    home = os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache/kagglehub"
    return Path(home) / "models"


def _kaggle_pattern(handle):
    """Of owner/model/framework/variation, and its version or any."""
    return handle if handle.count("/") == 4 else f"{handle}/*"


def hugging_face_folder():
    """Where `huggingface_hub` keeps models."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = os.environ.get("HF_HOME") or Path(cache) / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _hugging_face_folders(handle):
    """The one of the version that was downloaded last."""
    folder = hugging_face_folder() / f"models--{handle.replace('/', '--')}"
    try:
        revision = (folder / "refs/main").read_text().strip()
    except OSError:
        return []
    return [folder / "snapshots" / revision]
