"""The networks by name, as a page: ``python -m benchmarks.backbones > docs/backbones.md``.

Builds each without its weights, at its native size, in a process of its own. Takes ten minutes
on 2 idle cores, and 5 GB for the largest.
"""

import math
import os
import subprocess
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from sktransfer import FineTunedConvNetClassifier
from sktransfer._features.extractor import load_network
from sktransfer._networks.catalogue import FAMILIES
from sktransfer._networks.source import source_of

HEAD = """\
# Networks by name

All networks of `keras.applications` without their tops, at their native sizes, and the
embedded `"tiny"`. Written by `python -m benchmarks.backbones`.

Keras downloads ImageNet weights once. They go into `~/.keras/models`, or into the folder
`models` of the folder that the environment variable `KERAS_HOME` names. On a machine without
Internet access, put copies of the files there. A file given as `weights` is loaded into the
network that `weights=None` builds. The ImageNet weights of EfficientNet B0 to B7 do not fit
that network: with `weights="imagenet"` it has one more layer.

## Features

*Flattened* and *pooled* are the numbers of features of one image after the last layer, with
`pooling=None` and `pooling="avg"` or `"max"`. *Parameters* are in millions; multiplications
(*MACs*), of kernels for one image, in billions. `layer` may be any of the *layers*.

| name | pixels | flattened | pooled | parameters | MACs | layers |
|---|--:|--:|--:|--:|--:|--:|
"""

FINE_TUNING = """
## Fine-tuning

A *cut* is a layer whose output is all that the rest of the network depends on. Training is cut
at the nearest one below the first trained layer. The table gives the number of cuts. For
`unfreeze=1` and `unfreeze=3` it gives the first layer that is trained, the number of trained
parameters in millions (without the head), the cut, and the share of multiplications below it.
These are done once for each view of an image.

| name | cuts | `unfreeze=1` trains from | cut at | `unfreeze=3` trains from | cut at |
|---|--:|---|---|---|---|
"""


def describe(name):
    """The two rows of a network."""
    estimator = FineTunedConvNetClassifier(name, weights=None, unfreeze=(1, 3), cache_dir=None)
    info = load_network(source_of(name, weights=None)).info
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cuts that leave little: the page tells
        summary = estimator.summary()
    layers, shape = info.layers, info.row_shape(info.cut_at(None))
    features = [
        FAMILIES[name].native_size,
        f"{math.prod(shape):,}",
        f"{shape[-1]:,}",
        f"{sum(layer.n_parameters for layer in layers) / 1e6:.1f}",
        f"{sum(layer.macs for layer in layers) / 1e9:.3g}",
        len(layers),
    ]
    depths = [sum(info.cut_below(i + 1).position == i for i in range(len(layers)))]
    for stage in (1, 2):
        first = next(
            layer.name for layer in summary.layers if layer.stages[stage] == "trained"
        )
        trained = summary.trained_parameters[stage] / 1e6
        depths.append(f"`{first}`: {trained:.2f}")
        depths.append(f"`{summary.cuts[stage]}`: {summary.cached_fractions[stage]:.0%}")
    return [row([f"`{name}`", *cells]) for cells in (features, depths)]


def row(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def main():
    tables = []
    for name in FAMILIES:
        print(name, file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.backbones", name]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        tables.append(result.stdout.splitlines())
    features, depths = zip(*tables, strict=True)
    print(HEAD + "\n".join(features) + "\n" + FINE_TUNING + "\n".join(depths))


if __name__ == "__main__":
    if sys.argv[1:]:
        print(*describe(sys.argv[1]), sep="\n")
    else:
        main()
