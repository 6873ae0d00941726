"""What each stage of training looks up, runs and trains, layer by layer."""

from dataclasses import dataclass

from sktransfer._exceptions import warn

CACHED, FROZEN, TRAINED = "cached", "frozen", "trained"
WORDS = {True: "yes", False: "no", None: "not tried"}
HARDLY = 0.1  # of the frozen part: less than this below the cut deserves a warning


@dataclass(frozen=True)
class LayerSummary:
    """One layer, as `summary` of an estimator describes it."""

    name: str
    shape: tuple | None
    parameters: int
    stages: tuple


@dataclass(frozen=True)
class Summary:
    """All layers and stages, if any, as `summary` of an estimator describes them."""

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
        if self.cuts:
            rows += self._rows_of_stages()
        return _table(rows)

    def _rows_of_stages(self):
        rows = [
            (),
            ("cut, and where rows are taken", "", "", *self.cuts),
            ("parameters trained", "", "", *(f"{n:,}" for n in self.trained_parameters)),
            ("share of work cached", "", "", *(f"{x:.0%}" for x in self.cached_fractions)),
        ]
        if self.kept:
            rows.append(("kept", "", "", *(WORDS[kept] for kept in self.kept)))
        return rows

    __repr__ = __str__


def summarize(info, depths, n_head_parameters=None, kept=None):
    """Describe a network, and the stages of a fit.

    Parameters
    ----------
    info : NetworkInfo
    depths : list of Depth
        Of each stage; without any, the network alone is described.
    n_head_parameters : int or None
        None if the classes are not known yet.
    kept : dict or None
        Number of each stage that was run → whether it was kept.
    """
    layers = [
        LayerSummary(
            layer.name,
            layer.shape,
            layer.n_parameters,
            tuple(_state(i, layer, depth) for depth in depths),
        )
        for i, layer in enumerate(info.layers)
    ]
    if depths:
        layers.append(LayerSummary("head", (), n_head_parameters, (TRAINED,) * len(depths)))
    summary = Summary(
        tuple(layers),
        tuple(info.layers[depth.cut.position].name for depth in depths),
        tuple((n_head_parameters or 0) + _n_trained(info, depth) for depth in depths),
        tuple(_share_cached(info, depth) for depth in depths),
        () if kept is None else tuple(kept.get(i) for i in range(len(depths))),
    )
    for number, depth in enumerate(depths):
        if depth.first_trainable is not None:
            _warn_of_shallow_cut(number, info, depth)
    return summary


def _state(i, layer, depth):
    if i <= depth.cut.position and depth.cut.position != 0:  # pixels are not kept
        return CACHED
    first = depth.first_trainable
    return TRAINED if first is not None and i >= first and layer.n_trainable else FROZEN


def _n_trained(info, depth):
    if depth.first_trainable is None:
        return 0
    return sum(layer.n_trainable for layer in info.layers[depth.first_trainable :])


def _share_cached(info, depth):
    return info.share_of_work(info.layers[: depth.cut.position + 1])


def _warn_of_shallow_cut(number, info, depth):
    cached = _share_cached(info, depth)
    frozen = info.share_of_work(info.layers[: depth.first_trainable])
    if cached < HARDLY * frozen:
        first, cut = (info.layers[i] for i in (depth.first_trainable, depth.cut.position))
        warn(
            f"stage {number} trains from {first.name!r} on, but the nearest layer below it "
            f"that all the rest depends on is {cut.name!r}: {cached:.0%} of the work can be "
            f"cached, and the {frozen:.0%} that is frozen is repeated in every epoch; "
            "unfreeze=0 caches all of it"
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
