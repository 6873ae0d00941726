"""Which images there are: each source read for its digest, several at a time."""

from dataclasses import dataclass

from sktransfer._features.reading import ImageReader, Images
from sktransfer._images.formats import UnreadableImageError, quiet_pillow
from sktransfer._images.sources import read, recalled_digest
from sktransfer._runtime.progress import images_bar
from sktransfer._runtime.threads import Workers

SMALLEST_PART, LARGEST_PART = 4, 256  # images that a thread takes at once
PARTS_OF_A_THREAD = 4  # so that all end together
READ_BYTES = 1 << 20  # of files that a thread has in memory, which more would slow down


def identify(images, computer, are_known, verbose):
    """Note the digest of each image, or what is wrong with it.

    A file that was read before, is unchanged, and whose rows are there, is not read.

    Parameters
    ----------
    images : Images
    computer : Computer
        Of their rows, which knows how images are read, and by how many threads.
    are_known : callable
        List of digests → of which there are rows, so that these images are good.
    verbose : int
        Whether to show a bar.
    """
    identification, n = _Identification(images, computer.reader, are_known), len(images)
    # To count processors takes longer than to look up a few images.
    n_threads = computer.n_threads() if n > SMALLEST_PART else 1
    size = min(max(n // (PARTS_OF_A_THREAD * n_threads), SMALLEST_PART), LARGEST_PART)
    parts = [range(start, min(start + size, n)) for start in range(0, n, size)]
    with quiet_pillow, images_bar(verbose, "Reading", n) as advance:
        if n_threads == 1:  # another thread costs more than it brings
            for part in parts:
                identification.of(part)
                advance(len(part))
            return
        with Workers(n_threads, "sktransfer-identify") as workers:
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
        self._read(i for i in positions if images.digests[i] is None)

    def _read(self, positions):
        """Read some images, a few at a time."""
        few, nbytes = {}, 0
        for i in positions:
            try:
                few[i] = read(self.images.sources[i])
            except UnreadableImageError as error:
                self.images.bad[i] = str(error)
                continue
            nbytes += few[i].file_nbytes
            if nbytes > READ_BYTES:
                self._note(few)
                few, nbytes = {}, 0
        self._note(few)

    def _note(self, read_images):
        """Note the digests of images; open and hold those whose rows are not there."""
        known = self.are_known([image.digest for image in read_images.values()])
        for (i, image), is_known in zip(read_images.items(), known, strict=True):
            try:
                if not is_known:
                    self.reader.check(image.content)
                    self.images.hold(i, image.content)
                self.images.digests[i] = image.digest
            except UnreadableImageError as error:
                self.images.bad[i] = str(error)
