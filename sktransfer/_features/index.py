"""Key → place, of very many keys in little memory."""

from dataclasses import dataclass

import numpy as np

from sktransfer._features.segments import KEY_BYTES, KEY_WORDS

NEW_SHARE = 1 / 8  # new keys are sorted in once they are so many beside the others …
FEWEST_NEW = 4096  # … and no fewer than this
POSITION_BITS = 32  # a place is segment number << POSITION_BITS | position
NOWHERE = -1


class Index:
    """Where the row of a key is: in which segment, and at which position there.

    Most keys are sorted; a dict, which takes four times as much memory, has the last ones.
    """

    def __init__(self):
        self._sorted = _SortedKeys(np.empty((0, KEY_WORDS), np.uint64), np.empty(0, np.int64))
        self._new = {}  # key → place
        self._is_open = np.zeros(1, bool)  # by segment number; the last stands for `NOWHERE`
        self._forgotten = np.empty(0, np.int64)  # places in segments that are open

    def add(self, segments):
        """Add the keys of segments.

        Parameters
        ----------
        segments : dict
            Number → ndarray of shape (n, KEY_WORDS). A number is used once, ever.
        """
        places = {number: _places_in(number, len(keys)) for number, keys in segments.items()}
        n_new = sum(map(len, places.values())) + len(self._new)
        if n_new > max(FEWEST_NEW, NEW_SHARE * len(self._sorted.places)):
            self._sort_in([*segments.values()], [*places.values()])
        else:
            for number, keys in segments.items():
                self._new.update(zip(as_bytes(keys), places[number].tolist(), strict=True))
        for number in segments:
            self._open(number)

    def remove(self, number):
        """Forget a segment."""
        self._is_open[number] = False

    def forget(self, places):
        """Forget some places, whose rows cannot be read."""
        self._forgotten = np.concatenate([self._forgotten, places])

    def find(self, keys):
        """The place of each key, or `NOWHERE`.

        Parameters
        ----------
        keys : list of bytes

        Returns
        -------
        places : ndarray of int64
        """
        new = (self._new.get(key, NOWHERE) for key in keys)
        places = np.fromiter(new, np.int64, len(keys))
        places[~self._are_there(places)] = NOWHERE
        sought = np.flatnonzero(places == NOWHERE)
        for match in self._sorted.matches(_as_words([keys[i] for i in sought])):
            there = self._are_there(match.places)
            places[sought[match.sought[there]]] = match.places[there]
        return places

    def _are_there(self, places):
        there = self._is_open[places >> POSITION_BITS]
        return there & ~np.isin(places, self._forgotten) if len(self._forgotten) else there

    def _sort_in(self, keys, places):
        """Sort keys, and the new ones, in among the others, without those that are gone."""
        before, there = self._sorted, self._are_there(self._sorted.places)
        new = _as_words(list(self._new))
        new_places = np.fromiter(self._new.values(), np.int64, len(new))
        # In one step, before or after which an interrupt may come.
        self._sorted = _SortedKeys(
            np.concatenate([before.keys[there], new, *keys]),
            np.concatenate([before.places[there], new_places, *places]),
        )
        self._new = {}

    def _open(self, number):
        if number + 1 >= len(self._is_open):
            more = np.zeros(len(self._is_open) + number, bool)
            self._is_open = np.concatenate([self._is_open, more])
        self._is_open[number] = True


class _SortedKeys:
    """Keys and their places, found by bisection.

    Keys are hashes, and of ten million the first 40 bits tell nearly all apart. What is sorted
    are numbers made of these bits and of where a key stands: 48 bytes a key in all.

    Parameters
    ----------
    keys : ndarray of uint64 of shape (n, KEY_WORDS)
    places : ndarray of int64 of shape (n,)
    """

    def __init__(self, keys, places):
        self.keys, self.places = keys, places
        self._standing = np.uint64(
            (1 << len(keys).bit_length()) - 1
        )  # the bits that say where
        stands = np.arange(len(keys), dtype=np.uint64)
        self._entries = np.sort(keys[:, 0] & ~self._standing | stands)

    def matches(self, keys):
        """The places of each key: first one of each that has any, then others.

        Yields
        ------
        match : _Match
        """
        first_bits = keys[:, 0] & ~self._standing
        at, sought = np.searchsorted(self._entries, first_bits), np.arange(len(keys))
        while True:
            sought = sought[at[sought] < len(self._entries)]
            entries = self._entries[at[sought]]
            alike = entries & ~self._standing == first_bits[sought]
            sought, stands = sought[alike], (entries & self._standing)[alike]
            if not len(sought):
                return
            same = (self.keys[stands] == keys[sought]).all(axis=1)
            yield _Match(sought[same], self.places[stands[same]])
            at[sought] += 1


@dataclass(frozen=True)
class _Match:
    """Some of the keys that are sought, by their numbers, and a place of each."""

    sought: np.ndarray
    places: np.ndarray


def _places_in(number, n):
    return (number << POSITION_BITS) + np.arange(n)


def _as_words(keys):
    return np.frombuffer(b"".join(keys), np.uint64).reshape(-1, KEY_WORDS)


def as_bytes(keys):
    """Keys as a list of bytes."""
    return keys.view(f"V{KEY_BYTES}")[:, 0].tolist()
