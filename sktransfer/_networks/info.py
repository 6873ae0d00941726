"""What is known of a network without building it: `NetworkInfo`, `LayerInfo` and `Cut`."""

from dataclasses import asdict, dataclass

from sktransfer._exceptions import BackboneError, nearest, warn
from sktransfer._images.resizing import STRETCHED, Resizing
from sktransfer._networks.preprocessing import ScaleAndOffset

FORMAT = 9  # of what the cache keeps: raised when a key, a row or an info changes its meaning


@dataclass(frozen=True)
class Cut:
    """A place in a network where rows are taken.

    Attributes
    ----------
    position : int
        Of the layer whose output is taken.
    pooling : {"avg", "max", "cls"} or None
        The mean or the maximum over all positions of an image, the class token, or nothing
        of this.
    """

    position: int
    pooling: str | None = None


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a network.

    Attributes
    ----------
    name : str
    shape : tuple of int or None
        Of its output, without the batch; None where that is not one tensor.
    has_kernel : bool
    n_parameters, n_trainable : int
        Number of its parameters, and of those that are trained when the layer is.
    macs : int
        Number of multiplications for one image.
    inputs : tuple of int
        Positions of the layers that it takes from.
    n_special : int
        Of tokens, the number of those that stand for no part of the image. They are the
        first, and of these the class token is the first.
    """

    name: str
    shape: tuple | None
    has_kernel: bool
    n_parameters: int
    n_trainable: int
    macs: int
    inputs: tuple
    n_special: int = 0


@dataclass(frozen=True)
class NetworkInfo:
    """A network, described.

    Attributes
    ----------
    fingerprint : str
        A hash of architecture and weights.
    input_size : (int, int)
        Height and width in pixels.
    layers : tuple of LayerInfo
    output : int
        Position of the last layer.
    below_top : int or None
        Position of the layer below a top that makes class scores, if there is one.
    preprocessing : ScaleAndOffset or None
        Which KerasHub says that it takes.
    resizing : Resizing
    """

    fingerprint: str
    input_size: tuple
    layers: tuple
    output: int
    below_top: int | None
    preprocessing: ScaleAndOffset | None = None
    resizing: Resizing = STRETCHED

    @classmethod
    def from_plain(cls, plain):
        """From what JSON makes of `to_plain`."""
        made = _with_tuples(plain)
        made["layers"] = tuple(LayerInfo(**_with_tuples(layer)) for layer in plain["layers"])
        if plain.get("preprocessing"):
            made["preprocessing"] = ScaleAndOffset(**_with_tuples(plain["preprocessing"]))
        if "resizing" in plain:
            made["resizing"] = Resizing(**plain["resizing"])
        return cls(**made)

    def to_plain(self):
        return asdict(self)

    def cut_at(self, layer, pooling=None):
        """The cut that a layer's name means; None is the last layer."""
        position = self.output if layer is None else self._position_of(layer)
        if pooling == "cls" and not self.layers[position].n_special:
            raise no_class_token(self.layers[position])
        return Cut(position, pooling)

    def row_shape(self, cut):
        shape = self.layers[cut.position].shape
        return shape if cut.pooling is None else shape[-1:]

    def cut_below(self, position):
        """The nearest cut below a layer whose rows are all that the rest depends on."""
        for below in range(position - 1, -1, -1):
            passed_by = any(
                (source < below < i) or (i <= below < source)  # the latter of a shared layer
                for i, layer in enumerate(self.layers)
                for source in layer.inputs
            )
            if self.layers[below].shape is not None and not passed_by:
                return Cut(below)
        return Cut(0)

    def kernel_positions(self):
        """Positions of the layers that have a kernel."""
        return [i for i, layer in enumerate(self.layers) if layer.has_kernel]

    def share_of_work(self, some):
        """The share of all multiplications that some of the layers have."""
        total = sum(layer.macs for layer in self.layers)
        return sum(layer.macs for layer in some) / total if total else float("nan")

    def warn_of_top(self, remedy):
        """Say that features would be class scores, and where to cut instead.

        Parameters
        ----------
        remedy : str
            With ``{below}`` for the name of the layer below the top.
        """
        if self.below_top is None:
            return
        top, below = self.layers[self.output], self.layers[self.below_top]
        warn(
            f"the network's top is still on: its last layer, {top.name!r}, makes scores of "
            f"the classes it knows; {remedy.format(below=repr(below.name))}"
        )

    def _position_of(self, name):
        names = [layer.name for layer in self.layers]
        if name not in names:
            raise BackboneError(f"no layer {name!r}; {nearest(name, names)}")
        position = names.index(name)
        if self.layers[position].shape is None:
            raise BackboneError(
                f"layer {name!r} has several outputs, or is used several times; the nearest "
                f"that has one: {self._nearest_cut(position)!r}"
            )
        return position

    def _nearest_cut(self, position):
        """The name of the layer nearest to a position, rather below, that can be cut at."""
        cuts = [i for i, layer in enumerate(self.layers) if layer.shape is not None]
        return self.layers[min(cuts, key=lambda i: abs(i - position))].name


def no_class_token(layer):
    """The error where pooling="cls" finds nothing to take."""
    return BackboneError(
        f"layer {layer.name!r} has no class token: pooling='avg' takes the mean over positions"
    )


def _with_tuples(plain):
    return {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
