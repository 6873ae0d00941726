"""One source → its content, and that content's digest.

A *source* is one image as a user passes it: a path, the bytes of an encoded file, a PIL
image or an array. Its *content* is what the pixels depend on, and what the digest covers:
the bytes of the encoded file, or the array.
"""

import hashlib
import io
import os
import stat
import sys
import threading
from dataclasses import dataclass

import numpy as np

from sktransfer._images.digests import recall, remember
from sktransfer._images.formats import (
    LONGEST_PATH,
    UnreadableImageError,
    check_mode,
    plain_pixels,
    said,
    turned,
    way_upright,
)

ENCODED = (bytes, bytearray, memoryview)

_pil_lock = threading.Lock()  # a PIL image loads itself when it is read, and may come twice


def is_image(source):
    """Whether `source` is one image, rather than a number or a row of numbers."""
    if isinstance(source, np.ndarray):
        return source.ndim >= 2
    return isinstance(source, (str, *ENCODED, os.PathLike)) or _is_pil(source)


def path_of(source):
    """The path that `source` is, as text, or None."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


def content_of(source):
    """The content of a source: the bytes of an encoded file, or an array."""
    if isinstance(source, (str, os.PathLike)):
        return _read_file(source).content
    if isinstance(source, ENCODED):
        return _not_empty(bytes(source))
    if isinstance(source, np.ndarray):
        if np.ma.is_masked(source):
            raise UnreadableImageError("has masked pixels: fill them, array.filled(value)")
        return np.asarray(source)
    if _is_pil(source):
        return _encode(source)
    is_nan = isinstance(source, (float, np.floating)) and np.isnan(source)
    if source is None or is_nan or type(source).__name__ in ("NAType", "NaTType"):
        raise UnreadableImageError("is a missing value")
    hint = ": pass its read()" if isinstance(source, io.IOBase) else ""
    raise UnreadableImageError(f"is a {type(source).__name__}, not an image{hint}")


@dataclass(frozen=True, slots=True)
class ReadImage:
    """What was read of a source.

    Attributes
    ----------
    content : bytes or ndarray
    digest : bytes
    """

    content: object
    digest: bytes

    @property
    def file_nbytes(self):
        """Bytes of an encoded file; an array was in memory before."""
        return len(self.content) if isinstance(self.content, bytes) else 0


def read(source):
    """Read a source; the digest of a file is remembered.

    Returns
    -------
    image : ReadImage
    """
    path = path_of(source)
    if path is None:
        content = content_of(source)
        return ReadImage(content, digest_of(content))
    file = _read_file(path)
    digest = digest_of(file.content)
    remember(path, file.status, digest)
    return ReadImage(file.content, digest)


def recalled_digest(source):
    """The digest of a file that was read before and is unchanged, or None."""
    path = path_of(source)
    return None if path is None else recall(path)


def digest_of(content):
    """The SHA-256 of a content, 32 bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    result = hashlib.sha256(f"{content.dtype.str} {content.shape}".encode())
    result.update(np.ascontiguousarray(content))
    return result.digest()


def _is_pil(source):
    pil = sys.modules.get("PIL.Image")  # a PIL image cannot come before its module
    return pil is not None and isinstance(source, pil.Image)


@dataclass(frozen=True, slots=True)
class _File:
    """What was read of a file, and its status before."""

    content: bytes
    status: os.stat_result


def _read_file(path):
    _refuse_encoded_text(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImageError("is a directory")
        if not stat.S_ISREG(mode):  # opening a FIFO would wait for ever
            raise UnreadableImageError("is not a regular file")
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            return _File(_not_empty(file.read()), status)
    except FileNotFoundError:
        raise UnreadableImageError("does not exist") from None
    except PermissionError:
        raise UnreadableImageError("may not be read (permission denied)") from None
    except MemoryError:
        raise UnreadableImageError("is too large for this machine's memory") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UnreadableImageError(f"cannot be read ({error})") from None


def _refuse_encoded_text(path):
    """Of text that is no path, as its own words would fill the screen."""
    if isinstance(path, str) and (len(path) > LONGEST_PATH or path.startswith("data:")):
        raise UnreadableImageError(
            f"is a text of {len(path):,} characters, not a path; of base64, pass "
            "base64.b64decode(text), and of a data URL what follows the comma"
        )


def _not_empty(content):
    if not content:
        raise UnreadableImageError("is empty (0 bytes)")
    return content


def _encode(image):
    """A PIL image as the file it might have come from, whatever the mode."""
    file = io.BytesIO()
    check_mode(image)
    try:
        with _pil_lock:
            upright = turned(plain_pixels(image), way_upright(image))
        upright.save(file, "PNG", compress_level=0)
    except UnreadableImageError:
        raise
    except Exception as error:  # a lazily opened image can fail in any way a file can
        raise UnreadableImageError(f"cannot be decoded ({said(error)})") from None
    return file.getvalue()
