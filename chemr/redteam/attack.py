"""Every policy against every task: mean rewards, ceilings, and where one is exceeded."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from chemr.class_balance import balanced_class, classes_in_turn
from chemr.data.example import Example
from chemr.data.sources.molecules import parsed
from chemr.redteam.policies import Policy, allowance, errors, policies_for
from rewards.blind import BlindPolicies
from rewards.job import ScoreJob
from rewards.verdict import Verdict

GOLD = "right answer"
GOLD_SHARE = 0.98
"""The share of rows whose right answer must earn full credit."""
NOISE = (1, 2, 4)
ROUNDING = 1e-6
FEWEST_ROWS = 10
"""A policy that has an answer on fewer rows is shown and not judged."""
CHANCE_MARGIN = 0.25
"""What a question-blind policy may earn above a guess among the listed candidates or the fixed answers."""


class Scorers(Protocol):
    """What scores: :class:`rewards.isolation.ScorerPool`."""

    def score(self, jobs: Sequence[ScoreJob]) -> list[Verdict]: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What one policy earned on one task.

    Attributes:
        kind: ``gold``, ``blind``, ``attack`` (told nothing), ``near miss`` (told the right answer), ``noise`` or ``search``.
        rows: on how many rows it had an answer whose worth is known.
        mean: of the reward over these.
        full: share of them at full credit.
        ceiling: the most that the mean may be; None for what is only shown. Of ``gold`` the least that ``full`` may be.
        uid, answer: the row where it earned most, and what it answered there.
    """

    task: str
    policy: str
    kind: str
    rows: int
    mean: float
    full: float
    ceiling: float | None
    uid: str
    answer: str

    @property
    def exceeded(self) -> bool:
        if self.ceiling is None or self.rows < FEWEST_ROWS:
            return False
        return self.full < self.ceiling if self.kind == "gold" else self.mean > self.ceiling + ROUNDING

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"exceeded": self.exceeded}


def chosen_rows(rows: Iterable[Example], per_task: int, seed: int) -> dict[str, list[Example]]:
    """At most ``per_task`` rows of each task, drawn by the seed, in the order of the tasks' names. Of questions of choice each right answer
    comes as often as the others, as far as there are rows: so training draws them."""
    by_task: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        by_task[row.task].append(row)
    return {task: _in_equal_shares(classes_in_turn(members, seed), per_task) for task, members in sorted(by_task.items())}


def _in_equal_shares(rows: Sequence[Example], number: int) -> list[Example]:
    """The first rows of an order in which classes come in turn, as long as all of them do."""
    classes = [balanced_class(row) for row in rows]
    fewest = min(Counter(classes).values(), default=0)
    return list(rows[: min(number, fewest * len(set(classes)))])


def attacked(rows: Sequence[Example], blind: BlindPolicies, scorers: Scorers, seed: int) -> list[Finding]:
    """All policies on the rows of one task: right answers, blind policies, attacks, near misses, noise."""
    task = rows[0].task
    gold = measured(GOLD, "gold", rows, [row.reference.get("answer") for row in rows], scorers, GOLD_SHARE)
    guesses = [blind.answers(task, row.inputs) for row in rows]
    chance = _chance(rows, blind)
    names = dict.fromkeys(name for guess in guesses for name in guess)
    found = [measured(name, "blind", rows, [guess.get(name) for guess in guesses], scorers, chance + CHANCE_MARGIN) for name in names]
    ceiling = max([chance, *(finding.mean for finding in found)]) + allowance(task)
    for policy in policies_for(task):
        answers = [policy.answer(row, _generator(seed, policy, row)) for row in rows]
        kind = "attack" if policy.may_earn is None else "near miss"
        found.append(measured(policy.name, kind, rows, answers, scorers, ceiling if policy.may_earn is None else policy.may_earn))
    for number in NOISE:
        noise = errors(number)
        answers = [noise(row, random.Random(f"{seed}/{number}/{row.uid}")) for row in rows]
        found.append(measured(f"right answer, {number} wrong characters", "noise", rows, answers, scorers, None))
    return [gold, *(finding for finding in found if finding.rows)] if gold.rows else [finding for finding in found if finding.rows]


def measured(
    policy: str, kind: str, rows: Sequence[Example], answers: Sequence[str | None], scorers: Scorers, ceiling: float | None
) -> Finding:
    """The finding about one policy's answers, None where it has none. Verdicts that are not known are left out."""
    given = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer]
    verdicts = scorers.score([ScoreJob(row.task, f"<answer>{answer}</answer>", row.inputs, row.reference) for row, answer in given])
    known = [(verdict.value, row, answer) for verdict, (row, answer) in zip(verdicts, given, strict=True) if verdict.value is not None]
    values = [value for value, _, _ in known]
    best = max(known, key=lambda item: item[0], default=None)
    count = len(values)
    return Finding(
        task=rows[0].task,
        policy=policy,
        kind=kind,
        rows=count,
        mean=sum(values) / count if count else 0.0,
        full=sum(value >= 1.0 for value in values) / count if count else 0.0,
        ceiling=ceiling,
        uid=best[1].uid if best else "",
        answer=best[2] if best else "",
    )


def table(findings: Sequence[Finding]) -> list[str]:
    """The findings as text, by task; ``!`` marks what is above its ceiling."""
    width = max((len(finding.policy) for finding in findings), default=0)
    lines: list[str] = []
    shown = ""
    for finding in findings:
        if finding.task != shown:
            lines += ["", finding.task, f"  {'policy':{width}}  {'kind':9}  rows   mean   full  ceiling"]
        shown = finding.task
        ceiling = "" if finding.ceiling is None else f"{finding.ceiling:7.2f}" if finding.kind != "gold" else f"≥{finding.ceiling:.2f} full"
        numbers = f"{finding.rows:4d}  {finding.mean:5.2f}  {finding.full:5.2f}  {ceiling}"
        lines.append(f"{'!' if finding.exceeded else ' '} {finding.policy:{width}}  {finding.kind:9}  {numbers}".rstrip())
    return lines[1:]


def _chance(rows: Sequence[Example], blind: BlindPolicies) -> float:
    """What a guess earns: one in the listed candidates, the task's few fixed answers, the groups that may be asked for, or the ends of the
    molecule that something has to be taken off."""
    constants = blind.constants.get(rows[0].task, ())
    if len(constants) > 1:
        return 1.0 / len(constants)
    added = Counter(row.inputs["add"] for row in rows if row.inputs.get("add"))
    if added:
        return max(added.values()) / len(rows)
    return sum(_one_in(row) for row in rows) / len(rows)


def _one_in(row: Example) -> float:
    choices = row.inputs.get("candidates") or (_ends(row.inputs.get("smiles", "")) if row.inputs.get("remove") else ())
    return 1.0 / len(choices) if choices else 0.0


def _ends(smiles: str) -> list[int]:
    """Atoms at the end of a bond: what is taken off first by whoever takes something off."""
    mol = parsed(smiles)
    return [] if mol is None else [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetDegree() == 1]


def _generator(seed: int, policy: Policy, row: Example) -> random.Random:
    return random.Random(f"{seed}/{policy.name}/{row.uid}")
