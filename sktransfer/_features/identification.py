"""Which images there are: each source read for its digest, several at a time."""

from dataclasses import dataclass

from sktransfer._features.reading import ImageReader, Images
from sktransfer._images.formats import UnreadableImageError, quiet_pillow
from sktransfer._images.sources import read, recalled_digest
from sktransfer._runtime.progress import images_bar
from sktransfer._runtime.threads import Workers

LARGEST_PART = 256  # images that a thread takes at once
PARTS_OF_A_THREAD = 4  # at least, so that all end together
READ_TOGETHER = 16  # files that a thread has in memory


def identify(images, reader, are_known, n_threads, verbose):
    """Note the digest of each image, or what is wrong with it.

    A file that was read before, is unchanged, and whose rows are there, is not read.

    Parameters
    ----------
    images : Images
    reader : ImageReader
    are_known : callable
        List of digests → of which there are rows, so that these images are good.
    n_threads : int
    verbose : int
        Whether to show a bar.
    """
    identification = _Identification(images, reader, are_known)
    size = min(LARGEST_PART, 1 + len(images) // (PARTS_OF_A_THREAD * n_threads))
    parts = _parts(range(len(images)), size)
    with (
        quiet_pillow,
        Workers(n_threads, "sktransfer-identify") as workers,
        images_bar(verbose, "Reading", len(images)) as advance,
    ):
        tasks = [workers.submit(identification.of, part) for part in parts]
        for part, task in zip(parts, tasks, strict=True):
            task.result()
            advance(len(part))


@dataclass(frozen=True)
class _Identification:
    """How images are identified."""

    images: Images
    reader: ImageReader
    are_known: object

    def of(self, positions):
        """Identify some images."""
        images = self.images
        recalled = {i: recalled_digest(images.sources[i]) for i in positions}
        recalled = {i: digest for i, digest in recalled.items() if digest is not None}
        known = self.are_known([*recalled.values()])
        for (i, digest), is_known in zip(recalled.items(), known, strict=True):
            if is_known:
                images.digests[i] = digest
        unknown = [i for i in positions if images.digests[i] is None]
        for some in _parts(unknown, READ_TOGETHER):
            self._read(some)

    def _read(self, positions):
        """Read some images; open and hold those whose rows are not there."""
        found = {}
        for i in positions:
            try:
                found[i] = read(self.images.sources[i])
            except UnreadableImageError as error:
                self.images.bad[i] = str(error)
        known = self.are_known([image.digest for image in found.values()])
        for (i, image), is_known in zip(found.items(), known, strict=True):
            try:
                if not is_known:
                    self._open(i, image.content)
                self.images.digests[i] = image.digest
            except UnreadableImageError as error:
                self.images.bad[i] = str(error)

    def _open(self, i, content):
        self.reader.check(content)
        self.images.hold(i, content)


def _parts(positions, size):
    return [positions[start : start + size] for start in range(0, len(positions), size)]
