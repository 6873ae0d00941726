"""Which rows are there: looked up, kept, and room made for them."""

import itertools
import math
import time
from collections import defaultdict

import numpy as np

from sktransfer._exceptions import CacheWarning, warn
from sktransfer._features.keys import KeyMaker, namespace
from sktransfer._features.segments import BESIDE_BYTES

# Rows of an unaltered image are kept as computed; those of its augmented views, which only
# training sees, in half the space: no accuracy is lost (docs/benchmarks.md).
UNALTERED, AUGMENTED = np.dtype(np.float32), np.dtype(np.float16)

SAFETY = 1.1  # as the figure is rounded


class Shelf:
    """The rows at one cut, those of unaltered or those of augmented images.

    Parameters
    ----------
    key_of : KeyMaker
    store : RowStore
    """

    def __init__(self, key_of, store):
        self.key_of, self.store = key_of, store

    def have(self, views):
        """Whether the row of each view is there: an array of bool."""
        return self.store.have([self.key_of(view) for view in views])

    @property
    def row_nbytes(self):
        """What a row takes on the disk."""
        return self.store.dtype.itemsize * math.prod(self.store.shape) + BESIDE_BYTES


class Shelves:
    """The rows of views of images at some cuts of a network.

    Parameters
    ----------
    cache : FeatureCache
    info : NetworkInfo
    cuts : list of Cut
    reader : ImageReader
    engine_key, precision : str
    augmentation : ImageAugmentation or None

    Attributes
    ----------
    shapes : list of tuple of int
        The shape of a row, at each cut.
    gave_up : bool
        Whether nothing is kept any more.
    """

    def __init__(self, cache, info, cuts, reader, engine_key, precision, augmentation):
        self._cache = cache
        self.shapes = [info.row_shape(cut) for cut in cuts]
        # Pixels are decoded as quickly as read: rows of the input are not kept.
        self._kept = [i for i, cut in enumerate(cuts) if cut.position != 0]
        self._shelves = {}  # position of a cut, whether of augmented images → Shelf
        for (i, cut), dtype in itertools.product(enumerate(cuts), (UNALTERED, AUGMENTED)):
            described = namespace(info, cut, reader, engine_key, precision, dtype)
            store = cache.store(described, self.shapes[i], dtype)
            shelf = Shelf(KeyMaker(described, augmentation), store)
            self._shelves[i, dtype == AUGMENTED] = shelf
        self.gave_up = False
        self._since = time.time()

    def shelf(self, cut, number):
        """Where rows of a view's number are, at a cut by its position in the list."""
        return self._shelves[cut, number != 0]

    def kept_cuts(self, cuts=None):
        """Of some cuts or all, those whose rows are kept."""
        return [cut for cut in self._kept if cuts is None or cut in cuts]

    def refresh(self):
        """Notice what any process has written or removed since."""
        for shelf in self._shelves.values():
            shelf.store.refresh()

    def n_opened(self):
        """How many segments of rows were opened so far, whoever wrote them."""
        return sum(shelf.store.n_opened for shelf in self._shelves.values())

    def refresh_if_due(self):
        """Refresh, unless that would take more than a small part of the time."""
        for shelf in self._shelves.values():
            shelf.store.refresh_if_due()

    def have(self, views, cuts):
        """Whether the rows of each view are there at all of some cuts: an array of bool."""
        there = np.ones(len(views), dtype=bool)
        for cut in cuts:
            for shelf, places in self._by_shelf(views, cut).items():
                there[places] &= shelf.have([views[i] for i in places])
        return there

    def touch(self, views):
        """Note that what is there of some views is used."""
        for cut in self._kept:
            for shelf, places in self._by_shelf(views, cut).items():
                shelf.store.touch([shelf.key_of(views[i]) for i in places])

    def take(self, wanted, cuts, outs):
        """Copy what is there of wanted views, at all of some cuts.

        Parameters
        ----------
        wanted : dict
            View → positions in `outs`. Those that were there are removed.
        cuts : list of int
        outs : list of ndarray of shape (n, ...), one for each cut
        """
        found = np.ones(len(outs[0]), dtype=bool)
        for cut, out in zip(cuts, outs, strict=True):
            found &= self._copy(wanted, cut, out)
        self._cache.count(hits=int(found.sum()), misses=0)
        for view in [view for view, positions in wanted.items() if found[positions].all()]:
            del wanted[view]

    def _copy(self, wanted, cut, out):
        """Copy the rows at one cut; return which were there."""
        found = np.zeros(len(out), dtype=bool)
        views = [view for view, positions in wanted.items() for _ in positions]
        positions = list(itertools.chain(*wanted.values()))
        for shelf, places in self._by_shelf(views, cut).items():
            keys, here = (
                [shelf.key_of(views[i]) for i in places],
                [positions[i] for i in places],
            )
            found[here] = shelf.store.read(keys, [out[position] for position in here])
        return found

    def _by_shelf(self, views, cut):
        """Shelf → the places of its views in a list, at a cut."""
        places = defaultdict(list)
        for i, view in enumerate(views):
            places[self.shelf(cut, view.number)].append(i)
        return places

    def can_keep(self, views, cuts):
        """Whether rows of so many views can be kept; one warning if they cannot."""
        if self._cache.homeless:
            self.give_up("this user has no home folder; SKTRANSFER_CACHE may name another")
        if self._cache.folder is None or self.gave_up:
            return False
        kept = self.kept_cuts(cuts)
        nbytes = sum(self.shelf(cut, view.number).row_nbytes for view in views for cut in kept)
        room = self._cache.make_room(nbytes, self._since)
        if not room:
            needed = SAFETY * (self._cache.in_use(self._since) + nbytes)
            self.give_up(
                f"{nbytes:.3g} bytes more exceed its limit of {self._cache.max_bytes:.3g}; "
                f"the environment variable SKTRANSFER_CACHE_SIZE={needed:.2g} makes room"
            )
        return room

    def give_up(self, reason):
        """Keep nothing any more, and say so once."""
        if not self.gave_up:
            warn(f"features are right but not kept in the cache: {reason}", CacheWarning)
        self.gave_up = True
