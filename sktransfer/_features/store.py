"""Key → row, on disk: immutable segments in one folder for each namespace.

Nothing locks. A segment appears whole, under a name of its own, or not at all; what cannot
be read or does not match its checksum is a miss. So at worst two processes compute a row
twice, and a killed one leaves a temporary file that a later one removes.

::

    <cache>/networks/<identity>.json          what is known of a network without building it
    <cache>/rows/<namespace>/<id>.safetensors    segments
"""

import contextlib
import functools
import glob
import hashlib
import itertools
import json
import math
import os
import re
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sktransfer._features.segments import (
    SUFFIX,
    TEMPORARY,
    InvalidSegmentError,
    Segment,
    write_durably,
    write_segment,
)
from sktransfer._networks.info import NetworkInfo

DEFAULT_MAX_BYTES = 20e9
SMALL_BYTES = 16 << 20  # segments below this are merged …
MANY_SEGMENTS = 32  # … when there are more of them than this
CLOCK_SECONDS = 1.0
DAY_SECONDS = 86400
STALE_SECONDS = 3600  # a temporary file of this age has no writer any more
OWN_FOLDER = "[0-9a-f]{64}"  # a name by `_name`
OWN_TEMPORARY = "[0-9a-f]{32}" + re.escape(TEMPORARY)  # a name by `uuid`, as that of segments
OWN_FILE = (
    rf"networks/({OWN_FOLDER}\.json|{OWN_TEMPORARY})|"
    rf"rows/{OWN_FOLDER}/({OWN_TEMPORARY}|[0-9a-f]{{32}}{re.escape(SUFFIX)})"
)
PLACE_BITS = 32  # a place is segment number << PLACE_BITS | position


class CacheInfo(NamedTuple):
    """What a cache folder did for this process, as in `functools.lru_cache`.

    Attributes
    ----------
    hits : int
        Rows that were looked up.
    misses : int
        Rows that were computed.
    bytes : int
        What the folder holds now, on behalf of all processes.
    """

    hits: int
    misses: int
    bytes: int


_counters = defaultdict(Counter)  # folder → hits and misses, of this process


class FeatureCache:
    """The cache in one folder.

    Parameters
    ----------
    cache_dir : path, "default" or None
        ``"default"`` is what the environment variable ``SKTRANSFER_CACHE`` names, or the
        user's cache folder. None keeps nothing.

    Attributes
    ----------
    folder : Path or None
    homeless : bool
        Whether nothing is kept because the user has no home folder.
    """

    def __init__(self, cache_dir):
        self.folder = _resolve(cache_dir)
        self.homeless = self.folder is None and cache_dir is not None
        self.max_bytes = _max_bytes()

    def store(self, namespace, shape, dtype=np.float32):
        """The rows of one namespace, a description in plain values."""
        if self.folder is None:
            return RowStore(None, shape, dtype)
        folder = self.folder / "rows" / _name(namespace)
        # A process of its own after a fork: a thread may have held the store's lock.
        return _open_store(folder, tuple(shape), np.dtype(dtype), os.getpid())

    def read_info(self, identity):
        """What is known of the network of that identity, or None; None if that is None."""
        if self.folder is None or identity is None:
            return None
        path = self._manifest(identity)
        try:
            status = path.stat()
            return _info_in(path, status.st_ino, status.st_size, status.st_ctime_ns)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    def write_info(self, identity, info):
        """Keep what is known of a network, unless its identity is None.

        A cache that cannot be written stays as it is.
        """
        if self.folder is None or identity is None:
            return
        path, plain = self._manifest(identity), info.to_plain()
        content = json.dumps({"name": _name(plain), "info": plain}).encode()
        with contextlib.suppress(OSError):
            _make_folder(self.folder, path.parent)
            write_durably(path.parent, path.name, content)

    def _manifest(self, identity):
        return self.folder / "networks" / f"{_name(identity)}.json"

    def make_room(self, nbytes, used_since):
        """Whether `nbytes` more fit, once the longest unused segments have made way.

        Segments used after `used_since` (seconds since the epoch) stay.
        """
        segments = sorted(self._segments(), key=lambda segment: segment[1].st_mtime)
        excess = sum(s.st_size for _, s in segments) + nbytes - self.max_bytes
        # The clock that dates files may lag behind the one that dates the use; a day ahead,
        # it was wrong.
        first, last = used_since - CLOCK_SECONDS, time.time() + DAY_SECONDS
        removable = [(p, s) for p, s in segments if not first <= s.st_mtime <= last]
        if excess > sum(s.st_size for _, s in removable):
            return False
        for path, status in removable:
            if excess <= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                excess -= status.st_size
        return True

    def info(self):
        counter = _counters[self.folder]
        size = sum(status.st_size for _, status in self._segments())
        return CacheInfo(counter["hits"], counter["misses"], size)

    def count(self, *, hits, misses):
        _counters[self.folder].update(hits=hits, misses=misses)

    def _segments(self):
        """Path and status of each segment there is."""
        if self.folder is None:
            return
        for path in _own_files(self.folder):
            if path.suffix == SUFFIX:
                with contextlib.suppress(OSError):
                    yield path, path.stat()


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
        _make_folder(self.folder.parents[1], self.folder)
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


