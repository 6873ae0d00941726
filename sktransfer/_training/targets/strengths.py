"""Which strength of a penalty the data choose."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StrengthChoice:
    """The strength with the least loss.

    Attributes
    ----------
    best : float
    losses : dict or None
        Strength → cross-validated loss; None if nothing was compared.
    """

    best: float
    losses: dict | None

    @classmethod
    def by(cls, strengths, losses):
        """That of the least loss."""
        of_each = {float(s): float(loss) for s, loss in zip(strengths, losses, strict=True)}
        return cls(min(of_each, key=of_each.get), of_each)

    @classmethod
    def without_losses(cls, strength):
        """The only one."""
        return cls(strength, None)
