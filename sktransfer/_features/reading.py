"""Sources → images that are identified, and pixels as a network takes them."""

import threading
from dataclasses import dataclass, replace

import numpy as np

from sktransfer._exceptions import (
    BadRow,
    InvalidImagesError,
    InvalidImagesWarning,
    list_bad_rows,
    warn,
)
from sktransfer._images import decoding
from sktransfer._images.formats import UnreadableImageError
from sktransfer._images.resizing import STRETCHED, Resizing
from sktransfer._images.sources import path_of, read
from sktransfer._networks.preprocessing import Preprocessing

HELD_BYTES = 128 << 20  # of files that are read and not yet decoded
LARGE_BYTES = 500_000  # of a file, of three megapixels or more


class Images:
    """Sources, read once and identified by their content.

    Attributes
    ----------
    sources : sequence
        As `check_images` returns it.
    name : str
        What they are called where one of them is bad.
    first : int, default=0
        The row of X that the first of them is.
    digests : list of bytes or None
        Of each; None where a source is no image.
    bad : dict
        Position → what is wrong with it.
    """

    def __init__(self, sources, name, first=0):
        self.sources, self.name = sources, name
        self.digests = [None] * len(sources)
        self.bad = {}
        self._rows = range(first, first + len(sources))  # of X, which may have more images
        self._held, self._room, self._lock = {}, HELD_BYTES, threading.Lock()
        self._n_read, self._nbytes_read = 0, 0  # of files to decode

    def __len__(self):
        return len(self.sources)

    def hold(self, position, content):
        """Keep what was read of a file until it is decoded, if there is room."""
        if isinstance(content, bytes):
            with self._lock:
                self._n_read += 1
                self._nbytes_read += len(content)
                if len(content) <= self._room:
                    self._held[position] = content
                    self._room -= len(content)

    def taken(self, position):
        """What was read of a file, held no longer; None if it was not held."""
        return self._held.pop(position, None)

    def release(self):
        """Hold nothing any more."""
        self._held.clear()

    @property
    def are_large(self):
        """Whether decoding takes longer than a small network: of the files that were read."""
        return self._nbytes_read > LARGE_BYTES * self._n_read

    def note_bad(self, digest, problem):
        """Note what is wrong with all images of a content."""
        same = (i for i, known in enumerate(self.digests) if known == digest)
        self.bad.update(dict.fromkeys(same, problem))

    def good(self):
        """The positions of those that are not bad."""
        return np.setdiff1d(np.arange(len(self)), list(self.bad))

    def without_bad(self):
        """The others, which are called by the same rows."""
        if not self.bad:
            return self  # with what is held of their files
        good = self.good()
        others = Images([self.sources[i] for i in good], self.name)
        others.digests = [self.digests[i] for i in good]
        others._rows = good
        others._n_read, others._nbytes_read = self._n_read, self._nbytes_read
        return others

    def warn_of_bad(self, consequence):
        """A warning that names all bad images, if there are any."""
        if self.bad:
            message = f"{list_bad_rows(self._bad_rows(), self.name)}\n{consequence}"
            warn(message, InvalidImagesWarning)

    def _bad_rows(self):
        return [
            BadRow(int(self._rows[i]), path_of(self.sources[i]), self.bad[i])
            for i in sorted(self.bad)
        ]

    def raise_if_bad(self):
        if self.bad:
            raise InvalidImagesError(self._bad_rows(), self.name)


@dataclass(frozen=True)
class ImageReader:
    """How sources become what a network takes.

    Attributes
    ----------
    input_range : (float, float)
        Black and full brightness in arrays.
    max_image_pixels : int or None
    preprocessing : Preprocessing
    resizing : Resizing
    """

    input_range: tuple
    max_image_pixels: int | None
    preprocessing: Preprocessing
    resizing: Resizing = STRETCHED

    def for_network(self, info):
        """The same, where a network's info has a say in it."""
        preprocessing = self.preprocessing.known_from(info)
        return replace(self, preprocessing=preprocessing, resizing=info.resizing)

    def check(self, content):
        """Raise `UnreadableImageError` for what shows without decoding the pixels."""
        decoding.probe(content, self.input_range, self.max_image_pixels)

    def pixels(self, images, position, size):
        """The pixels of an image, which must still be what was identified.

        Returns
        -------
        pixels : uint8 or float32 ndarray of shape (height, width, 3), from 0 to 255
        """
        content = images.taken(position)
        if content is None:
            image = read(images.sources[position])
            if image.digest != images.digests[position]:
                raise UnreadableImageError("was changed while it was being read")
            content = image.content
        return decoding.decode(
            content, size, self.input_range, self.max_image_pixels, self.resizing
        )
