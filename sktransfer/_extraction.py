"""Images → rows: look up, compute what is missing, keep it.

A row is what the frozen network makes of one image, up to one layer. Its bits depend on its
key alone: on the content of the image and on the namespace, all else that changes a row.
"""

import hashlib
import importlib.metadata
import json
import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice

import numpy as np
from joblib import effective_n_jobs

from sktransfer import _decoding
from sktransfer._backbones import keras_backend, nearest
from sktransfer._cache import FeatureCache
from sktransfer._decoding import UnreadableImageError
from sktransfer._exceptions import (
    BackboneError,
    BadRow,
    CacheWarning,
    InvalidImagesError,
    InvalidImagesWarning,
    list_bad_rows,
)

FORMAT = 1  # of keys and namespaces: raised when either changes its meaning
FLUSH_SECONDS = 1.0  # work that a killed process loses, or another process repeats
FLUSH_BYTES = 32 << 20
LOOK_AHEAD = 4  # batches that are being decoded while one is computed


def extract(sources, spec, cut, *, cache_dir, on_error, n_jobs, verbose):
    """The rows of some images.

    Parameters
    ----------
    sources : sequence
        As `check_images` returns it.
    spec : BackboneSpec
    cut : (layer, pooling)
        Layer name or None, and "avg", "max" or None.
    cache_dir, on_error, n_jobs, verbose
        As in `PretrainedFeatureTransformer`.

    Returns
    -------
    rows : float32 ndarray of shape (n, *shape of a row)
    """
    cache = FeatureCache(cache_dir)
    if cache.folder is not None and spec.preprocessing_token is None:
        raise ValueError(
            "features made by a function cannot be told apart in the cache: give the "
            "function that is preprocessing an attribute cache_token, a text that changes "
            "whenever the function does, or set cache_dir=None"
        )
    facts = _facts(spec, cache)
    extraction = _Extraction(sources, spec, cut, facts, cache, on_error)
    extraction.look_up()
    if extraction.missing:
        network = _load(spec)
        if network.facts != facts:  # what the cache knew of the network is out of date
            _note(spec, network.facts, cache)
            extraction = _Extraction(sources, spec, cut, network.facts, cache, on_error)
            extraction.look_up()
        extraction.compute(network, effective_n_jobs(n_jobs), verbose)
    return extraction.rows()


def row_shape(spec, cut, *, cache_dir):
    """The shape of the row of one image."""
    return _shape_of(_facts(spec, FeatureCache(cache_dir)), cut)


class _Extraction:
    """The rows of one call: those looked up, those computed, those that cannot be.

    Attributes
    ----------
    missing : dict
        Key → rows of X that wait for it.
    """

    def __init__(self, sources, spec, cut, facts, cache, on_error):
        self._sources, self._spec, self._cache = sources, spec, cache
        self._on_error = on_error
        self._layer, self._pooling = _position(facts, cut[0]), cut[1]
        self._size = tuple(facts["input_size"])
        namespace = _namespace(spec, facts, self._layer, self._pooling)
        self._salt = hashlib.sha256(json.dumps(namespace, sort_keys=True).encode())
        shape = _shape_of(facts, cut)
        self._store = cache.store(namespace, shape)
        self._out = np.empty((len(sources), *shape), dtype=np.float32)
        self._bad = {}  # row of X → what is wrong with it
        self.missing = {}

    def look_up(self):
        """Fill in what the cache holds, and find what opening the others shows."""
        self._started = time.time()
        self._store.refresh()
        keys = [self._identify(row) for row in range(len(self._sources))]
        found = self._fill_in(keys)
        for row, key in enumerate(keys):
            if not found[row] and row not in self._bad:
                self.missing.setdefault(key, []).append(row)
        self._raise_if_bad()

    def compute(self, network, n_threads, verbose):
        """Compute what is missing, and keep it as it comes."""
        waiting = sum(map(len, self.missing.values()))
        with (
            closing(self._open_writer()) as writer,
            _progress(verbose, len(self._sources), waiting) as advance,
            ThreadPoolExecutor(n_threads, "sktransfer-decode") as pool,
        ):
            while self.missing:
                for keys, jobs in self._decode_ahead(pool, network.batch):
                    self._compute_batch(network, keys, jobs, writer)
                    advance(waiting - sum(map(len, self.missing.values())))
                self._take_from_others()
        self._raise_if_bad()

    def rows(self):
        """All rows; NaN, after a warning, where a row of X is no image."""
        if self._bad:
            self._out[list(self._bad)] = np.nan
            message = f"{list_bad_rows(self._bad_rows())}\nTheir features are NaN."
            warnings.warn(message, InvalidImagesWarning, stacklevel=4)
        return self._out

    def _identify(self, row):
        """The key of one row of X, or None where it shows to be no image."""
        try:
            content = _decoding.load(self._sources[row])
            key = self._key(content)
            if key not in self._store:
                _decoding.probe(content, self._spec.input_range)
            return key
        except UnreadableImageError as error:
            self._bad[row] = str(error)
            return None

    def _key(self, content):
        key = self._salt.copy()
        key.update(_decoding.digest(content))
        return key.digest()

    def _fill_in(self, keys):
        """Read the rows of those keys (None: not wanted); return which were found."""
        found = self._store.read(keys, self._out)
        self._cache.count(hits=int(found.sum()), misses=0)
        return found

    def _open_writer(self):
        row_bytes = self._out.nbytes // len(self._out)
        writer = _Writer(self._store)
        if not self._cache.make_room(len(self.missing) * row_bytes, self._started):
            limit = f"{self._cache.max_bytes:.3g} bytes"
            writer.stop(f"they exceed the cache's limit, SKTRANSFER_CACHE_SIZE = {limit}")
        return writer

    def _decode_ahead(self, pool, size):
        """Batches of keys and the jobs that decode them, begun some batches before."""
        begun = deque()
        for keys in self._batches(size):
            jobs = [pool.submit(self._decode, self.missing[key][0]) for key in keys]
            begun.append((keys, jobs))
            if len(begun) > LOOK_AHEAD:
                yield begun.popleft()
        yield from begun

    def _batches(self, size):
        """Keys that are still missing, a batch at a time.

        In an order of this process's own: where several work on the same images, each
        leaves out what the others have finished, and they seldom meet.
        """
        keys = list(self.missing)
        order = (keys[i] for i in np.random.default_rng().permutation(len(keys)))
        while True:
            self._store.refresh()
            batch = list(islice((k for k in order if k not in self._store), size))
            if not batch:
                return
            yield batch

    def _decode(self, row):
        """Key and pixels of a row of X, from one reading: it may have changed since."""
        content = _decoding.load(self._sources[row])
        pixels = _decoding.decode(content, self._size, self._spec.input_range)
        return self._key(content), pixels

    def _compute_batch(self, network, keys, jobs, writer):
        actual_keys, images, targets = [], [], []
        for key, job in zip(keys, jobs, strict=True):
            rows = self.missing.pop(key)
            try:
                actual_key, pixels = job.result()
            except UnreadableImageError as error:
                self._bad.update(dict.fromkeys(rows, str(error)))
            else:
                actual_keys.append(actual_key)
                images.append(pixels)
                targets.append(rows)
        if images:
            batch = self._spec.preprocess(np.stack(images))
            computed = network.rows(batch, self._layer, self._pooling)
            for rows, features in zip(targets, computed, strict=True):
                self._out[rows] = features
            writer.add(actual_keys, computed)
            repeated = sum(map(len, targets)) - len(targets)
            self._cache.count(hits=repeated, misses=len(targets))

    def _take_from_others(self):
        """Fill in what other processes have computed meanwhile."""
        keys = [None] * len(self._sources)
        for key, rows in self.missing.items():
            for row in rows:
                keys[row] = key
        found = self._fill_in(keys)
        self.missing = {k: r for k, r in self.missing.items() if not found[r[0]]}

    def _raise_if_bad(self):
        if self._bad and self._on_error == "raise":
            raise InvalidImagesError(self._bad_rows())

    def _bad_rows(self):
        return [
            BadRow(row, _decoding.path_of(self._sources[row]), self._bad[row])
            for row in sorted(self._bad)
        ]


