"""Images → rows: look up, compute what is missing, keep it.

A row is what the frozen network makes of one view of an image, up to a cut. It depends on its
key alone: on the content of the image, the view, and the namespace, which is all else that
changes a row. Only its last bits may depend on the place in a batch, on some processors.
"""

import hashlib
import json
import math
import time
from collections import defaultdict, deque
from contextlib import ExitStack, nullcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from joblib import effective_n_jobs

from sktransfer._exceptions import BadRow, CacheWarning, InvalidImagesError, warn
from sktransfer._features.keys import namespace_of
from sktransfer._features.store import FeatureCache, RowStore
from sktransfer._features.writer import Writer, rounded
from sktransfer._images import decoding as _decoding
from sktransfer._images.decoding import UnreadableImageError
from sktransfer._networks.facts import (
    find_facts,
    load_network,
    note_facts,
    position_of,
    row_shape,
)
from sktransfer._runtime.backend import arithmetic
from sktransfer._runtime.threads import Workers

LOOK_AHEAD = 4  # batches that are being decoded while one is computed
DECODED_IMAGES = 32  # held for their further views

# Rows of an unaltered image are kept as computed; those of its augmented views, which only
# training sees, in half the space: no accuracy is lost (docs/benchmarks.md).
DTYPES = (np.dtype(np.float32), np.dtype(np.float16))


class Images:
    """Sources, read once and identified by their content.

    Attributes
    ----------
    sources : sequence
        As `check_images` returns it.
    name : str
        What they are called where one of them is bad.
    digests : list of bytes or None
        Of each; None where a source is no image.
    bad : dict
        Row → what is wrong with it.
    """

    def __init__(self, sources, name):
        self.sources, self.name = sources, name
        self.digests = [None] * len(sources)
        self.bad = {}

    def __len__(self):
        return len(self.sources)

    def bad_rows(self):
        return [
            BadRow(row, _decoding.path_of(self.sources[row]), self.bad[row])
            for row in sorted(self.bad)
        ]

    def raise_if_bad(self):
        if self.bad:
            raise InvalidImagesError(self.bad_rows(), self.name)


