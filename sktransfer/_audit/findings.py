"""One thing that is wrong with one image, and the kinds of such things."""

from dataclasses import dataclass

# In the order in which a report has them; and what each means.
KINDS = {
    "unreadable": "no image can be read",
    "leak": "a copy lies in another group",
    "two labels": "a copy has another label",
    "exact duplicate": "the content is that of an earlier image",
    "near duplicate": "the same picture as an earlier image, but altered",
    "suspect label": "a model and neighbours say otherwise",
    "blank": "hardly anything is to be seen",
    "dark": "nearly black",
    "bright": "nearly white",
    "blurred": "much less sharp than the others",
    "odd size": "far fewer or far more pixels than the others",
    "odd shape": "of other proportions than the others",
    "colour among grey": "in colour, unlike the others",
    "grey among colour": "without colour, unlike the others",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one image.

    Attributes
    ----------
    kind : str
        A key of `KINDS`.
    row : int
        Of X.
    detail : str
        What was seen, in a few words.
    score : float
        The higher, the surer or the worse; to be compared within a kind only.
    other : int or None
        The row of the image that this one is a copy of.
    """

    kind: str
    row: int
    detail: str
    score: float = 1.0
    other: int | None = None
