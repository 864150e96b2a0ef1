"""A search for holes that nobody has thought of, against the scorer alone: text edits that fit many rows, and climbs on single rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chemr.data.example import Example
from chemr.data.sources.molecules import parsed
from chemr.redteam import disguises
from chemr.redteam.attack import Finding, Scorers, measured
from chemr.redteam.policies import asked_molecule
from rewards.job import ScoreJob

SEARCHED = ("moledit_", "molopt_", "forward", "retro")
"""Tasks that show a molecule and ask for another one: there an edit of the text may be an answer."""
SEARCH_ROWS = 50
LISTED = 3
WORTH_LISTING = 0.3
_PIECES = (
    *("C", "O", "N", "F", "Cl", "Br", "S", "B", "CC", "CO", "(C)", "(O)", "(N)", "(F)", "(Cl)", "(=O)", "=O", "#N", "C#N", "(C#N)"),
    *("[N+](=O)[O-]", "([N+](=O)[O-])", "C(=O)O", "(C(=O)O)", "C(=O)", "C(=O)N", "c1ccccc1", "(c1ccccc1)", "S(=O)(=O)", "OC", "C(F)(F)F"),
    *("C=C", "C#C", "N=N", "OO", "SS", "NN", ".C", ".O", ".Cl", "[NH3+]", "[O-]", "[13CH3]", "[H]"),
)


@dataclass(frozen=True, slots=True)
class TextRule:
    """One edit of a SMILES text, done at the ``place``-th site (negative: from the end) where the result still parses.

    ``verb``: ``insert`` the piece, ``replace`` an atom by it, or ``delete`` an atom.
    """

    verb: str
    piece: str
    place: int

    def __str__(self) -> str:
        where = f"place {self.place + 1}" if self.place >= 0 else f"place {-self.place} from the end"
        return f"{self.verb} {self.piece} at {where}".replace("  ", " ")

    def applied(self, smiles: str) -> str | None:
        """The edited text; None where no site gives a molecule."""
        sites = list(self._sites(smiles))
        ordered = sites if self.place >= 0 else sites[::-1]
        skip = self.place if self.place >= 0 else -self.place - 1
        for start, end in ordered:
            edited = smiles[:start] + self.piece + smiles[end:]
            if edited and _parses(edited):
                if skip == 0:
                    return edited
                skip -= 1
        return None

    def _sites(self, smiles: str) -> Iterator[tuple[int, int]]:
        if self.verb == "insert":
            yield from ((place, place) for place in range(len(smiles) + 1))
        else:
            yield from disguises.places_of_atoms(smiles)


def text_rules() -> list[TextRule]:
    """All rules, in a fixed order."""
    places = (0, -1, 1, -2)
    verbs = ("insert", "replace")
    return [
        *(TextRule(verb, piece, at) for at in places for verb in verbs for piece in _PIECES),
        *(TextRule("delete", "", at) for at in places),
    ]


def best_text_rules(rows: Sequence[Example], ceiling: float | None, scorers: Scorers, tries: int, seed: int) -> list[Finding]:
    """The best of ``tries`` text rules, chosen on the first 50 rows and measured on all; nothing for tasks without a molecule to edit.

    Every rule is one answer to every question, so what it earns is earned without doing the task. ``ceiling``: the most that it may earn.
    """
    task = rows[0].task
    if not task.startswith(SEARCHED):
        return []
    tried = text_rules()
    random.Random(f"{seed}/{task}").shuffle(tried)
    first = rows[:SEARCH_ROWS]
    means = [(measured(str(rule), "search", first, _edited(rule, first), scorers, None).mean, str(rule), rule) for rule in tried[:tries]]
    best = [rule for _, _, rule in sorted(means, key=lambda item: (-item[0], item[1]))[:LISTED]]
    return [measured(str(rule), "search", rows, [edited or "-" for edited in _edited(rule, rows)], scorers, ceiling) for rule in best]


@dataclass(frozen=True, slots=True)
class Climbed:
    """An answer that a climb found, and the row it is paid on."""

    row: Example
    answer: str
    value: float

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.row.task,
            "uid": self.row.uid,
            "answer": self.answer,
            "value": self.value,
            "right": self.row.reference.get("answer"),
        }


def climbed(rows: Sequence[Example], scorers: Scorers, steps: int, seed: int) -> list[Climbed]:
    """What hill-climbing over molecules finds on each row in ``steps`` rounds of eight random edits, against the reward alone.

    It begins with the molecule of the question, or with propane. Whoever reads the list decides which answers do the task: a climb may
    well find right ones. Only answers that earn 0.3 or more are listed, the dearest first.
    """
    found = [climb for row in rows if (climb := _climb(row, scorers, steps, random.Random(f"{seed}/climb/{row.uid}"))) is not None]
    return sorted(found, key=lambda climb: (-climb.value, climb.row.uid))


def _climb(row: Example, scorers: Scorers, steps: int, rng: random.Random) -> Climbed | None:
    at, value = asked_molecule(row) or "CCC", 0.0
    for _ in range(steps):
        neighbours = [text for text in (_random_edit(at, rng) for _ in range(8)) if text is not None]
        jobs = [ScoreJob(row.task, f"<answer>{text}</answer>", row.inputs, row.reference) for text in neighbours]
        worth = [verdict.value or 0.0 for verdict in scorers.score(jobs)]
        best = max(range(len(worth)), key=worth.__getitem__, default=None)
        if best is not None and (worth[best] > value or (worth[best] == value and value < 1.0)):  # sideways too: plateaus are wide
            at, value = neighbours[best], worth[best]
        if value >= 1.0:
            break
    return Climbed(row, at, value) if value >= WORTH_LISTING else None


def _random_edit(smiles: str, rng: random.Random) -> str | None:
    edits: list[Callable[[], str | None]] = [
        lambda: disguises.grown(smiles, rng),
        lambda: disguises.attached(
            smiles, rng.choice(("O", "N", "F", "Cl", "S", "C=C", "C#N", "OO", "NO", "N=N", "C1CC1", "c1ccccc1")), rng
        ),
        lambda: disguises.broken(smiles, rng),
        lambda: disguises.tautomer(smiles, rng),
        lambda: disguises.charge_form(smiles, rng),
        lambda: TextRule("delete", "", rng.randrange(-8, 8)).applied(smiles),
        lambda: TextRule("insert", rng.choice(_PIECES), rng.randrange(-12, 12)).applied(smiles),
        lambda: TextRule("replace", rng.choice(_PIECES), rng.randrange(-8, 8)).applied(smiles),
    ]
    return rng.choice(edits)()


def _edited(rule: TextRule, rows: Sequence[Example]) -> list[str | None]:
    return [None if (molecule := asked_molecule(row)) is None else rule.applied(molecule) for row in rows]


def _parses(smiles: str) -> bool:
    return len(smiles) <= 1_200 and parsed(smiles) is not None
