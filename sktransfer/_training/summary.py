"""What each stage of training looks up, runs and trains, layer by layer."""

import math
from dataclasses import dataclass

from sktransfer._exceptions import warn

CACHED, FROZEN, TRAINED = "cached", "frozen", "trained"
HARDLY = 0.1  # of the frozen part: less than this below the cut deserves a warning


@dataclass(frozen=True)
class LayerSummary:
    """One layer, as `FineTunedConvNetClassifier.summary` describes it."""

    name: str
    shape: tuple | None
    parameters: int
    stages: tuple


@dataclass(frozen=True)
class Summary:
    """All layers and stages, as `FineTunedConvNetClassifier.summary` describes them."""

    layers: tuple
    cuts: tuple
    trained_parameters: tuple
    cached_fractions: tuple
    kept: tuple

    def __str__(self):
        numbers = range(len(self.cuts))
        rows = [("layer", "output", "parameters", *(f"stage {i}" for i in numbers)), ()]
        for layer in self.layers:
            shape = "several" if layer.shape is None else " × ".join(map(str, layer.shape))
            parameters = "?" if layer.parameters is None else f"{layer.parameters:,}"
            rows.append((layer.name, shape, parameters, *layer.stages))
        rows += [
            (),
            ("cut, and where rows are taken", "", "", *self.cuts),
            ("parameters trained", "", "", *(f"{n:,}" for n in self.trained_parameters)),
            ("share of work cached", "", "", *(f"{x:.0%}" for x in self.cached_fractions)),
        ]
        if self.kept:
            rows.append(("kept", "", "", *("yes" if kept else "no" for kept in self.kept)))
        return _table(rows)

    __repr__ = __str__


def summarize(facts, depths, head_parameters=None, kept=None):
    """Describe the stages of a fit.

    Parameters
    ----------
    facts : dict
        As `FrozenNetwork` states them.
    depths : list of (int or None, int)
        Of each stage, the first trainable layer and the cut, by position.
    head_parameters : int or None
        None if the classes are not known yet.
    kept : dict or None
        Number of each stage that was run → whether it was kept.
    """
    layers = facts["layers"]
    described = [
        LayerSummary(
            layer["name"],
            None if layer["shape"] is None else tuple(layer["shape"]),
            layer["parameters"],
            tuple(_state(i, layer, first, cut) for first, cut in depths),
        )
        for i, layer in enumerate(layers)
    ]
    described.append(LayerSummary("head", (), head_parameters, (TRAINED,) * len(depths)))
    trained = [
        sum(layer["trainable"] for layer in layers[first:]) if first is not None else 0
        for first, _ in depths
    ]
    summary = Summary(
        tuple(described),
        tuple(layers[cut]["name"] for _, cut in depths),
        tuple((head_parameters or 0) + n for n in trained),
        tuple(_work(layers[: cut + 1], layers) for _, cut in depths),
        () if kept is None else tuple(kept.get(i, False) for i in range(len(depths))),
    )
    for number, (first, cut) in enumerate(depths):
        if first is not None:
            _warn_of_shallow_cut(number, layers, first, cut)
    return summary


def _state(i, layer, first, cut):
    if i <= cut and cut != 0:  # pixels are not kept
        return CACHED
    return TRAINED if first is not None and i >= first and layer["trainable"] else FROZEN


def _work(some, layers):
    """The share of multiplications that some of the layers have."""
    total = sum(layer["macs"] for layer in layers)
    return sum(layer["macs"] for layer in some) / total if total else math.nan


def _warn_of_shallow_cut(number, layers, first, cut):
    cached, frozen = _work(layers[: cut + 1], layers), _work(layers[:first], layers)
    if cached < HARDLY * frozen:
        warn(
            f"stage {number} trains from {layers[first]['name']!r} on, but the nearest layer "
            f"below it that all the rest depends on is {layers[cut]['name']!r}: {cached:.0%} "
            f"of the work can be cached, and the {frozen:.0%} that is frozen is repeated in "
            "every epoch; unfreeze=0 caches all of it"
        )


def _table(rows):
    """Rows of text in columns, the numbers of parameters to the right."""
    widths = [max(map(len, column)) for column in zip(*filter(None, rows), strict=True)]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if i == 2 else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip() if row else "─" * (sum(widths) + 8))
    return "\n".join(lines)
