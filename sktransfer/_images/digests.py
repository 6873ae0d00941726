"""Digests of files, remembered as long as the files are unchanged.

As git does for its index: a file whose device, inode, size and times are those of before has
the content of before. Nobody can set the time of the last change (ctime) of a file back. But a
file that has just been changed may be changed again at the same time, as it advances in steps
of up to two seconds; and a memory map sets it only when it first changes a page that is on the
disk, where Linux writes pages after half a minute. So what is too new is not remembered.
"""

import os
import struct
import time

SETTLED_SECONDS = 60.0
MOST_FILES = 2_000_000  # of 200 bytes each
HAS_CTIME = os.name != "nt"  # there it is the time when a file was made

_state = struct.Struct("=QQQqq")
_known = {}  # path → state of the file, and digest


def remember(path, status, digest):
    """Remember the digest of a file that had a status before it was read."""
    if HAS_CTIME and time.time() - status.st_ctime > SETTLED_SECONDS:
        if len(_known) >= MOST_FILES:
            _known.clear()
        _known[str(path)] = _state_of(status) + digest


def recall(path):
    """The digest of a file that is unchanged since it was read, or None."""
    known = _known.get(path)
    if known is None:
        return None
    try:
        state = _state_of(os.stat(path))
    except (OSError, ValueError):
        return None
    return known[_state.size :] if known.startswith(state) else None


def _state_of(status):
    return _state.pack(
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
