"""How missing rows are computed: images decoded ahead, drawn, and run by batches."""

import math
from dataclasses import dataclass
from functools import lru_cache

from joblib import cpu_count, effective_n_jobs

from sktransfer._features.agenda import Batch
from sktransfer._features.reading import ImageReader
from sktransfer._images.formats import UnreadableImageError, quiet_pillow
from sktransfer._networks.engines import ENGINES
from sktransfer._runtime.devices import gpu
from sktransfer._runtime.threads import Workers, behind
from sktransfer._runtime.workers import granted_threads

LOOK_AHEAD = 16  # images that are at least being decoded while others are computed
LOOK_AHEAD_OF_THREAD = 4
CORES_OF_A_DECODER = 4  # MobileNet takes five times as long as decoding a small photograph
DECODER = "sktransfer-decode"  # a thread's name
IN_FLIGHT = 1  # batches that wait on the device, behind the one that is computed
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
        n_threads = self.n_threads(images.are_large)
        with quiet_pillow, Workers(n_threads, DECODER) as decoders:
            drawings = self._drawings(network, decoders, images, positions, agenda)
            drawn_ahead = behind(drawings, self._n_ahead(network.info, n_threads))
            begun = (self._begun(network, cuts, images, drawing) for drawing in drawn_ahead)
            for computation in behind(begun, IN_FLIGHT):
                yield computation.batch, computation.rows_of()

    def check_pixels(self, images, positions, size):
        """Decode images only to note which of them cannot be."""

        def problem(i):
            try:
                self.reader.pixels(images, i, size)
            except UnreadableImageError as error:
                return str(error)

        n_threads = self.n_threads(images.are_large)
        with quiet_pillow, Workers(n_threads, DECODER) as decoders:
            jobs = [decoders.submit(problem, i) for i in positions]
            problems = ((i, job.result()) for i, job in zip(positions, jobs, strict=True))
            images.bad.update((i, found) for i, found in problems if found)

    def n_threads(self, are_large=False):
        """How many threads read, or decode images: as many as help, if nobody said."""
        if self.n_jobs is not None:
            return effective_n_jobs(self.n_jobs)
        cores = granted_threads() or cpu_count()
        all_help = are_large or gpu() is not None
        return max(effective_n_jobs(None), cores if all_help else cores // CORES_OF_A_DECODER)

    def _n_ahead(self, info, n_threads):
        """How many batches are being drawn while one is computed."""
        n_images = max(LOOK_AHEAD, LOOK_AHEAD_OF_THREAD * n_threads)
        return math.ceil(n_images / ENGINES[self.engine].batch_sizes(info)[-1])

    def _drawings(self, network, decoders, images, positions, agenda):
        """Each batch, whose views threads begin to draw."""
        size = network.info.input_size
        pixels = lru_cache(DECODED_IMAGES)(lambda i: self.reader.pixels(images, i, size))
        for batch in agenda:
            tasks = [
                decoders.submit(self._draw, pixels, positions[view], view)
                for view in batch.views
            ]
            yield _Drawing(batch, tasks)

    def _draw(self, pixels, i, view):
        """What the network is given of a view of an image."""
        drawn = pixels(i)
        if view.number:
            drawn = self.augmentation.view(drawn, view.digest, view.number)
        return self.reader.preprocessing(drawn)

    def _begun(self, network, cuts, images, drawing):
        """A batch that the network begins to compute, once it is drawn."""
        drawn, bad = {}, []
        for view, task in zip(drawing.batch.views, drawing.tasks, strict=True):
            try:
                drawn[view] = task.result()
            except UnreadableImageError as error:
                images.note_bad(view.digest, str(error))
                bad.append(view)
        arithmetic, rows = self.reader.preprocessing.arithmetic, None
        if drawn:
            given = list(drawn.values())
            rows = network.begin(given, cuts, self.precision, self.engine, arithmetic)
        return _Computation(drawing.batch, list(drawn), bad, rows)


@dataclass(frozen=True)
class _Drawing:
    """A batch whose views are being drawn."""

    batch: Batch
    tasks: list


@dataclass(frozen=True)
class _Computation:
    """A batch whose good views are being computed."""

    batch: Batch
    good: list
    bad: list
    rows: object

    def rows_of(self):
        """View → its rows, or None for a bad one."""
        rows_of = dict.fromkeys(self.bad)
        if self.good:
            rows_of |= zip(self.good, zip(*self.rows.fetch(), strict=True), strict=True)
        return rows_of
