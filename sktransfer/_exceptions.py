"""The errors and warnings that users catch.

::

    SktransferError
    ├── InvalidImagesError (also a ValueError)   rows of X that are no readable images
    ├── BackboneError (also a ValueError)        no such backbone, layer or weights
    ├── InvalidStateError (also a ValueError)    a stored model that cannot be trusted
    └── ForkedProcessError (also a RuntimeError) a network used across a fork

    UserWarning
    ├── CacheWarning                             features are right, but not kept
    ├── InvalidImagesWarning                     such rows under on_error="nan"
    └── VersionWarning                           a model stored by other libraries
"""

import difflib
import os
import sys
import warnings
from typing import NamedTuple

import joblib
import sklearn

MOST_LINES = 1000  # in an error message
MOST_NAMES = 100  # there
LONGEST_SHOWN = 1000  # characters of a path
# Packages through which this one is called, and itself.
INNER = tuple(
    os.path.join(os.path.dirname(m), "") for m in (__file__, sklearn.__file__, joblib.__file__)
)


class BadRow(NamedTuple):
    """One row of X that is no readable image.

    Attributes
    ----------
    row : int
        Its position in X, from 0.
    source : str or None
        The path, where the row is one.
    reason : str
        What is wrong with it.

    Examples
    --------
    >>> from sktransfer import BadRow
    >>> print(BadRow(3, "lost.jpg", "does not exist"))
    row 3: lost.jpg does not exist
    """

    row: int
    source: str | None
    reason: str

    def __str__(self):
        subject = "" if self.source is None else f"{_printable(self.source)} "
        return f"row {self.row}: {subject}{self.reason}"


class SktransferError(Exception):
    """Base class of the errors of this package.

    Examples
    --------
    >>> from sktransfer import PretrainedFeatureTransformer, SktransferError
    >>> try:
    ...     PretrainedFeatureTransformer("resnet").fit(["cat.jpg"])
    ... except SktransferError as error:
    ...     print(type(error).__name__)
    BackboneError
    """


class InvalidImagesError(SktransferError, ValueError):
    """Some rows of X are no readable images.

    Parameters
    ----------
    rows : list of BadRow
        All of them, in the order of X.
    name : str, default="X"
        What they are rows of: "X" or "X_val".

    Attributes
    ----------
    rows : list of BadRow
        All of them, in the order of X.

    Examples
    --------
    >>> from sktransfer import InvalidImagesError, PretrainedFeatureTransformer
    >>> try:
    ...     PretrainedFeatureTransformer("tiny").transform(["lost.jpg"])
    ... except InvalidImagesError as error:
    ...     print(error.rows[0].row, error.rows[0].reason)
    0 does not exist
    """

    def __init__(self, rows, name="X"):
        self.rows, self._name = list(rows), name
        super().__init__(self.rows, name)  # what pickle hands to __init__ again

    def __str__(self):
        return list_bad_rows(self.rows, self._name)


class BackboneError(SktransferError, ValueError):
    """There is no such backbone, layer or weights file, or it cannot be used.

    Examples
    --------
    >>> from sktransfer import BackboneError, PretrainedFeatureTransformer
    >>> try:
    ...     PretrainedFeatureTransformer("vgg61").fit(["cat.jpg"])
    ... except BackboneError as error:
    ...     print(str(error).split(";")[0])
    no backbone 'vgg61'
    """


class InvalidStateError(SktransferError, ValueError):
    """A stored model is of another format, or its arrays are not those stored.

    Examples
    --------
    >>> from sktransfer import InvalidStateError, PretrainedFeatureTransformer
    >>> state = PretrainedFeatureTransformer().__getstate__()
    >>> state["backbone"] = {"config": "from a stranger"}
    >>> try:
    ...     PretrainedFeatureTransformer().__setstate__(state)
    ... except InvalidStateError as error:
    ...     print(str(error).split(":")[0])
    the stored network cannot be read
    """


class ForkedProcessError(SktransferError, RuntimeError):
    """A network was used in this process's parent before the fork.

    Examples
    --------
    joblib's processes do not fork, and so never raise it.

    >>> from sktransfer import ForkedProcessError
    >>> issubclass(ForkedProcessError, RuntimeError)
    True
    """


class CacheWarning(UserWarning):
    """The cache cannot be used: features are right, but will be computed again.

    Examples
    --------
    >>> import warnings
    >>> from sktransfer import CacheWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", CacheWarning)  # or "ignore"
    """


class InvalidImagesWarning(UserWarning):
    """Some rows of X are no readable images: they have NaN, or are left out of a fit.

    Examples
    --------
    >>> import warnings
    >>> from sktransfer import InvalidImagesWarning, PretrainedFeatureTransformer
    >>> transformer = PretrainedFeatureTransformer("tiny", on_error="nan")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", InvalidImagesWarning)
    ...     features = transformer.transform(["lost.jpg"])
    >>> features.shape, features[0, 0]
    ((1, 768), np.float32(nan))
    """


class VersionWarning(UserWarning):
    """A model was stored with other versions of the libraries.

    Examples
    --------
    >>> import warnings
    >>> from sktransfer import VersionWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", VersionWarning)  # or "ignore"
    """


def warn(message, category=UserWarning):
    """Warn, and point at the user's line, from which scikit-learn may have called."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_code.co_filename.startswith(INNER):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def nearest(name, names):
    """The names most like a given one, as the second half of an error message."""
    as_written = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), as_written, n=3, cutoff=0.5)
    if close:
        return "nearest: " + ", ".join(repr(as_written[c]) for c in close)
    few = [repr(n) for n in names][:MOST_NAMES]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"there are: {', '.join(few)}{more}"


def list_bad_rows(rows, name="X"):
    """One line for each bad row, below a line that counts them."""
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    lines = [f"\n  {row}" for row in rows[:MOST_LINES]]
    if len(rows) > MOST_LINES:
        lines.append(f"\n  … and {len(rows) - MOST_LINES} more, all in the attribute rows")
    return f"{count} of {name} cannot be used as images:{''.join(lines)}"


def _printable(path):
    """A path that any stream takes: names of files need not be text, nor text a name."""
    path = os.fsdecode(path).encode(errors="backslashreplace").decode()
    return path if len(path) <= LONGEST_SHOWN else f"{path[:LONGEST_SHOWN]}…"
