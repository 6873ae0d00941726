"""Images × network → rows: looked up, or computed and kept.

A row is what the frozen network makes of one view of an image, up to a cut. It depends on its
key alone; only its last bits may depend on the place in a batch, on some processors.
"""

from collections import defaultdict
from contextlib import nullcontext

import numpy as np

from sktransfer._features.agenda import batches_of
from sktransfer._features.computing import Computer, load_network
from sktransfer._features.identification import identify
from sktransfer._features.keys import ViewKey
from sktransfer._features.reading import Images
from sktransfer._features.shelves import Shelves
from sktransfer._features.writer import Writers
from sktransfer._networks.engines import ENGINES


def find_info(source, cache):
    """What there is to know of a network, from the cache or from building it."""
    return cache.read_info(source.identity()) or _noted(source, cache)


def _noted(source, cache):
    """The info of a network that is built, kept for the next time."""
    info = load_network(source).info
    # The identity again: the weights may have been downloaded just now.
    cache.write_info(source.identity(), info)
    return info


def _unwatched(n_missing, n_found, unit):
    """A context of a function to call for each that is computed, which does nothing."""
    return nullcontext(lambda: None)


class Extractor:
    """The rows of views of images, at the cuts of one network.

    View 0 is the unaltered image; others are drawn by `augmentation`, and their rows are
    rounded to half precision, kept or not.

    Parameters
    ----------
    source : FamilySource, FileSource, ModelSource or PackedSource
    info : NetworkInfo
        Of that network, as `find_info` found it.
    cuts : list of Cut
    reader : ImageReader
    cache : FeatureCache
    **how
        `augmentation`, `engine`, `precision` and `n_jobs`, as in `Computer`.

    Attributes
    ----------
    info : NetworkInfo
    cuts : list of Cut
        As they were asked for.
    """

    def __init__(self, source, info, cuts, reader, cache, **how):
        if cache.folder is not None and reader.preprocessing.token is None:
            raise ValueError(
                "features made by a function cannot be told apart in the cache: give the "
                "function that is preprocessing an attribute cache_token, a text that changes "
                "whenever the function does, or set cache_dir=None"
            )
        self._computer = Computer(source, reader, **how)
        self._cache, self.cuts = cache, cuts
        self._open_shelves(info, cuts)

    def _open_shelves(self, info, cuts):
        computer = self._computer
        self.info, self._cuts, self._engine_key = info, cuts, ENGINES[computer.engine].key()
        self._shelves = Shelves(
            self._cache,
            info,
            cuts,
            computer.reader,
            self._engine_key,
            computer.precision,
            computer.augmentation,
        )

    @property
    def keeps(self):
        """Whether there is a cache."""
        return self._cache.folder is not None

    def shape(self, cut):
        """The shape of a row at one cut."""
        return self._shelves.shapes[self.cuts.index(cut)]

    def identify(self, sources, name="X", first=0, verbose=0):
        """The images that sources are; those whose rows are not all there are opened.

        Parameters
        ----------
        sources : sequence
        name : str, default="X"
            What they are called where one of them is bad.
        first : int, default=0
            The row of X that the first of them is.
        verbose : int, default=0
            Whether to show a bar.

        Returns
        -------
        images : Images
        """
        images = Images(sources, name, first)
        self._shelves.refresh()
        identify(images, self._computer, self._are_known, verbose)
        return images

    def refuse_bad(self, images):
        """Raise an error that names all bad images, if opening them has shown any."""
        if images.bad:
            self.find_bad(images)
            images.raise_if_bad()

    def find_bad(self, images):
        """Note those too that only decoding shows to be bad, of images without rows."""
        good = images.good()
        known = self._are_known([images.digests[i] for i in good])
        unknown = good[~known].tolist()
        self._computer.check_pixels(images, unknown, self.info.input_size)

    def _are_known(self, digests):
        """Of which images rows are there at all cuts that are kept, so that they are good."""
        cuts = self._shelves.kept_cuts()
        if not cuts:
            return np.zeros(len(digests), dtype=bool)
        return self._shelves.have([ViewKey(digest, 0) for digest in digests], cuts)

    def rows(self, images, items, cuts, *, keep=True, watch=_unwatched):
        """The rows of some views at some cuts, looked up or computed.

        Parameters
        ----------
        images : Images
            What only decoding shows to be no image is added to its `bad`.
        items : list of (position of an image, number of a view)
        cuts : list of Cut
            Of those that the extractor has.
        keep : bool, default=True
            Whether what is computed goes to the cache.
        watch : callable
            (number of views to compute, of views found, what they are called) → a context of
            a function to call for each that is computed.

        Returns
        -------
        rows : list of float32 ndarray of shape (len(items), *shape of a row), one for each cut
            NaN for what is no image.
        """
        cuts = [self.cuts.index(cut) for cut in cuts]
        wanted, outs = self._look_up(images, items, cuts)
        if wanted and self._was_outdated():
            wanted, outs = self._look_up(images, items, cuts)
        keep = keep and bool(wanted) and self._shelves.can_keep(wanted, cuts)
        readable = sum(i not in images.bad for i, _ in items)
        with watch(len(wanted), readable - len(wanted), "images") as advance:
            while wanted:
                missing = {view: items[places[0]][0] for view, places in wanted.items()}
                for view, rows in self._computed(images, missing, cuts, keep):
                    places = wanted.pop(view)
                    if rows is not None:
                        for out, row in zip(outs, rows, strict=True):
                            out[places] = row
                        self._cache.count(hits=len(places) - 1, misses=0)
                    advance()
                self._shelves.take(wanted, cuts, outs)  # what others computed meanwhile
        bad = [place for place, (i, _) in enumerate(items) if i in images.bad]
        for out in outs:
            out[bad] = np.nan
        return outs

    def fill(self, images, numbers, positions, watch=_unwatched):
        """Compute and keep what is missing of some views of some images, at all cuts at once.

        What only decoding shows to be no image is added to `images.bad`, kept or not.

        Parameters
        ----------
        images : Images
        numbers : sequence of int
            Of views.
        positions : sequence of int
            Of images.
        watch : callable
            As in `rows`.
        """
        views = self._views(images, numbers, positions)
        missing = self._missing(views)
        if missing and self._was_outdated():
            missing = self._missing(views)
        cuts = self._shelves.kept_cuts()
        if missing:
            self._shelves.touch(list(views))  # or room could be made at the expense of these
            if not self._shelves.can_keep(missing, cuts):
                positions = sorted(set(missing.values()))
                self._computer.check_pixels(images, positions, self.info.input_size)
                return
        unit = "views" if any(numbers) else "images"
        with watch(len(missing), len(views) - len(missing), unit) as advance:
            for _ in self._computed(images, missing, cuts, keep=True) if missing else ():
                advance()
        images.release()

    def _look_up(self, images, items, cuts):
        """Wanted views that are not there → places of items; and arrays of what is there."""
        outs = [np.empty((len(items), *self._shelves.shapes[cut]), np.float32) for cut in cuts]
        wanted = defaultdict(list)
        for place, (i, number) in enumerate(items):
            if i not in images.bad:
                wanted[ViewKey(images.digests[i], number)].append(place)
        self._shelves.take(wanted, cuts, outs)
        return wanted, outs

    def _views(self, images, numbers, positions):
        """ViewKey → position, of some views of the images that can be read."""
        return {
            ViewKey(images.digests[i], number): i
            for i in positions
            if i not in images.bad
            for number in numbers
        }

    def _missing(self, views):
        """Of these, those of which rows are missing at some cut."""
        cuts = self._shelves.kept_cuts()
        there = self._shelves.have(list(views), cuts)
        return {
            view: views[view]
            for view, is_there in zip(views, there, strict=True)
            if not is_there
        }

    def _was_outdated(self):
        """Load the network; whether what was known of it was out of date, and no more is."""
        source, engine = self._computer.source, ENGINES[self._computer.engine]
        info = load_network(source).info
        if info == self.info and engine.key() == self._engine_key:
            return False
        _noted(source, self._cache)
        cuts = [
            info.cut_at(self.info.layers[cut.position].name, cut.pooling) for cut in self._cuts
        ]
        self._open_shelves(info, cuts)
        return True

    def _computed(self, images, missing, cuts, keep):
        """Compute missing views; yield each with its rows, one for each cut.

        None instead of rows stands for an image that cannot be decoded. What other processes
        write in the meantime is left out.
        """
        computed_cuts = [self._cuts[cut] for cut in cuts]
        size = ENGINES[self._computer.engine].batch_sizes(self.info)[-1]
        with Writers(self._shelves, cuts, keep) as writers:
            agenda = batches_of(missing, self._shelves, cuts, writers, size)
            computed = self._computer.compute(images, missing, computed_cuts, agenda)
            for batch, rows_of in computed:
                for view, rows in rows_of.items():
                    if rows is None:
                        yield view, None
                        continue
                    self._cache.count(hits=0, misses=1)
                    yield view, writers.put(view, rows)
                writers.flush_if_due(batch.left)
