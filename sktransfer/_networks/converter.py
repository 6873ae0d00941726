"""What KerasHub says of a network's images, in its `ImageConverter`."""

from dataclasses import dataclass

import numpy as np

from sktransfer._images.resizing import Resizing
from sktransfer._networks.preprocessing import ScaleAndOffset


@dataclass(frozen=True)
class Converter:
    """What KerasHub says of a network's images.

    Attributes
    ----------
    arithmetic : ScaleAndOffset
    resizing : Resizing
    size : (int, int) or None
        Height and width.
    """

    arithmetic: ScaleAndOffset
    resizing: Resizing
    size: tuple | None

    @classmethod
    def from_plain(cls, plain):
        """From what `dataclasses.asdict` makes of one."""
        arithmetic, size = plain["arithmetic"], plain["size"]
        return cls(
            ScaleAndOffset(tuple(arithmetic["scale"]), tuple(arithmetic["offset"])),
            Resizing(**plain["resizing"]),
            size and tuple(size),
        )

    @classmethod
    def of(cls, converter):
        """What an `ImageConverter` does."""
        crop, pad = converter.crop_to_aspect_ratio, converter.pad_to_aspect_ratio
        fit = "crop" if crop else "pad" if pad else "stretch"
        return cls(
            ScaleAndOffset(
                _of_channels(converter.scale, 1), _of_channels(converter.offset, 0)
            ),
            Resizing(fit, converter.interpolation, bool(converter.antialias)),
            converter.image_size and tuple(converter.image_size),
        )


def _of_channels(values, default):
    values = default if values is None else values
    return tuple(float(value) for value in np.broadcast_to(np.ravel(values), 3))
