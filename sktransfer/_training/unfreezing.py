"""Which layers an `unfreeze` value names, and where the rows below them are cut.

On what is known of a network, in plain values: nothing here needs Keras.
"""

import math
from dataclasses import dataclass
from itertools import accumulate
from numbers import Integral, Real

from sktransfer._exceptions import BackboneError, nearest
from sktransfer._networks.info import Cut

LADDER = (0.5, "all")  # what "auto" tries, one after the other; docs/recipes.md says why


@dataclass(frozen=True)
class Depth:
    """How much of the network a stage trains.

    Attributes
    ----------
    first_trainable : int or None
        Position of the lowest layer that is trained; None trains the head alone.
    cut : Cut
        Where its rows are taken, without pooling.
    """

    first_trainable: int | None
    cut: Cut


def is_ladder(unfreeze):
    """Whether the data choose how much of the network is trained."""
    return isinstance(unfreeze, str) and unfreeze == "auto"


def depths_of(unfreeze, info):
    """How much of the network each stage of training trains.

    Parameters
    ----------
    unfreeze : int, float, str or tuple of them
        As in `FineTunedConvNetClassifier`.
    info : NetworkInfo

    Returns
    -------
    depths : list of Depth
        The first stage trains the head alone.
    """
    if is_ladder(unfreeze):
        unfreeze = LADDER
    values = unfreeze if isinstance(unfreeze, (tuple, list)) else (unfreeze,)
    firsts = [_first_trainable(value, info) for value in values]
    firsts = [first for first in firsts if first is not None]
    # Below all that was trained so far, should a stage be shallower than the last.
    cuts = [info.cut_below(deepest) for deepest in accumulate(firsts, min)]
    return [Depth(None, Cut(info.output)), *map(Depth, firsts, cuts)]


def _first_trainable(value, info):
    kernels = info.kernel_positions()
    if isinstance(value, str):
        return _named(value, info)
    if isinstance(value, Integral) and not isinstance(value, bool):
        if not 0 <= value <= len(kernels):
            raise BackboneError(
                f"unfreeze={value}, but the backbone has {len(kernels)} layers with kernels"
            )
        return kernels[-value] if value else None
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= 1:
        return _first_trainable(math.ceil(value * len(kernels)), info)
    raise BackboneError(
        f"unfreeze={value!r} is neither a number of layers, a fraction from 0.0 to 1.0, the "
        "name of a layer or block, nor 'all'"
    )


def _named(name, info):
    if name == "all":
        return 1  # above the input
    names = [layer.name for layer in info.layers]
    if name in names:
        return max(names.index(name), 1)
    for i, known in enumerate(names):
        if known.startswith(f"{name}_"):
            return max(i, 1)
    blocks = [known.split("_")[0] for known in names if "_" in known]
    raise BackboneError(
        f"no layer or block {name!r}; {nearest(name, list(dict.fromkeys([*names, *blocks])))}"
    )
