"""The networks by name, described and timed: ``python -m benchmarks.backbones``.

Builds each without its weights, at its native size, in a process of its own. Writes the page
``docs/backbones.md`` and the file that `list_backbones` reads. Takes a quarter of an hour on 2
idle cores, and 5 GB for the largest.
"""

import csv
import json
import math
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.__main__ import processor
from sktransfer import FineTunedConvNetClassifier
from sktransfer._features.extractor import load_network
from sktransfer._networks.catalogue import FAMILIES, MEASURED
from sktransfer._networks.source import source_of

PAGE = Path("docs/backbones.md")
KEPT = ("name", "n_features", "n_parameters", "macs", "images_per_second")  # in `MEASURED`
BATCH = 4  # images at a time
FEWEST, MOST, SECONDS = 3, 20, 5  # rounds, of which no more than a few seconds
RECOMMENDED = {
    "mobilenet_v3_large": "fastest: for a first try, and for small machines",
    "efficientnet_v2_b0": "balanced: the default",
    "efficientnet_v2_s": "best: where a tenth of a second an image is not too much",
}

HEAD = """\
# Choosing a network

All networks of `keras.applications` without their tops, at their native sizes, and the
embedded `"tiny"`. Written by `python -m benchmarks.backbones`. In Python, `list_backbones()`
returns the table under [Features](#features).

## Which one

| name | accuracy on ImageNet, % | images/s | advice |
|---|--:|--:|---|
{advice}

A network that is better on ImageNet mostly has better features, too. To find the best one for
your images: `compare_backbones(X, y, ["mobilenet_v3_large", "efficientnet_v2_b0"])`, or
`sktransfer compare FOLDER --backbone mobilenet_v3_large --backbone efficientnet_v2_b0`.

**`"efficientnet_v2_b0"` is the default.** It is far more accurate than what is quicker on a
CPU, and far quicker than what is more accurate. VGG16, which tutorials like to use, needs 21
times the multiplications and is less accurate by 7 points.

## Weights

Keras downloads ImageNet weights once. They go into `~/.keras/models`, or into the folder
`models` of the folder that the environment variable `KERAS_HOME` names. On a machine without
Internet access, put copies of the files there. A file given as `weights` is loaded into the
network that `weights=None` builds. The ImageNet weights of EfficientNet B0 to B7 do not fit
that network: with `weights="imagenet"` it has one more layer.

## Features

*Accuracy* is that of the whole network, with its top, on ImageNet's validation images (top-1),
as [Keras states it](https://keras.io/api/applications/). *Images/s* is how many go through the
network, without decoding, in float32, {batch} at a time, with random weights, on {cores} cores
of {processor}; compare them with one another only. *Flattened* and *pooled* are the numbers of
features of one image after the last layer, with `pooling=None` and `pooling="avg"` or `"max"`.
*Parameters* are in millions; multiplications (*MACs*), of kernels for one image, in billions.
`layer` may be any of the *layers*.

| name | pixels | accuracy | images/s | flattened | pooled | parameters | MACs | layers |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
{features}

## Fine-tuning

A *cut* is a layer whose output is all that the rest of the network depends on. Training is cut
at the nearest one below the first trained layer. The table gives the number of cuts. For
`unfreeze=1` and `unfreeze=3` it gives the first layer that is trained, the number of trained
parameters in millions (without the head), the cut, and the share of multiplications below it.
These are done once for each view of an image.

| name | cuts | `unfreeze=1` trains from | cut at | `unfreeze=3` trains from | cut at |
|---|--:|---|---|---|---|
{depths}
"""


def measure(name):
    """What is known of a network once it is built, in plain values."""
    estimator = FineTunedConvNetClassifier(name, weights=None, unfreeze=(1, 3), cache_dir=None)
    network = load_network(source_of(name, weights=None))
    info = network.info
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cuts that leave little: the page tells
        summary = estimator.summary()
    layers, shape = info.layers, info.row_shape(info.cut_at(None))
    depths = [sum(info.cut_below(i + 1).position == i for i in range(len(layers)))]
    for stage in (1, 2):
        first = next(
            layer.name for layer in summary.layers if layer.stages[stage] == "trained"
        )
        trained = summary.trained_parameters[stage] / 1e6
        depths.append(f"`{first}`: {trained:.2f}")
        depths.append(f"`{summary.cuts[stage]}`: {summary.cached_fractions[stage]:.0%}")
    return {
        "name": name,
        "n_features": shape[-1],
        "n_parameters": sum(layer.n_parameters for layer in layers),
        "macs": sum(layer.macs for layer in layers),
        "images_per_second": float(f"{images_per_second(network):.3g}"),
        "flattened": math.prod(shape),
        "layers": len(layers),
        "depths": depths,
    }


def images_per_second(network):
    """How many images go through a network in a second: the median of some rounds."""
    info = network.info
    cuts = [info.cut_at(None, "avg")]
    images = list(np.zeros((BATCH, *info.input_size, 3), np.uint8))
    network.rows(images, cuts)  # traces
    seconds = []
    while len(seconds) < FEWEST or (len(seconds) < MOST and sum(seconds) < SECONDS):
        started = time.perf_counter()
        network.rows(images, cuts)
        seconds.append(time.perf_counter() - started)
    return BATCH / np.median(seconds)


def features(known):
    """A network's row in the table of features."""
    family = FAMILIES[known["name"]]
    return row(
        f"`{known['name']}`",
        family.native_size,
        family.top_1 or "",
        f"{known['images_per_second']:.3g}",
        f"{known['flattened']:,}",
        f"{known['n_features']:,}",
        f"{known['n_parameters'] / 1e6:.1f}",
        f"{known['macs'] / 1e9:.3g}",
        known["layers"],
    )


def row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def in_a_process(name):
    print(name, file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks.backbones", name]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main():
    networks = {name: in_a_process(name) for name in FAMILIES}
    with MEASURED.open("w", newline="") as file:
        writer = csv.DictWriter(file, KEPT, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(networks.values())
    advice = [
        row(f"`{name}`", FAMILIES[name].top_1, f"{known['images_per_second']:.3g}", text)
        for name, text in RECOMMENDED.items()
        for known in [networks[name]]
    ]
    page = HEAD.format(
        advice="\n".join(advice),
        batch=BATCH,
        cores=os.cpu_count(),
        processor=f"an {processor()}",
        features="\n".join(map(features, networks.values())),
        depths="\n".join(row(f"`{k['name']}`", *k["depths"]) for k in networks.values()),
    )
    PAGE.write_text(page)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
