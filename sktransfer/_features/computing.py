"""How missing rows are computed: images decoded ahead, drawn, and run by batches."""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from joblib import effective_n_jobs

from sktransfer._features.reading import ImageReader
from sktransfer._images.formats import UnreadableImageError, quiet_pillow
from sktransfer._runtime.threads import Workers

LOOK_AHEAD = 4  # batches that are being decoded while one is computed
DECODED_IMAGES = 32  # held for their further views


def load_network(source):
    """The `FrozenNetwork` of a source; Keras is imported here, not before it is needed."""
    from sktransfer._networks import frozen

    return frozen.load(source)


@dataclass(frozen=True)
class Computer:
    """Runs views of images through a network.

    Attributes
    ----------
    source : FamilySource, FileSource, ModelSource or PackedSource
        Of the network.
    reader : ImageReader
    augmentation : ImageAugmentation or None
    engine, precision : str
        As in `PretrainedFeatureTransformer`.
    n_jobs : int or None
        Number of threads that decode.
    """

    source: object
    reader: ImageReader
    augmentation: object = None
    engine: str = "keras"
    precision: str = "float32"
    n_jobs: int | None = None

    def compute(self, images, positions, cuts, agenda):
        """Run views through the network, batch by batch.

        Parameters
        ----------
        images : Images
            What only decoding shows to be no image is noted in it.
        positions : dict
            ViewKey → position of an image.
        cuts : list of Cut
        agenda : iterable of Batch

        Yields
        ------
        batch : Batch
        rows_of : dict
            ViewKey → its rows, one for each cut, or None for what cannot be decoded.
        """
        network = load_network(self.source)
        size = network.info.input_size
        pixels = lru_cache(DECODED_IMAGES)(lambda i: self.reader.pixels(images, i, size))
        with quiet_pillow, self._decoders() as decoders:
            for batch, jobs in self._draw_ahead(decoders, pixels, positions, agenda):
                yield batch, self._run(network, cuts, images, batch, jobs)

    def check_pixels(self, images, positions, size):
        """Decode images only to note which of them cannot be."""

        def problem(i):
            try:
                self.reader.pixels(images, i, size)
            except UnreadableImageError as error:
                return str(error)

        with quiet_pillow, self._decoders() as decoders:
            jobs = [decoders.submit(problem, i) for i in positions]
            problems = ((i, job.result()) for i, job in zip(positions, jobs, strict=True))
            images.bad.update((i, found) for i, found in problems if found)

    def _decoders(self):
        return Workers(effective_n_jobs(self.n_jobs), "sktransfer-decode")

    def _draw_ahead(self, decoders, pixels, positions, agenda):
        """Each batch with the jobs that draw its views, begun some batches before."""
        begun = deque()
        for batch in agenda:
            jobs = [
                decoders.submit(self._draw, pixels, positions[view], view)
                for view in batch.views
            ]
            begun.append((batch, jobs))
            if len(begun) > LOOK_AHEAD:
                yield begun.popleft()
        yield from begun

    def _draw(self, pixels, i, view):
        """The pixels of a view of an image."""
        unaltered = pixels(i)
        if view.number == 0:
            return unaltered
        return self.augmentation.view(unaltered, view.digest, view.number)

    def _run(self, network, cuts, images, batch, jobs):
        rows_of, drawn, pixels = {}, [], []
        for view, job in zip(batch.views, jobs, strict=True):
            try:
                pixels.append(job.result())
                drawn.append(view)
            except UnreadableImageError as error:
                images.note_bad(view.digest, str(error))
                rows_of[view] = None
        if drawn:
            prepared = self.reader.preprocessing(np.stack(pixels))
            rows = network.rows(prepared, cuts, self.precision, self.engine)
            rows_of |= zip(drawn, zip(*rows, strict=True), strict=True)
        return rows_of