def clear_cache(cache_dir="default"):
    """Remove all that a cache folder holds: features, and what is known of networks.

    Parameters
    ----------
    cache_dir : path or None, default="default"
        The folder, as in `PretrainedFeatureTransformer`. What is not the cache's own stays.

    Examples
    --------
    >>> from sktransfer import PretrainedFeatureTransformer, clear_cache
    >>> clear_cache()
    >>> PretrainedFeatureTransformer().cache_info().bytes
    0
    """
    folder = _resolve(cache_dir)
    if folder is None:
        return
    for path in list(_own_files(folder)):
        if not path.is_dir():  # which the cache did not make
            path.unlink(missing_ok=True)
    for path in (*folder.glob("rows/*"), folder / "rows", folder / "networks"):
        with contextlib.suppress(OSError):  # it is not empty, or gone
            path.rmdir()


def _own_files(folder):
    """The files of a cache folder that the cache named itself."""
    for pattern in ("networks/*", "rows/*/*"):
        # Not by `Path.glob`, which fails where a folder vanishes meanwhile.
        for name in glob.iglob(pattern, root_dir=folder):
            if re.fullmatch(OWN_FILE, Path(name).as_posix()):
                yield folder / name


def _resolve(cache_dir):
    if cache_dir is None:
        return None
    if not os.fspath(cache_dir):
        raise ValueError("cache_dir='' names no folder")
    if cache_dir == "default":
        cache_dir = os.environ.get("SKTRANSFER_CACHE") or _users_folder()
    return cache_dir and Path(cache_dir).expanduser().absolute()


def _users_folder():
    """The folder for this user's caches of this package, or None without a home."""
    from platformdirs import user_cache_path

    try:
        return user_cache_path("sktransfer").expanduser()
    except RuntimeError:  # a user without a name, as in containers, and HOME is not set
        return None


def _max_bytes():
    limit = os.environ.get("SKTRANSFER_CACHE_SIZE", DEFAULT_MAX_BYTES)
    with contextlib.suppress(ValueError):
        size = float(limit)
        if not math.isnan(size):
            return size
    raise ValueError(f"SKTRANSFER_CACHE_SIZE={limit!r} is no number of bytes")


@functools.lru_cache(maxsize=32)
def _open_store(folder, shape, dtype, _process):
    return RowStore(folder, shape, dtype)


def _name(description):
    """A file name for a description in plain values, the same for equal ones."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def _info_in(path, *_state):
    """What a file tells of a network, read once as long as the file stays the same."""
    entry = json.loads(path.read_bytes())
    if entry["name"] != _name(entry["info"]):
        raise ValueError("the file is damaged")
    return NetworkInfo.from_plain(entry["info"])


def _make_folder(cache, folder):
    """Make a folder of the cache, and the cache, for this user's eyes only."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


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
