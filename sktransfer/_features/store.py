"""Key → row: the segments of one namespace, as one process sees them."""

import contextlib
import itertools
import os
import re
import threading
import time
from collections import defaultdict

import numpy as np

from sktransfer._features.segments import (
    OWN_TEMPORARY,
    SUFFIX,
    InvalidSegmentError,
    Segment,
    make_folder,
    write_segment,
)

SMALL_BYTES = 16 << 20  # segments below this are merged …
MANY_SEGMENTS = 32  # … when there are more of them than this
STALE_SECONDS = 3600  # a temporary file of this age has no writer any more
PLACE_BITS = 32  # a place is segment number << PLACE_BITS | position


class RowStore:
    """The rows of one namespace, shared by the threads of this process.

    Parameters
    ----------
    folder : Path or None
        Where the segments are; None holds nothing and keeps nothing.
    shape : tuple of int
        The shape of one row.
    dtype : numpy.dtype

    Attributes
    ----------
    n_opened : int
        Segments that were opened so far, whoever wrote them.
    """

    def __init__(self, folder, shape, dtype):
        self.folder, self.shape, self.dtype = folder, tuple(shape), np.dtype(dtype)
        self.n_opened = 0
        self._lock = threading.RLock()
        self._counter = itertools.count()
        self._numbers = {}  # file name → segment number
        self._segments = {}  # segment number → Segment
        self._places = {}  # key → segment number and position, as one int

    def __contains__(self, key):
        return key in self._places

    def refresh(self):
        """Notice what any process has written or removed since."""
        if self.folder is None:
            return
        with self._lock:
            names = {name for name in _list(self.folder) if name.endswith(SUFFIX)}
            for name in self._numbers.keys() - names:
                self._close(name)
            for name in names - self._numbers.keys():
                self._open(name)

    def read(self, keys, out):
        """Copy the rows that are there into `out`; return which were, and intact."""
        found = np.zeros(len(keys), dtype=bool)
        with self._lock:
            for number, wanted in self._by_segment(keys).items():
                positions, targets = zip(*sorted(wanted), strict=True)
                rows = (out[i] for i in targets)
                found[list(targets)] = self._read_segment(number, positions, rows)
            for key in [key for key, ok in zip(keys, found, strict=True) if not ok]:
                self._places.pop(key, None)
        return found

    def touch(self, keys):
        """Note that rows are used, as reading them does: the last to be evicted."""
        with self._lock:
            for number in self._by_segment(keys):
                with contextlib.suppress(OSError):
                    os.utime(self._segments[number].path)

    def write(self, keys, rows):
        """Keep rows under their keys, in one segment.

        Raises
        ------
        OSError
            The folder cannot be written, or the disk is full.
        """
        if self.folder is None:
            return
        make_folder(self.folder.parents[1], self.folder)
        path = write_segment(self.folder, keys, rows)
        with self._lock:
            self._open(path.name)

    def tidy(self):
        """Merge many small segments into few, and remove what killed writers left."""
        with self._lock:
            for name in filter(re.compile(OWN_TEMPORARY).fullmatch, _list(self.folder)):
                with contextlib.suppress(OSError):
                    path = self.folder / name
                    if abs(time.time() - path.stat().st_mtime) > STALE_SECONDS:
                        path.unlink()
            self.refresh()
            small = [s for s in self._segments.values() if s.nbytes < SMALL_BYTES]
            if len(small) > MANY_SEGMENTS:
                for group in _groups(small):
                    with contextlib.suppress(OSError):
                        self._merge(group)

    def _open(self, name):
        if name in self._numbers:  # another thread noticed it first
            return
        number = self._numbers[name] = next(self._counter)
        try:
            segment = Segment(self.folder / name, self.shape, self.dtype)
        except FileNotFoundError:
            del self._numbers[name]
        except (InvalidSegmentError, OSError):
            pass  # listed, so that it is not tried again, but without rows
        else:
            self._segments[number] = segment
            self.n_opened += 1
            first = number << PLACE_BITS
            self._places.update(zip(segment.keys, itertools.count(first)))

    def _close(self, name):
        number = self._numbers[name]
        segment = self._segments.get(number)
        for key in segment.keys if segment else ():
            if self._places.get(key, -1) >> PLACE_BITS == number:
                del self._places[key]
        # Last: an interrupt must not leave places of a segment that is gone.
        self._segments.pop(number, None)
        del self._numbers[name]

    def _by_segment(self, keys):
        wanted = defaultdict(list)
        for i, key in enumerate(keys):
            place = self._places.get(key)
            if place is not None:
                number, position = divmod(place, 1 << PLACE_BITS)
                wanted[number].append((position, i))
        return wanted

    def _read_segment(self, number, positions, rows):
        segment = self._segments[number]
        try:
            intact = segment.read(positions, rows)
        except OSError:
            return [False] * len(positions)
        with contextlib.suppress(OSError):
            os.utime(segment.path)  # used: the last to be evicted
            if not all(intact):
                self._merge([segment])  # which leaves the damaged rows behind
        return intact

    def _merge(self, segments):
        """Put the intact rows of some segments into one, and remove them."""
        rows = {}
        for segment in segments:
            out = np.empty((len(segment.keys), *self.shape), self.dtype)
            intact = segment.read(range(len(out)), out)
            rows.update(
                (k, r) for k, r, ok in zip(segment.keys, out, intact, strict=True) if ok
            )
        if rows:
            self.write(list(rows), np.stack(list(rows.values())))
        for segment in segments:
            with contextlib.suppress(OSError):
                segment.path.unlink()


def _list(folder):
    """The names of the files in a folder, which may be gone."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except OSError:
        return []


def _groups(segments):
    """Runs of segments of at most about SMALL_BYTES each."""
    group, size = [], 0
    for segment in segments:
        group.append(segment)
        size += segment.nbytes
        if size >= SMALL_BYTES:
            yield group
            group, size = [], 0
    if len(group) > 1:
        yield group
