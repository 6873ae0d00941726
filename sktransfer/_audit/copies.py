"""Copies among images: of the same content, or the same picture altered."""

from dataclasses import dataclass

import numpy as np

from sktransfer._audit.findings import Finding
from sktransfer._audit.overlays import FINE, near_copies

LEAST_SIDE = 32  # pixels: of less, different pictures are as alike as altered ones


@dataclass(frozen=True)
class Copy:
    """Two images that show the same picture.

    Attributes
    ----------
    row, earlier : int
        Of X.
    correlation : float
        2 if the contents are the same.
    words : str
    """

    row: int
    earlier: int
    correlation: float
    words: str

    @property
    def kind(self):
        return "exact duplicate" if self.correlation > 1 else "near duplicate"


@dataclass(frozen=True)
class Copies:
    """All pairs of copies that were found, the surest first.

    Attributes
    ----------
    pairs : list of Copy
    """

    pairs: list

    @classmethod
    def among(cls, thumbnails, features, rows):
        """Those among images whose rows of X these are."""
        first, pairs = {}, []
        for thumbnail, row in zip(thumbnails, rows.tolist(), strict=True):
            earlier = first.setdefault(thumbnail.digest, row)
            if earlier != row:
                pairs.append(Copy(row, earlier, 2.0, f"of row {earlier}"))
        are_large = np.array([min(one.image_size) >= LEAST_SIDE for one in thumbnails])
        originals = np.flatnonzero(np.isin(rows, list(first.values())) & are_large)
        if len(originals) > 1:
            pictures = [thumbnails[i].pixels for i in originals]
            near = near_copies(pictures, features[originals])
            pairs += _altered(near, rows[originals])
        return cls(sorted(pairs, key=lambda pair: -pair.correlation))

    def findings(self, y, groups):
        """Copies, and what of y and of groups differs between them; each may be None."""
        found = {}
        for pair in self.pairs:
            a, b = pair.row, pair.earlier
            self._note(found, pair, pair.kind, pair.words)
            if groups is not None and groups[a] != groups[b]:
                words = f"in {groups[a]}; row {b} in {groups[b]}"
                self._note(found, pair, "leak", words)
            if y is not None and np.any(y[a] != y[b]):
                self._note(found, pair, "two labels", f"{y[a]}; row {b} is {y[b]}")
        return list(found.values())

    def _note(self, found, pair, kind, words):
        score = min(pair.correlation, 1.0)
        finding = Finding(kind, pair.row, words, score, pair.earlier)
        is_copy = "duplicate" in kind  # an image is a copy once, in whatever way
        found.setdefault((pair.row, "copy" if is_copy else kind), finding)


def _altered(near, rows):
    """Altered copies, of images whose rows of X these are."""
    laid = zip(
        rows[near.whole],
        rows[near.part],
        near.size,
        near.mirrored,
        near.correlation,
        strict=True,
    )
    for one, other, size, mirrored, correlation in laid:
        row, earlier = max(int(one), int(other)), min(int(one), int(other))
        how = [
            word for word, true in (("mirrored", mirrored), ("a part", size < FINE)) if true
        ]
        words = f"of row {earlier}, {', '.join([*how, f'{correlation:.2f} alike'])}"
        yield Copy(row, earlier, min(float(correlation), 1.0), words)
