"""`AuditReport`: what is wrong with images, as text, as a table, as pictures and in HTML."""

import base64
import html
import io
from collections import Counter

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support, check_pandas_support

from sktransfer._audit.findings import KINDS
from sktransfer._displays.tiles import ORANGE, axes_of_tiles, shortened, write_above
from sktransfer._images.formats import UnreadableImageError
from sktransfer._images.sources import path_of

PRINTED = 5  # of a kind, in text
PICTURED = 20  # of a kind, in HTML
SIDE = 96  # pixels of a picture there
LONGEST_NAME = 50  # characters of a path in text


class AuditReport:
    """What `audit_images` found.

    It prints as text, and is shown with pictures in a notebook.

    Attributes
    ----------
    findings : list of Finding
        What is wrong with which image: ``kind``, ``row`` (of X), ``detail`` (in words),
        ``score`` (the higher, the surer or the worse, within a kind) and ``other`` (the row of
        the image that it is a copy of, or None). Kinds come in the order below, and within a
        kind the worst first.
    n_images : int
        How many were looked at.
    label_quality : ndarray of shape (n_images,) or None
        How well the label of each image is supported, from 0 to 1; NaN of images that cannot
        be judged. None without labels.

    Notes
    -----
    The kinds are ``"unreadable"``, ``"leak"`` (a copy lies in another group), ``"two labels"``
    (a copy has another label), ``"exact duplicate"``, ``"near duplicate"``, ``"suspect
    label"``, ``"blank"``, ``"dark"``, ``"bright"``, ``"blurred"``, ``"odd size"``, ``"odd
    shape"``, ``"colour among grey"`` and ``"grey among colour"``.

    See Also
    --------
    audit_images : Makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import PretrainedFeatureTransformer, audit_images
    >>> X = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    >>> X[2] = X[0]
    >>> print(audit_images(X, estimator=PretrainedFeatureTransformer("tiny")))
    3 images, 1 of them with findings
    <BLANKLINE>
    exact duplicate: 1 (the content is that of an earlier image)
      row 2: of row 0
    """

    def __init__(self, findings, pictures, label_quality=None):
        order = list(KINDS)
        self.findings = sorted(
            findings, key=lambda one: (order.index(one.kind), -one.score, one.row)
        )
        self.n_images = len(pictures)
        self.label_quality = label_quality
        self._pictures = pictures

    def rows(self, kind=None):
        """The rows of X with a finding.

        Parameters
        ----------
        kind : str, default=None
            One of the kinds; None is any.

        Returns
        -------
        rows : int ndarray of shape (n_rows,)
            Each once, the worst first.
        """
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind={kind!r} is none of {tuple(KINDS)}")
        chosen = (one.row for one in self.findings if kind in (None, one.kind))
        return np.array(list(dict.fromkeys(chosen)), dtype=int)

    def to_frame(self):
        """The findings as a pandas data frame.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``kind``, ``row``, ``path`` (None where X holds no paths), ``detail``,
            ``score`` and ``other``.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        pandas = check_pandas_support("AuditReport.to_frame")
        columns = {
            name: [getattr(one, name) for one in self.findings]
            for name in ("kind", "row", "detail", "score", "other")
        }
        frame = pandas.DataFrame(columns)
        frame.insert(2, "path", [path_of(self._pictures.sources[i]) for i in frame["row"]])
        return frame.astype({"other": "Int64"})

    def plot(self, *, kinds=None, n_images=12, n_columns=4, ax=None):
        """Draw images with findings.

        Parameters
        ----------
        kinds : sequence of str, default=None
            Which kinds. None is all.
        n_images : int, default=12
            How many, at most; of each kind in turn. Beside a copy stands the image that it is
            a copy of.
        n_columns : int, default=4
            Of a new figure.
        ax : array-like of matplotlib Axes, default=None
            One for each image. None makes a new figure.

        Returns
        -------
        figure : matplotlib Figure

        Raises
        ------
        ImportError
            Matplotlib is not installed: it comes with the extra ``sktransfer[plot]``.
        """
        check_matplotlib_support("AuditReport.plot")
        tiles = self._tiles(kinds, n_images)
        axes = axes_of_tiles(ax, len(tiles), n_columns, title_lines=2)
        for one, (row, lines, color) in zip(axes, tiles, strict=True):
            self._pictures.draw(one, row)
            write_above(one, lines, color)
        return axes[0].figure

    def _tiles(self, kinds, n_images):
        """Row, words and colour of each tile."""
        of_kinds = {}
        for one in self.findings:
            if kinds is None or one.kind in kinds:
                of_kinds.setdefault(one.kind, []).append(one)
        tiles = []
        for place in range(max(map(len, of_kinds.values()), default=0)):
            for found in of_kinds.values():
                if place < len(found):
                    one = found[place]
                    short = one.detail.partition(" (")[0]
                    tiles.append((one.row, [one.kind, short], ORANGE))
                    if one.other is not None:
                        tiles.append(
                            (one.other, ["the original:", f"row {one.other}"], "black")
                        )
        return tiles[:n_images]

    def __str__(self):
        counts = Counter(one.kind for one in self.findings)
        n = len(self.rows())
        if not n:
            return f"{self.n_images:,} images, nothing found"
        lines = [f"{self.n_images:,} images, {n:,} of them with findings"]
        for kind, count in counts.items():
            lines.append(f"\n{kind}: {count:,} ({KINDS[kind]})")
            some = [one for one in self.findings if one.kind == kind]
            lines += [f"  {self._line(one)}" for one in some[:PRINTED]]
            if count > PRINTED:
                lines.append(f"  … and {count - PRINTED:,} more")
        return "\n".join(lines)

    def __repr__(self):
        return f"<AuditReport of {self.n_images:,} images: {len(self.findings):,} findings>"

    def _line(self, one):
        path = path_of(self._pictures.sources[one.row])
        name = f"{one.row}" if path is None else f"{one.row} {shortened(path, LONGEST_NAME)}"
        return f"row {name}: {one.detail}"

    def _repr_html_(self):
        parts = [f"<p>{html.escape(str(self).partition(chr(10))[0])}</p>"]
        for kind in dict.fromkeys(one.kind for one in self.findings):
            some = [one for one in self.findings if one.kind == kind]
            shown = "".join(map(self._figure, some[:PICTURED]))
            more = f" (the first {PICTURED})" if len(some) > PICTURED else ""
            told = html.escape(f"{kind}: {len(some):,}{more}")
            parts.append(f"<details open><summary>{told}</summary>{shown}</details>")
        return "".join(parts)

    def _figure(self, one):
        """A finding in HTML: its picture, that of the other, and the words."""
        rows = [one.row] if one.other is None else [one.row, one.other]
        images = "".join(map(self._image, rows))
        words = html.escape(self._line(one))
        style = "display:inline-block;margin:4px;max-width:220px;vertical-align:top"
        return f'<figure style="{style}">{images}<figcaption>{words}</figcaption></figure>'

    def _image(self, row):
        from PIL import Image

        try:
            pixels = self._pictures.thumbnail(row, SIDE).pixels
        except UnreadableImageError:
            return ""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        return f'<img alt="row {row}" src="data:image/png;base64,{data}">'