class _Writer:
    """Gathers computed rows and hands them to the store every second."""

    def __init__(self, store):
        self._store = store
        self._stopped = False
        self._forget()

    def add(self, keys, rows):
        if self._stopped:
            return
        self._keys += keys
        self._rows.append(rows)
        self._nbytes += rows.nbytes
        late = time.monotonic() - self._since > FLUSH_SECONDS
        if late or self._nbytes > FLUSH_BYTES:
            self._flush()

    def stop(self, reason):
        """Keep nothing more, and say so once."""
        self._stopped = True
        message = f"features are right but not kept in the cache: {reason}"
        warnings.warn(message, CacheWarning, stacklevel=6)

    def close(self):
        self._flush()
        self._store.tidy()

    def _flush(self):
        if self._keys:
            try:
                self._store.write(self._keys, np.concatenate(self._rows))
            except OSError as error:
                self.stop(str(error))
        self._forget()

    def _forget(self):
        self._keys, self._rows, self._nbytes = [], [], 0
        self._since = time.monotonic()


def _facts(spec, cache):
    """What there is to know of a network, from the cache or from building it."""
    identity = spec.identity()
    facts = None if identity is None else cache.read_manifest(identity)
    if facts is None:
        facts = _load(spec).facts
        _note(spec, facts, cache)
    return facts


def _note(spec, facts, cache):
    identity = spec.identity()  # again: the weights may have been downloaded just now
    if identity is not None:
        cache.write_manifest(identity, facts)


def _load(spec):
    from sktransfer import (
        _frozen,
    )  # and so Keras: not before something must be computed

    return _frozen.load(spec)


def _position(facts, layer):
    """Where a layer stands in a network's list; None means its end."""
    if layer is None:
        return facts["output"]
    names = [name for name, _ in facts["layers"]]
    if layer not in names:
        raise BackboneError(f"no layer {layer!r}; {nearest(layer, names)}")
    position = names.index(layer)
    if facts["layers"][position][1] is None:
        raise BackboneError(f"layer {layer!r} has several outputs")
    return position


def _shape_of(facts, cut):
    layer, pooling = cut
    shape = facts["layers"][_position(facts, layer)][1]
    return tuple(shape if pooling is None else shape[-1:])


def _namespace(spec, facts, layer, pooling):
    """All that changes a row, but for the image: in plain values."""
    token = spec.preprocessing_token
    return {
        "format": FORMAT,
        "network": facts["fingerprint"],
        "layer": layer,
        "pooling": pooling,
        "input_size": list(facts["input_size"]),
        "input_range": [float(bound) for bound in spec.input_range],
        "preprocessing": token,
        "resize": _decoding.RESIZE_FILTER,
        "decoder": f"Pillow {importlib.metadata.version('pillow')}",
        "precision": "float32",
        "backend": keras_backend(),
    }


@contextmanager
def _progress(verbose, total, waiting):
    """A function to call with the number of images computed so far."""
    if not verbose:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        hits = total - waiting
        task = bar.add_task(f"Extracting ({hits} cached)", total=total, completed=hits)
        yield lambda done: bar.update(task, completed=hits + done)
