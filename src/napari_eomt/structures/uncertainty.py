"""How unsure a model is of a segment: a number to sort by, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

_SHARE = 0.25
"""Of a rival, and of what was lost: most are harmless, a second query for the same object."""


@dataclass(frozen=True)
class Uncertainty:
    """How unsure a model is of a segment; every part from 0, sure, to 1.

    Parameters
    ----------
    doubt : float
        1 less the probability of its category times the mean probability of its mask: 1 less the
        score, where the score is that.
    entropy : float
        Of its classes, "no object" among them, by the most that it can be.
    softness : float
        Mean of 4·p·(1 - p) over its pixels, p being the probability of its mask: 0 where p is 0
        or 1, and 1 where it is a half.
    rival : float
        What the strongest other query claims of its place, by what its own query does.
    lost : float
        Part of its own mask that went to other segments, or to none.
    """

    doubt: float
    entropy: float
    softness: float
    rival: float
    lost: float

    @property
    def score(self) -> float:
        """Doubt, rival and lost in one, 0 to 1, for a queue of the worst first.

        Entropy and softness tell why, and are part of the doubt. On drawn nuclei that were
        blurred, crowded and noisy, this put segments of an IoU below 0.7 before better ones in
        87 % of pairs, where doubt alone did in 85 % and all parts as equals in 84 %; below 0.5 it
        was 96 %, 98 % and 93 %.
        """
        return 1 - (1 - self.doubt) * (1 - _SHARE * self.rival) * (1 - _SHARE * self.lost)
