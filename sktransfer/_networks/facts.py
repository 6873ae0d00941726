"""What is known of a network without building it, and what of it a row depends on.

The facts are plain values that `_frozen.FrozenNetwork` states of itself. The cache keeps them,
so that what is looked up needs no network, no Keras and no TensorFlow.
"""

from sktransfer._exceptions import BackboneError, warn
from sktransfer._networks.source import nearest


def find_facts(spec, cache):
    """What there is to know of a network, from the cache or from building it."""
    identity = spec.identity()
    facts = None if identity is None else cache.read_manifest(identity)
    if facts is None:
        facts = load_network(spec).facts
        note_facts(spec, facts, cache)
    return facts


def note_facts(spec, facts, cache):
    identity = spec.identity()  # again: the weights may have been downloaded just now
    if identity is not None:
        cache.write_manifest(identity, facts)


def load_network(spec):
    # And so Keras: not before something must be computed.
    from sktransfer._networks import frozen

    return frozen.load(spec)


def position_of(facts, layer):
    """Where a layer stands in a network's list: by name, by position, or None, its end."""
    if isinstance(layer, int):
        return layer
    if layer is None:
        return facts["output"]
    names = [known["name"] for known in facts["layers"]]
    if layer not in names:
        raise BackboneError(f"no layer {layer!r}; {nearest(layer, names)}")
    position = names.index(layer)
    if facts["layers"][position]["shape"] is None:
        raise BackboneError(
            f"layer {layer!r} has several outputs, or is used several times; the nearest that "
            f"has one: {_nearest_cut(facts, position)!r}"
        )
    return position


def _nearest_cut(facts, position):
    """The name of the layer nearest to a position, rather below, that can be cut at."""
    cuts = [i for i, layer in enumerate(facts["layers"]) if layer["shape"] is not None]
    return facts["layers"][min(cuts, key=lambda i: abs(i - position))]["name"]


def warn_of_top(facts, remedy):
    """Say that features of a network would be class scores, and where to cut instead.

    Parameters
    ----------
    facts : dict
    remedy : str
        With ``{below}`` for the name of the layer below the top.
    """
    if facts["below_top"] is not None:
        top, below = (facts["layers"][facts[place]] for place in ("output", "below_top"))
        warn(
            f"the network's top is still on: its last layer, {top['name']!r}, makes scores of "
            f"the classes it knows; {remedy.format(below=repr(below['name']))}"
        )


def row_shape(facts, position, pooling):
    shape = facts["layers"][position]["shape"]
    return tuple(shape if pooling is None else shape[-1:])
