"""Key → row: the segments of one namespace, as one process sees them."""

import contextlib
import itertools
import math
import os
import re
import threading
import time

import numpy as np

from sktransfer._features.index import NOWHERE, POSITION_BITS, Index, as_bytes
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
LISTING_SHARE = 0.05  # of the time that the folder may be listed
UNREADABLE = InvalidSegmentError, OSError


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
        self._index = Index()
        self._due = -math.inf

    def have(self, keys):
        """Whether the row of each key is there: an array of bool."""
        with self._lock:
            return self._index.find(keys) != NOWHERE

    def refresh(self):
        """Notice what any process has written or removed since."""
        if self.folder is None:
            return
        with self._lock:
            started = time.monotonic()
            names = {name for name in _list(self.folder) if name.endswith(SUFFIX)}
            for name in self._numbers.keys() - names:
                self._close(self._numbers.pop(name))
            self._open(names)
            ended = time.monotonic()
            self._due = ended + (ended - started) / LISTING_SHARE

    def refresh_if_due(self):
        """Refresh, unless that would take more than a small part of the time."""
        if time.monotonic() >= self._due:
            self.refresh()

    def read(self, keys, out):
        """Copy the rows that are there.

        Parameters
        ----------
        keys : list of bytes
        out : sequence of ndarray
            Where to copy each to.

        Returns
        -------
        found : ndarray of bool
            Which were there, and intact.
        """
        found = np.zeros(len(keys), dtype=bool)
        for _ in range(2):  # again for what others have merged meanwhile
            sought = np.flatnonzero(~found)
            with self._lock:
                places = self._index.find([keys[i] for i in sought])
            for those in _by_segment(places):
                wanted = sought[those]
                found[wanted] = self._read_segment(
                    [keys[i] for i in wanted], places[those], [out[i] for i in wanted]
                )
            if found[sought[places != NOWHERE]].all():
                break
            self.refresh()
        return found

    def touch(self, keys):
        """Note that rows are used, as reading them does: the last to be evicted."""
        with self._lock:
            places = self._index.find(keys)
            for number in np.unique(places[places != NOWHERE] >> POSITION_BITS).tolist():
                with contextlib.suppress(OSError):
                    os.utime(self._segments[number].path)

    def write(self, keys, rows):
        """Keep rows under their keys, in one segment; return its name, if there is a folder.

        Raises
        ------
        OSError
            The folder cannot be written, or the disk is full.
        """
        if self.folder is None:
            return None
        make_folder(self.folder.parents[1], self.folder)
        name = write_segment(self.folder, keys, rows).name
        with self._lock:
            self._open({name})
        return name

    def tidy(self):
        """Merge many small segments into few, and remove what killed writers left."""
        with self._lock:
            for name in filter(re.compile(OWN_TEMPORARY).fullmatch, _list(self.folder)):
                with contextlib.suppress(OSError):
                    path = self.folder / name
                    if abs(time.time() - path.stat().st_mtime) > STALE_SECONDS:
                        path.unlink()
            self.refresh()
            self.merge(self._numbers)

    def merge(self, names):
        """Merge those of some segments that are small, if they are many.

        Returns
        -------
        n_written : int
            How many there are instead.
        """
        with self._lock:
            numbers = [self._numbers[name] for name in names if name in self._numbers]
            there = [self._segments[number] for number in numbers if number in self._segments]
            small = [segment for segment in there if segment.nbytes < SMALL_BYTES]
            n_before = self.n_opened
            if len(small) > MANY_SEGMENTS:
                for group in _groups(small):
                    with contextlib.suppress(*UNREADABLE):
                        self._merge(group)
            return self.n_opened - n_before

    def _open(self, names):
        """Open segments that nobody has opened yet."""
        segments, keys = {}, {}
        for name in names - self._numbers.keys():
            number = next(self._counter)
            try:
                segment = Segment(self.folder / name, self.shape, self.dtype)
                keys[number] = segment.keys()
            except FileNotFoundError:
                continue
            except UNREADABLE:
                self._numbers[name] = number  # so that it is not tried again
                continue
            segments[number] = segment
        self._segments |= segments
        self._index.add(keys)
        self._numbers |= {segment.path.name: number for number, segment in segments.items()}
        self.n_opened += len(segments)

    def _close(self, number):
        if number in self._segments:
            self._index.remove(number)
            del self._segments[number]

    def _read_segment(self, keys, places, out):
        """Read rows of one segment; return which were intact."""
        number = int(places[0] >> POSITION_BITS)
        positions = places & (1 << POSITION_BITS) - 1
        with self._lock:
            segment = self._segments.get(number)
        intact = np.zeros(len(keys), dtype=bool)
        if segment is None:  # another thread has merged it
            return intact
        try:
            intact[:] = segment.read(keys, positions.tolist(), out)
            os.utime(segment.path)  # used: the last to be evicted
        except FileNotFoundError:
            with self._lock:
                self._close(number)
            return intact
        except OSError:  # of the rows; or of the date, which is no harm
            pass
        if not intact.all():
            self._leave_behind(segment, places[~intact])
        return intact

    def _leave_behind(self, segment, places):
        """Forget damaged rows, and put the others of their segment into a new one."""
        with self._lock, contextlib.suppress(*UNREADABLE):
            self._index.forget(places)
            self._merge([segment])

    def _merge(self, segments):
        """Put the intact rows of some segments into one, and remove them."""
        rows = {}
        for segment in segments:
            keys = as_bytes(segment.keys())
            out = np.empty((len(segment), *self.shape), self.dtype)
            intact = segment.read(keys, range(len(segment)), out)
            rows.update((k, r) for k, r, ok in zip(keys, out, intact, strict=True) if ok)
        if rows:
            self.write(list(rows), np.stack(list(rows.values())))
        for segment in segments:
            with contextlib.suppress(OSError):
                segment.path.unlink()
                self._close(self._numbers.pop(segment.path.name))


def _by_segment(places):
    """Of places that are somewhere: the indices of those in each segment, in its order."""
    order = np.argsort(places, kind="stable")
    order = order[np.count_nonzero(places == NOWHERE) :]
    ends = np.flatnonzero(np.diff(places[order] >> POSITION_BITS)) + 1
    return np.split(order, ends) if len(order) else []


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
