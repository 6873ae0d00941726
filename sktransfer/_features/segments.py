"""One immutable file of rows, each under its key and with its own checksum.

The container is safetensors: three tensors, ``keys`` (n × 32 bytes), ``checksums`` (n CRC-32
of key and row) and ``rows``. It is written once, under a name nobody else uses, and read with
plain reads rather than a memory map, so that a file that vanishes or shrinks under a reader
is an error to catch and not a bus error.
"""

import contextlib
import json
import math
import os
import re
import uuid
import zlib

import numpy as np

SUFFIX = ".safetensors"
TEMPORARY = ".tmp"
OWN_TEMPORARY = "[0-9a-f]{32}" + re.escape(TEMPORARY)  # a name by `uuid`, as that of segments
KEY_BYTES = 32
KEY_WORDS = KEY_BYTES // 8  # of 64 bits
BESIDE_BYTES = KEY_BYTES + 4  # each row: its key and checksum
MAX_HEADER_BYTES = 1 << 16
SAFETENSORS_NAMES = {"float16": "F16", "float32": "F32", "uint8": "U8", "uint32": "U32"}


class InvalidSegmentError(Exception):
    """The file is no whole segment of the expected rows."""


# Each half-precision number, by its bits: looking up takes half as long as NumPy's conversion.
FROM_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def write_segment(folder, keys, rows):
    """Write rows under their keys, durably and all or nothing; return the path."""
    from safetensors.numpy import save

    rows = np.ascontiguousarray(rows)
    checksums = [_checksum(key, row) for key, row in zip(keys, rows, strict=True)]
    content = save(
        {
            "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES),
            "checksums": np.array(checksums, dtype=np.uint32),
            "rows": rows,
        }
    )
    return write_durably(folder, f"{uuid.uuid4().hex}{SUFFIX}", content)


def write_durably(folder, name, content):
    """Put bytes under a name of a folder, by way of a temporary file beside it."""
    temporary = folder / f"{uuid.uuid4().hex}{TEMPORARY}"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(folder / name)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def make_folder(cache, folder):
    """Make a folder of the cache, and the cache, for this user's eyes only."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


class Segment:
    """A segment that is read: its checksums are in memory, its keys and rows on disk.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        The shape of one row.
    dtype : numpy.dtype

    Raises
    ------
    InvalidSegmentError
        The file does not hold rows of that shape and dtype, or not all of them.
    OSError
        It cannot be read.

    Attributes
    ----------
    path : Path
    nbytes : int
        Of the file.
    """

    def __init__(self, path, shape, dtype):
        self.path = path
        self._shape, self._dtype = shape, dtype
        with open(path, "rb") as file:
            self.nbytes = os.fstat(file.fileno()).st_size
            try:
                self._read_index(file, shape, dtype)
            except (LookupError, TypeError, ValueError, RecursionError) as error:
                raise InvalidSegmentError(f"{path} is no segment: {error}") from None

    def __len__(self):
        """How many rows it has."""
        return len(self._checksums)

    def keys(self):
        """The keys of its rows: uint64 ndarray of shape (n, KEY_WORDS)."""
        n_words = len(self) * KEY_WORDS
        with open(self.path, "rb") as file:
            file.seek(self._keys_start)
            keys = np.fromfile(file, np.uint64, n_words)
        if keys.size < n_words:
            raise InvalidSegmentError(f"{self.path} is truncated")
        return keys.reshape(-1, KEY_WORDS)

    def read(self, keys, positions, out):
        """Copy rows into `out`, one for one; return which of them were intact.

        Rows in half precision may be read as float32.

        Parameters
        ----------
        keys : sequence of bytes
            Of the rows.
        positions : sequence of int
        out : sequence of ndarray
        """
        intact = []
        buffer = np.empty(self._shape, self._dtype)
        with open(self.path, "rb", buffering=0) as file:
            for key, position, row in zip(keys, positions, out, strict=True):
                target = row if row.dtype == self._dtype else buffer
                file.seek(self._rows_start + position * target.nbytes)
                view = memoryview(target).cast("B")
                whole = file.readinto(view) == target.nbytes
                checksum = _checksum(key, view)
                intact.append(whole and checksum == self._checksums[position])
                if target is not row:
                    np.take(FROM_HALF, target.view(np.uint16), out=row, mode="wrap")
        return intact

    def _read_index(self, file, shape, dtype):
        # The header as the safetensors format lays it down: its length, then JSON.
        header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {header_bytes} bytes")
        header = json.loads(file.read(header_bytes))
        n = header["keys"]["shape"][0]
        expected = {
            "keys": (np.dtype(np.uint8), [n, KEY_BYTES]),
            "checksums": (np.dtype(np.uint32), [n]),
            "rows": (dtype, [n, *shape]),
        }
        starts = {}
        for name, (kind, dimensions) in expected.items():
            start, stop = header[name]["data_offsets"]
            fits = stop - start == kind.itemsize * math.prod(dimensions)
            there = 0 <= start <= stop <= self.nbytes - 8 - header_bytes
            described = header[name]["dtype"], header[name]["shape"]
            if described != (SAFETENSORS_NAMES[kind.name], dimensions) or not fits:
                raise ValueError(f"{name!r} is {described}, not {dimensions} {kind}")
            if not there:
                raise ValueError(f"it is truncated within {name!r}")
            starts[name] = 8 + header_bytes + start
        self._keys_start, self._rows_start = starts["keys"], starts["rows"]
        file.seek(starts["checksums"])
        self._checksums = np.frombuffer(file.read(4 * n), "<u4")


def _checksum(key, row):
    return zlib.crc32(row, zlib.crc32(key))
