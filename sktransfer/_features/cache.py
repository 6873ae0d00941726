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
import json
import math
import os
import re
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sktransfer._features.segments import OWN_TEMPORARY, SUFFIX, make_folder, write_durably
from sktransfer._features.store import RowStore
from sktransfer._networks.info import NetworkInfo

DEFAULT_MAX_BYTES = 20e9
CLOCK_SECONDS = 1.0
DAY_SECONDS = 86400
OWN_FOLDER = "[0-9a-f]{64}"  # a name by `_name`
OWN_FILE = (
    rf"networks/({OWN_FOLDER}\.json|{OWN_TEMPORARY})|"
    rf"rows/{OWN_FOLDER}/({OWN_TEMPORARY}|[0-9a-f]{{32}}{re.escape(SUFFIX)})"
)


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

    Examples
    --------
    >>> from sktransfer import PretrainedFeatureTransformer
    >>> PretrainedFeatureTransformer().cache_info()
    CacheInfo(hits=0, misses=0, bytes=0)
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
            make_folder(self.folder, path.parent)
            write_durably(path.parent, path.name, content)

    def _manifest(self, identity):
        return self.folder / "networks" / f"{_name(identity)}.json"

    def make_room(self, nbytes, used_since):
        """Whether `nbytes` more fit, once the longest unused segments have made way.

        Segments used after `used_since` (seconds since the epoch) stay.
        """
        segments = sorted(self._segments(), key=lambda segment: segment[1].st_mtime)
        excess = _size(segments) + nbytes - self.max_bytes
        unused = [segment for segment in segments if not _is_used(segment[1], used_since)]
        if excess > _size(unused):
            return False
        for path, status in unused:
            if excess <= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                excess -= status.st_size
        return True

    def in_use(self, used_since):
        """Bytes of the segments that were used since a time."""
        return _size(
            segment for segment in self._segments() if _is_used(segment[1], used_since)
        )

    def info(self):
        counter = _counters[self.folder]
        return CacheInfo(counter["hits"], counter["misses"], _size(self._segments()))

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


def _size(segments):
    return sum(status.st_size for _, status in segments)


def _is_used(status, since):
    """Whether a segment was used since a time."""
    # The clock that dates files may lag behind the one that dates the use; a day ahead, it
    # was wrong.
    return since - CLOCK_SECONDS <= status.st_mtime <= time.time() + DAY_SECONDS


def clear_cache(cache_dir: str | os.PathLike[str] | None = "default") -> None:
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
