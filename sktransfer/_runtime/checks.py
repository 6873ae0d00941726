"""Checks that images and networks share."""

from numbers import Integral


def is_shape(value, lengths):
    """Whether value is a tuple, or the like, of so many whole numbers above 0."""
    return len(value) in lengths and all(
        isinstance(side, Integral) and not isinstance(side, bool) and side > 0
        for side in value
    )
