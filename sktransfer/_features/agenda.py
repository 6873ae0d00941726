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


def batches_of(missing, shelves, cuts, writers, batch_size):
    """Missing views, a batch at a time, those of one image one after the other.

    They come in the order of their images, so that the same call makes the same
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

    Yields
    ------
    batch : Batch
    """
    views, seen = sorted(missing, key=missing.get), 0
    shelves.refresh()
    opened_before, alone = shelves.n_opened() - writers.n_written, True
    while seen < len(views):
        shelves.refresh_if_due()
        if alone and shelves.n_opened() - writers.n_written > opened_before:
            alone, rank = False, defaultdict(np.random.default_rng().random)
            views[seen:] = sorted(views[seen:], key=lambda view: rank[missing[view]])
        first, batch = seen, []
        while seen < len(views) and len(batch) < batch_size:
            some = views[seen : seen + batch_size - len(batch)]
            there = shelves.have(some, cuts)
            batch += [view for view, is_there in zip(some, there, strict=True) if not is_there]
            seen += len(some)
        if batch:
            left = len(batch) / (seen - first) * (len(views) - seen)
            yield Batch(batch, math.inf if alone else left)
