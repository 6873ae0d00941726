"""In which order missing views are computed, and by which batches."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Views that go through the network together.

    Attributes
    ----------
    views : list of ViewKey
    left : float
        About how many views are left after it; infinity while this process is alone.
    """

    views: list
    left: float


class Agenda:
    """Missing views, a batch at a time, those of one image one after the other.

    They come in the order in which they are asked for, so that the same call makes the same
    batches. Once others are seen to write rows like these, they come in an order of this
    process's own: each leaves out what the others have finished, and they seldom meet.

    Parameters
    ----------
    missing : dict
        ViewKey → position of an image.
    shelves : Shelves
    cuts : list of int
    writers : Writers
        Of this process.
    batch_size : int
    """

    def __init__(self, missing, shelves, cuts, writers, batch_size):
        self._missing, self._shelves, self._cuts = missing, shelves, cuts
        self._writers, self._batch_size = writers, batch_size

    def __iter__(self):
        views, seen = _by_image(self._missing), 0
        self._shelves.refresh()
        before, alone = self._n_by_others(), True
        while seen < len(views):
            self._shelves.refresh()
            if alone and self._n_by_others() > before:
                alone, rest = False, {view: self._missing[view] for view in views[seen:]}
                views[seen:] = _by_image(rest, np.random.default_rng())
            first, batch = seen, []
            while seen < len(views) and len(batch) < self._batch_size:
                if not self._shelves.have(views[seen], self._cuts):
                    batch.append(views[seen])
                seen += 1
            if batch:
                left = len(batch) / (seen - first) * (len(views) - seen)
                yield Batch(batch, math.inf if alone else left)

    def _n_by_others(self):
        """How many segments of others were opened so far."""
        return self._shelves.n_opened() - self._writers.n_written


def _by_image(missing, rng=None):
    """Views, those of one image one after the other; its images shuffled by `rng`, if any."""
    views_of = defaultdict(list)
    for view, position in missing.items():
        views_of[position].append(view)
    groups = list(views_of.values())
    if rng is not None:
        groups = [groups[i] for i in rng.permutation(len(groups))]
    return [view for group in groups for view in group]
