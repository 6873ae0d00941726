"""Infos of networks that are slow to build, stored by fixtures/make_infos.py."""

import importlib.metadata
import json
from pathlib import Path

from architectures import smallest_size
from networks import network

from sktransfer._networks.info import NetworkInfo
from sktransfer._runtime.backend import keras_backend

FOLDER = Path(__file__).parent / "fixtures/infos"
SIZES = {
    "inception_v3": smallest_size("inception_v3"),
    "mobilenet": (224, 224),  # as in the papers, which state their work
    "mobilenet_v2": smallest_size("mobilenet_v2"),
    "resnet50": (224, 224),
    "tiny": (32, 32),
    "vgg16": (224, 224),
    "xception": smallest_size("xception"),
}


def stored_info(name):
    """The `NetworkInfo` of a network of random weights, as it was when it was stored."""
    return NetworkInfo.from_plain(stored(name)["info"])


def stored(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def store(name):
    """Store the info of a network as it is built now."""
    plain = {"versions": versions(), "info": built_info(name).to_plain()}
    (FOLDER / f"{name}.json").write_text(json.dumps(plain, separators=(",", ":")) + "\n")


def built_info(name):
    return network(name, weights=None, size=SIZES[name]).info


def versions():
    """What random weights, and so a fingerprint, depend on."""
    names = ("keras", "tensorflow")
    return {"backend": keras_backend()} | {n: importlib.metadata.version(n) for n in names}
