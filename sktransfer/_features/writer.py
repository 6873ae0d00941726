"""Computed rows on their way into the cache."""

import time

import numpy as np

FLUSH_SECONDS = 1.0  # work that a killed process loses
FLUSH_BYTES = 32 << 20
FLUSH_SHARE = 0.05  # of what is left: what another process repeats, not knowing it done


class Writer:
    """Gathers computed rows, and hands them to the store before they are too many to lose.

    Attributes
    ----------
    n_written : int
        Segments written so far.
    """

    def __init__(self, store, give_up):
        self._store, self._give_up = store, give_up
        self.n_written = 0
        self._forget()

    def add(self, key, row):
        self._keys.append(key)
        self._rows.append(row)
        self._nbytes += row.nbytes

    def flush_if_due(self, left):
        """Write the rows if they are old, large, or many beside what others may repeat.

        The first ones at once: by them others see that somebody is at work.
        """
        late = not self.n_written or time.monotonic() - self._since > FLUSH_SECONDS
        if late or self._nbytes > FLUSH_BYTES or len(self._keys) > FLUSH_SHARE * left:
            self._flush()

    def close(self):
        self._flush()
        self._store.tidy()

    def _flush(self):
        if self._keys:
            try:
                self._store.write(self._keys, np.stack(self._rows))
                self.n_written += 1
            except OSError as error:
                self._give_up(f"{error.strerror} ({self._store.folder})")
        self._forget()

    def _forget(self):
        self._keys, self._rows, self._nbytes = [], [], 0
        self._since = time.monotonic()


def rounded(row, dtype):
    """A row as a type that may be narrower; what exceeds its range becomes its end."""
    if row.dtype == dtype:
        return row
    range_ = np.finfo(dtype)
    with np.errstate(under="ignore"):  # whatever the caller has NumPy do about it
        return np.clip(row, range_.min, range_.max).astype(dtype)
