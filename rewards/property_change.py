"""How much a computed property is to change, and what a change of another size is worth (MolOpt).

Asked for a direction alone, one more carbon anywhere answers every question. Asked for a size too, the atoms to be put on, taken off or
exchanged have to be found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rewards.molecule import Molecule
from rewards.properties import drug_likeness, logp, molar_refractivity

SIGNS: Mapping[str, float] = MappingProxyType({"increase": 1.0, "decrease": -1.0})
DIRECTIONS = tuple(SIGNS)


@dataclass(frozen=True, slots=True)
class Optimised:
    """A property that questions ask to change; all numbers are in its unit.

    Attributes:
        name, unit: for people.
        measure: its value for a molecule.
        margin: a smaller change is none: writing the same molecule in another atom order moves the last digits.
        digits: decimal places to which sizes are asked.
        tolerance: what a change may be off by and still be the one asked for, at most.
    """

    name: str
    unit: str
    measure: Callable[[Molecule], float]
    margin: float
    digits: int
    tolerance: float

    @property
    def reach(self) -> float:
        """A change that is off by as much is worth nothing."""
        return NOTHING * self.tolerance

    def moved(self, source: Molecule, other: Molecule, direction: str) -> float:
        """How far ``other`` is from ``source`` in this direction; negative if it went the other way."""
        return SIGNS[direction] * (self.measure(other) - self.measure(source))

    def asked(self, change: float) -> float | None:
        """``change`` as a question states it, rounded; None for one below the margin, which no question asks for."""
        return max(10.0**-self.digits, round(change, self.digits)) if change >= self.margin else None

    def tolerance_of(self, by: float) -> float:
        """What a change may be off by: half of the size asked for, at most ``tolerance``. Never less than what rounding takes away."""
        return min(self.tolerance, by / 2)

    def agreement(self, change: float, by: float) -> float:
        """What a change is worth where ``by`` was asked for: 1 within the tolerance, 0 from NOTHING tolerances on or below the margin."""
        if change < self.margin:
            return 0.0
        beyond = max(0.0, abs(change - by) / self.tolerance_of(by) - 1.0 - _ROUNDING)
        return max(0.0, 1.0 - beyond / (NOTHING - 1.0))


NOTHING = 2.5
"""In tolerances: what is off by so much is worth nothing."""
_ROUNDING = 1e-6  # of floating point numbers: a change of exactly the tolerance is within it

OPTIMISED: Mapping[str, Optimised] = MappingProxyType(
    {
        "molopt_logp": Optimised("logP", "", logp, 0.1, 1, 0.1),
        "molopt_mr": Optimised("molar refractivity", "cm³/mol", molar_refractivity, 0.5, 0, 0.75),
        "molopt_qed": Optimised("QED", "", drug_likeness, 0.01, 2, 0.01),
    }
)
"""By task."""
