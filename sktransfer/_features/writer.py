"""Computed rows on their way into the cache."""

import time

import numpy as np

from sktransfer._features.store import MANY_SEGMENTS

FLUSH_SECONDS = 1.0  # work that a killed process loses
FLUSH_BYTES = 32 << 20
FLUSH_SHARE = 0.05  # of what is left: what another process repeats, not knowing it done


class Writers:
    """Computed rows on their way: a context, at whose end all is written.

    Parameters
    ----------
    shelves : Shelves
    cuts : list of int
        The cuts that are computed, by their positions in the list of all.
    keep : bool
    """

    def __init__(self, shelves, cuts, keep):
        self._shelves, self._cuts = shelves, cuts
        self._kept = set(shelves.kept_cuts(cuts)) if keep else ()
        self._of_shelf = {}

    @property
    def n_written(self):
        """Segments written so far."""
        return sum(writer.n_written for writer in self._of_shelf.values())

    def put(self, view, rows):
        """Take the rows of a view, one for each cut; return them as they are kept."""
        return [self._put(view, *pair) for pair in zip(self._cuts, rows, strict=True)]

    def flush_if_due(self, left):
        """Write what may not wait; about `left` views are left to compute."""
        for writer in self._of_shelf.values():
            writer.flush_if_due(left)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for writer in self._of_shelf.values():
            writer.close()

    def _put(self, view, cut, row):
        shelf = self._shelves.shelf(cut, view.number)
        row = rounded(row, shelf.store.dtype)
        if cut in self._kept and not self._shelves.gave_up:
            if shelf not in self._of_shelf:
                self._of_shelf[shelf] = _Writer(shelf.store, self._shelves.give_up)
            self._of_shelf[shelf].add(shelf.key_of(view), row)
        return row


class _Writer:
    """Gathers computed rows, and hands them to the store before they are too many to lose.

    Attributes
    ----------
    n_written : int
        Segments written so far.
    """

    def __init__(self, store, give_up):
        self._store, self._give_up = store, give_up
        self.n_written = 0
        self._unmerged = []  # names of segments
        self._forget()

    def add(self, key, row):
        self._rows[key] = row
        self._nbytes += row.nbytes

    def flush_if_due(self, left):
        """Write the rows if they are old, large, or many beside what others may repeat.

        The first ones at once: by them others see that somebody is at work.
        """
        late = not self.n_written or time.monotonic() - self._since > FLUSH_SECONDS
        if late or self._nbytes > FLUSH_BYTES or len(self._rows) > FLUSH_SHARE * left:
            self._flush()

    def close(self):
        self._flush()
        self._store.tidy()

    def _flush(self):
        there = self._store.have(list(self._rows))  # if another cut of a view was missing
        pairs = zip(self._rows.items(), there, strict=True)
        rows = {key: row for (key, row), is_there in pairs if not is_there}
        if rows:
            try:
                self._write(rows)
            except OSError as error:
                self._give_up(f"{error.strerror} ({self._store.folder})")
        self._forget()

    def _write(self, rows):
        self._unmerged.append(self._store.write(list(rows), np.stack(list(rows.values()))))
        self.n_written += 1
        if len(self._unmerged) > MANY_SEGMENTS:
            self.n_written += self._store.merge(self._unmerged)
            self._unmerged = []

    def _forget(self):
        self._rows, self._nbytes, self._since = {}, 0, time.monotonic()


def rounded(row, dtype):
    """A row as a type that may be narrower; what exceeds its range becomes its end."""
    if row.dtype == dtype:
        return row
    range_ = np.finfo(dtype)
    with np.errstate(under="ignore"):  # whatever the caller has NumPy do about it
        return np.clip(row, range_.min, range_.max).astype(dtype)
