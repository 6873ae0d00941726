"""Which layers an `unfreeze` value names, and where the rows below them are cut.

On the facts about a network, in plain values: nothing here needs Keras.
"""

import math
from itertools import accumulate
from numbers import Integral, Real

from sktransfer._exceptions import BackboneError
from sktransfer._networks.source import nearest


def depths_of(unfreeze, facts):
    """Where each stage of training begins to train the network, and where it is cut.

    Parameters
    ----------
    unfreeze : int, float, str or tuple of them
        As in `FineTunedConvNetClassifier`.
    facts : dict
        As `FrozenNetwork` states them.

    Returns
    -------
    depths : list of (int or None, int)
        Of each stage, the first trainable layer and the cut below it, by position. The
        first stage trains the head alone: None, and the last layer.
    """
    values = unfreeze if isinstance(unfreeze, (tuple, list)) else (unfreeze,)
    firsts = [_first_trainable(value, facts) for value in values]
    firsts = [first for first in firsts if first is not None]
    # Below all that was trained so far, should a stage be shallower than the last.
    cuts = [cut_below(deepest, facts) for deepest in accumulate(firsts, min)]
    return [(None, facts["output"]), *zip(firsts, cuts, strict=True)]


def cut_below(position, facts):
    """The nearest layer below a position whose output is all that the rest depends on."""
    layers = facts["layers"]
    for cut in range(position - 1, -1, -1):
        passed_by = any(
            (source < cut < i) or (i <= cut < source)  # the latter of a layer used twice
            for i, layer in enumerate(layers)
            for source in layer["inputs"]
        )
        if layers[cut]["shape"] is not None and not passed_by:
            return cut
    return 0


def _first_trainable(value, facts):
    kernels = [i for i, layer in enumerate(facts["layers"]) if layer["kernel"]]
    if isinstance(value, str):
        return _named(value, facts)
    if isinstance(value, Integral) and not isinstance(value, bool):
        if not 0 <= value <= len(kernels):
            raise BackboneError(
                f"unfreeze={value}, but the backbone has {len(kernels)} layers with kernels"
            )
        return kernels[-value] if value else None
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= 1:
        return _first_trainable(math.ceil(value * len(kernels)), facts)
    raise BackboneError(
        f"unfreeze={value!r} is neither a number of layers, a fraction from 0.0 to 1.0, the "
        "name of a layer or block, nor 'all'"
    )


def _named(name, facts):
    if name == "all":
        return 1  # above the input
    names = [layer["name"] for layer in facts["layers"]]
    if name in names:
        return max(names.index(name), 1)
    for i, known in enumerate(names):
        if known.startswith(f"{name}_"):
            return max(i, 1)
    blocks = [known.split("_")[0] for known in names if "_" in known]
    raise BackboneError(
        f"no layer or block {name!r}; {nearest(name, list(dict.fromkeys([*names, *blocks])))}"
    )