class Extractor:
    """The rows of views of images, at the cuts of one network.

    A cut is a pair: a layer, by name, position or None for the last, and a pooling, "avg",
    "max" or None. A view is a number: 0 is the unaltered image, others are drawn by
    `augmentation`, and their rows are rounded to half precision, kept or not.

    Parameters
    ----------
    spec : BackboneSpec
    cuts : list of (layer, pooling)
    augmentation : ImageAugmentation or None
    max_image_pixels, cache_dir, engine, n_jobs
        As in `PretrainedFeatureTransformer`.

    Attributes
    ----------
    facts : dict
        What is known of the network.
    shapes : list of tuple of int
        The shape of a row, at each cut.
    """

    def __init__(
        self,
        spec,
        cuts,
        *,
        cache_dir,
        augmentation=None,
        max_image_pixels=None,
        engine="keras",
        n_jobs=None,
    ):
        self._spec, self._cuts, self._augmentation = spec, cuts, augmentation
        self._max_pixels = max_image_pixels
        self._cache = FeatureCache(cache_dir)
        self._gave_up = False  # keeping
        self._token = lru_cache(augmentation.token) if augmentation else None
        self._engine, self._n_jobs = engine, n_jobs
        self._since = time.time()
        if self._cache.folder is not None and spec.preprocessing_token is None:
            raise ValueError(
                "features made by a function cannot be told apart in the cache: give the "
                "function that is preprocessing an attribute cache_token, a text that "
                "changes whenever the function does, or set cache_dir=None"
            )
        self._describe(find_facts(spec, self._cache))

    def identify(self, sources, name="X"):
        """Read each source once, for its digest; open those whose rows are not all there."""
        images = Images(sources, name)
        for shelves in self._shelves:
            for shelf in shelves:
                shelf.store.refresh()
        for row, source in enumerate(sources):
            try:
                content = _decoding.load(source)
                digest = _decoding.digest(content)
                if not (self._kept_cuts() and self._is_kept((digest, 0))):
                    _decoding.probe(content, self._spec.input_range, self._max_pixels)
                images.digests[row] = digest
            except UnreadableImageError as error:
                images.bad[row] = str(error)
        return images

    def shape(self, cut):
        """The shape of a row at one cut."""
        return self.shapes[self._cuts.index(cut)]

    def rows(self, images, items, cut, *, keep=True):
        """The rows of some views at one cut, looked up or computed.

        Parameters
        ----------
        images : Images
            What only decoding shows to be no image is added to its `bad`.
        items : list of (row of images, view)
        cut : (layer, pooling)
            One of `cuts`.
        keep : bool, default=True
            Whether what is computed goes to the cache.

        Returns
        -------
        rows : float32 ndarray of shape (len(items), *shape of a row)
            NaN for what is no image.
        """
        [rows] = self._rows(images, items, [self._cuts.index(cut)], keep)
        return rows

    def rows_side_by_side(self, images, items, watch):
        """The rows of some views at all cuts, flattened and concatenated.

        What is computed is watched, as in `keep`.
        """
        rows = self._rows(images, items, range(len(self._cuts)), keep=True, watch=watch)
        parts = [part.reshape(len(items), -1) for part in rows]
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def _rows(self, images, items, cuts, keep, watch=None):
        while True:
            outs = [np.empty((len(items), *self.shapes[cut]), np.float32) for cut in cuts]
            wanted = defaultdict(list)  # digest and view → positions in outs
            for position, (row, view) in enumerate(items):
                if row not in images.bad:
                    wanted[images.digests[row], view].append(position)
            self._take(wanted, cuts, outs)
            if not wanted or not self._load_network():
                break
        keep = keep and self._keeps() and (not wanted or self._has_room(cuts, wanted))
        readable = sum(row not in images.bad for row, _ in items)
        with _watched(watch, len(wanted), readable, "images") as advance:
            while wanted:
                missing = {view: items[positions[0]][0] for view, positions in wanted.items()}
                for view, features in self._compute(images, missing, cuts, keep):
                    positions = wanted.pop(view)
                    if features is not None:
                        for out, feature in zip(outs, features, strict=True):
                            out[positions] = feature
                        self._cache.count(hits=len(positions) - 1, misses=0)
                    advance()
                self._take(wanted, cuts, outs)  # what other processes have computed meanwhile
        bad = [position for position, (row, _) in enumerate(items) if row in images.bad]
        for out in outs:
            out[bad] = np.nan
        return outs

    def keep(self, images, views, rows, watch=None):
        """Compute what the cache lacks of some views of some rows, at all cuts at once.

        What only decoding shows to be no image is added to `images.bad`, kept or not.

        Parameters
        ----------
        images : Images
        views, rows : sequence of int
        watch : callable or None
            (number of views to compute, of views found, what they are called) → a context
            of a function to call for each that is computed.
        """
        missing = self._missing(images, views, rows)
        if missing and self._load_network():
            missing = self._missing(images, views, rows)
        cuts = self._kept_cuts()
        if missing:
            self._touch(images, views, rows)  # lest room be made at the expense of these
        if missing and not (self._keeps() and self._has_room(cuts, missing)):
            self._try_to_decode(images, sorted(set(missing.values())))
            return
        readable = len(views) * sum(row not in images.bad for row in rows)
        unit = "views" if any(views) else "images"
        with _watched(watch, len(missing), readable, unit) as advance:
            for _ in self._compute(images, missing, cuts, keep=True) if missing else ():
                advance()

    def _describe(self, facts):
        """Set what follows from the facts about the network."""
        self.facts, self._arithmetic = facts, arithmetic()
        self._size = tuple(facts["input_size"])
        self._positions = [(position_of(facts, layer), pool) for layer, pool in self._cuts]
        self.shapes = [row_shape(facts, *position) for position in self._positions]
        self._shelves = [
            [self._open_shelf(position, shape, dtype) for dtype in DTYPES]
            for position, shape in zip(self._positions, self.shapes, strict=True)
        ]

    def _open_shelf(self, position, shape, dtype):
        namespace = namespace_of(self._spec, self.facts, *position, dtype, self._engine)
        salt = hashlib.sha256(json.dumps(namespace, sort_keys=True).encode())
        return _Shelf(salt, self._cache.store(namespace, shape, dtype))

    def _load_network(self):
        """Load the network; return whether what was known of it before was out of date."""
        network = load_network(self._spec)
        self._network = network
        if network.facts == self.facts and arithmetic() == self._arithmetic:
            return False
        note_facts(self._spec, network.facts, self._cache)
        self._describe(network.facts)
        return True

    def _shelf(self, cut, view):
        """Where the row of a view (digest of the image, number) at a cut is kept."""
        return self._shelves[cut][1 if view[1] else 0]

    def _key(self, cut, view):
        digest, number = view
        key = self._shelf(cut, view).salt.copy()
        key.update(digest)
        if number:
            key.update(self._token(number))
        return key.digest()

    def _is_kept(self, view):
        return self._is_at(self._kept_cuts(), view)

    def _is_at(self, cuts, view):
        return all(self._key(cut, view) in self._shelf(cut, view).store for cut in cuts)

    def _kept_cuts(self, cuts=None):
        """Of all cuts or some, those but the input: pixels are decoded as quickly as read."""
        cuts = range(len(self._positions)) if cuts is None else cuts
        return [cut for cut in cuts if self._positions[cut][0] != 0]

    def _touch(self, images, views, rows):
        """Note that what the cache holds of some views of some rows is used."""
        digests = {images.digests[row] for row in rows if row not in images.bad}
        for cut in self._kept_cuts():
            for view in views:
                keys = [self._key(cut, (digest, view)) for digest in digests]
                self._shelf(cut, (None, view)).store.touch(keys)

    def _missing(self, images, views, rows):
        """Digest and view → row, for each view that the cache lacks at some cut."""
        return {
            (images.digests[row], view): row
            for row in rows
            for view in views
            if row not in images.bad and not self._is_kept((images.digests[row], view))
        }

    def _take(self, wanted, cuts, outs):
        """Copy what the cache holds, at all cuts, of wanted views: then wanted no more."""
        found = np.ones(len(outs[0]), dtype=bool)
        for cut, out in zip(cuts, outs, strict=True):
            found &= self._copy(wanted, cut, out)
        self._cache.count(hits=int(found.sum()), misses=0)
        for view in [view for view, positions in wanted.items() if found[positions].all()]:
            del wanted[view]

    def _copy(self, wanted, cut, out):
        """Copy what the cache holds of wanted views at one cut; which of them it is."""
        found = np.zeros(len(out), dtype=bool)
        for shelf in self._shelves[cut]:
            keys = [None] * len(out)
            for view, positions in wanted.items():
                if self._shelf(cut, view) is shelf:
                    for position in positions:
                        keys[position] = self._key(cut, view)
            found |= shelf.store.read(keys, out)
        return found

    def _has_room(self, cuts, views):
        """Whether rows of views at some cuts fit into the cache; a warning if they do not."""
        kept = self._kept_cuts(cuts)
        stores = (self._shelf(cut, view).store for view in views for cut in kept)
        nbytes = sum(store.dtype.itemsize * math.prod(store.shape) for store in stores)
        room = self._cache.make_room(nbytes, self._since)
        if not room:
            limit = f"SKTRANSFER_CACHE_SIZE = {self._cache.max_bytes:.3g} bytes"
            self._give_up(f"{nbytes:.3g} bytes more exceed its limit, {limit}")
        return room

    def _keeps(self):
        """Whether what is computed can go to the cache; a warning if it has no place."""
        if self._cache.homeless:
            self._give_up("this user has no home folder; SKTRANSFER_CACHE may name another")
        return self._cache.folder is not None and not self._gave_up

    def _give_up(self, reason):
        """Keep nothing any more, and say so once."""
        if not self._gave_up:
            message = f"features are right but not kept in the cache: {reason}"
            warn(message, CacheWarning)
        self._gave_up = True

    def _compute(self, images, missing, cuts, keep):
        """Run missing views through the network; yield each with its rows, one for each cut.

        None instead of rows stands for an image that cannot be decoded. What other processes
        write in the meantime is left out.
        """
        shelves = [shelf for cut in self._kept_cuts(cuts) for shelf in self._shelves[cut]]
        writers = {s: Writer(s.store, self._give_up) for s in shelves} if keep else {}
        with (
            ExitStack() as stack,
            self._decoders() as decoders,
        ):
            for writer in writers.values():
                stack.callback(writer.close)
            drawn = self._draw_ahead(decoders, images, missing, cuts, writers)
            for batch, left, jobs in drawn:
                yield from self._finish(images, batch, jobs, cuts, writers)
                for writer in writers.values():
                    writer.flush_if_due(left)

    def _decoders(self):
        return Workers(effective_n_jobs(self._n_jobs), "sktransfer-decode")

    def _try_to_decode(self, images, rows):
        """Note which rows only decoding shows to be no images."""

        def problem(row):
            try:
                self._decode(images.sources[row])
            except UnreadableImageError as error:
                return str(error)

        with self._decoders() as decoders:
            jobs = [decoders.submit(problem, row) for row in rows]
            problems = ((row, job.result()) for row, job in zip(rows, jobs, strict=True))
            images.bad.update((row, found) for row, found in problems if found)

    def _draw_ahead(self, decoders, images, missing, cuts, writers):
        """As `_batches`, with the jobs that draw the views, begun some batches before."""
        decode = lru_cache(DECODED_IMAGES)(lambda row: self._decode(images.sources[row]))
        begun = deque()
        for batch, left in self._batches(missing, cuts, writers):
            jobs = [decoders.submit(self._draw, decode, missing[view], view) for view in batch]
            begun.append((batch, left, jobs))
            if len(begun) > LOOK_AHEAD:
                yield begun.popleft()
        yield from begun

    def _batches(self, missing, cuts, writers):
        """Missing views, a batch at a time, those of one image one after the other.

        In the order in which they are asked for, so that the same call makes the same
        batches. Once others are seen to write rows like these, in an order of this process's
        own: each leaves out what the others have finished, and they seldom meet. Beside each
        batch comes about how many views are left to compute, infinity until others are seen.
        """
        views = _by_image(missing)
        stores = {self._shelf(cut, view).store for cut in cuts for view in missing}
        _refresh(stores)
        n_segments, alone = _n_segments(stores, writers), True
        seen = 0
        while seen < len(views):
            _refresh(stores)
            if alone and _n_segments(stores, writers) > n_segments:
                alone, rest = False, {view: missing[view] for view in views[seen:]}
                views[seen:] = _by_image(rest, np.random.default_rng())
            first, batch = seen, []
            while seen < len(views) and len(batch) < self._network.batch_sizes[-1]:
                if not self._is_at(cuts, views[seen]):
                    batch.append(views[seen])
                seen += 1
            if batch:
                left = len(batch) / (seen - first) * (len(views) - seen)
                yield batch, math.inf if alone else left

    def _decode(self, source):
        """Digest and pixels of a source, from one reading: it may have changed since."""
        content = _decoding.load(source)
        pixels = _decoding.decode(
            content, self._size, self._spec.input_range, self._max_pixels
        )
        return _decoding.digest(content), pixels

    def _draw(self, decode, row, view):
        """The pixels of a view of an image."""
        digest, pixels = decode(row)
        if digest != view[0]:
            raise UnreadableImageError("was changed while it was being read")
        return self._augmentation.view(pixels, *view) if view[1] else pixels

    def _finish(self, images, batch, jobs, cuts, writers):
        drawn, pixels = [], []
        for view, job in zip(batch, jobs, strict=True):
            try:
                pixels.append(job.result())
                drawn.append(view)
            except UnreadableImageError as error:
                bad = (row for row, digest in enumerate(images.digests) if digest == view[0])
                images.bad.update(dict.fromkeys(bad, str(error)))
                yield view, None
        if drawn:
            prepared = self._spec.preprocess(np.stack(pixels))
            positions = [self._positions[cut] for cut in cuts]
            computed = self._network.rows(
                prepared, positions, self._spec.precision, self._engine
            )
            self._cache.count(hits=0, misses=len(drawn))
            for view, *rows in zip(drawn, *computed, strict=True):
                yield (
                    view,
                    [
                        self._shelve(cut, view, row, writers)
                        for cut, row in zip(cuts, rows, strict=True)
                    ],
                )

    def _shelve(self, cut, view, row, writers):
        """Hand a row to its writer, if any; return it as it is kept."""
        shelf = self._shelf(cut, view)
        row = rounded(row, shelf.store.dtype)
        if shelf in writers and not self._gave_up:
            key = self._key(cut, view)
            if key not in shelf.store:  # where another cut of the view was missing
                writers[shelf].add(key, row)
        return row


class _Shelf(NamedTuple):
    """Where rows at one cut are kept, those of unaltered or those of augmented images."""

    salt: object  # the hash that each key begins with
    store: RowStore


def _by_image(missing, rng=None):
    """Views, those of one image one after the other; its images shuffled by `rng`, if any."""
    views_of = defaultdict(list)
    for view, row in missing.items():
        views_of[row].append(view)
    groups = list(views_of.values())
    if rng is not None:
        groups = [groups[i] for i in rng.permutation(len(groups))]
    return [view for group in groups for view in group]


def _refresh(stores):
    for store in stores:
        store.refresh()


def _n_segments(stores, writers):
    """How many segments of others were opened so far."""
    written = sum(writer.n_written for writer in writers.values())
    return sum(store.n_opened for store in stores) - written


def _watched(watch, n_missing, n_wanted, unit):
    """A context of a function to call for each of the missing ones that is computed."""
    if watch is None:
        return nullcontext(lambda: None)
    return watch(n_missing, n_wanted - n_missing, unit)
