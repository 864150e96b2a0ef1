"""What of an answer can be checked: its claims, its steps, and its worth. All of it in scoring processes, which may be killed.

Claims are read as the filters of :mod:`chemr.mining` read them. A trace claims something of the question's molecules or of the answer's:
both are asked, so that a person sees of which a claim is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chemr.mining.filters.claims import FALSE_FORMULA, FALSE_GROUP, FALSE_RINGS, Claims, check_of, clause_claims, merged, text_clauses
from chemr.mining.trace_text import FoundStep
from chemr.playground.errors import QuestionError
from chemr.playground.names import Names
from chemr.playground.questions import Question, score_meaning
from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN
from rewards.errors import ScorerPoolError
from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.verdict import Reason, Verdict

PROTOCOL_TASK = "chemr_playground_steps"
PLUGINS = ("chemr.mining.filters.claims_plugin", "chemr.playground.protocol_plugin")
DEADLINE_S = 5.0  # of one answer: a person waits for it


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a step states.

    Attributes:
        step: index of its step.
        kind, what: ``group`` ester, ``formula`` C3H6O, ``rings`` 2; or ``step``, the whole step, what it says.
        said: the clause it is in.
        true: None when it cannot be told.
        of: what it is true of: ``question``, ``answer``, ``both``, or nothing.
    """

    step: int
    kind: str
    what: str
    said: str
    true: bool | None
    of: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """``value`` is None when there is none; then ``why`` says why."""

    value: float | None
    reason: str
    why: str
    parts: dict[str, float]


class Checks:
    """Holds the scoring process. Not for several threads at a time."""

    def __init__(self, names: Names) -> None:
        """Raises QuestionError when scoring processes cannot be started here."""
        self._names = names
        try:
            self._pool = ScorerPool(workers=1, deadline_s=DEADLINE_S, plugins=PLUGINS, opsin="never")
        except ScorerPoolError as error:
            raise QuestionError(f"answers cannot be checked: {error}") from error

    def close(self) -> None:
        self._pool.close()

    def claims(self, asked: Question, steps: Sequence[FoundStep], answer: str | None) -> list[Claim]:
        """All claims of the steps, in order, with what is known of them."""
        found = [(place, clause, claims) for place, step in enumerate(steps) for clause, claims in _claims_in(step.claim)]
        together = merged(claims for _, _, claims in found)
        of_question, of_answer = _Knowledge(), _Knowledge()
        if together.any:
            known = [text] if asked.example.task in ("smiles2formula", "iupac2formula") and (text := _reference(asked)) else []
            jobs = [check_of(together, "-", asked.molecules, known), check_of(together, answer or "-", ())]
            verdicts = self._scored(jobs)
            of_question, of_answer = (_Knowledge.of(together, verdict) for verdict in verdicts)
        claims = [_judged(place, clause, *one, of_question, of_answer) for place, clause, some in found for one in _each(some)]
        claims += self._steps(asked, steps, answer)
        return sorted(claims, key=lambda claim: claim.step)

    def score(self, asked: Question, completion: str, answer: str | None) -> Score:
        """What the answer is worth where that can be known without the gold answer of a data set."""
        row, meaning = asked.example, score_meaning(asked.example.task)
        if not meaning:
            return Score(None, "", "the right answer of this task is not known here, so it is not scored", {})
        job = ScoreJob(row.task, completion, row.inputs, row.reference)
        if row.task == "smiles2iupac" and answer is not None:
            try:
                read = self._names.smiles(answer)
            except QuestionError as error:
                return Score(None, "", f"not scored: {error}", {})
            if read is None:
                return Score(0.0, str(Reason.WRONG), f"{meaning}: OPSIN cannot read it", {})
            job = ScoreJob("iupac2smiles", f"{ANSWER_OPEN}{read}{ANSWER_CLOSE}", {}, {"answer": asked.molecules[0]})
        elif row.task in ("iupac2formula", "iupac2smiles") and not row.reference:
            return Score(None, "", f"not scored: {self._names.why_not}", {})
        (verdict,) = self._scored([job])
        if verdict.value is None:
            return Score(None, str(verdict.reason), f"not scored: {str(verdict.reason).replace('_', ' ')}", {})
        return Score(verdict.value, str(verdict.reason), meaning, dict(verdict.parts))

    def _steps(self, asked: Question, steps: Sequence[FoundStep], answer: str | None) -> Iterator[Claim]:
        """Steps in the form of the starter's own traces."""
        row, reference = asked.example, _reference(asked)
        if not steps or (reference is None and answer is None):
            return
        inputs = {"task": row.task, "row": dict(row.inputs), "steps": [[step.title, step.claim] for step in steps]}
        job = ScoreJob(PROTOCOL_TASK, f"{ANSWER_OPEN}{answer or '-'}{ANSWER_CLOSE}", inputs, {"answer": reference} if reference else {})
        (verdict,) = self._scored([job])
        of = "question" if reference else "answer"
        for name in verdict.parts:
            truth, _, number = name.partition(":")
            step = steps[int(number) - 1]
            yield Claim(int(number) - 1, "step", step.title, step.claim, truth == "true", of if truth == "true" else "")

    def _scored(self, jobs: Sequence[ScoreJob]) -> list[Verdict]:
        try:
            return self._pool.score(jobs)
        except ValueError:  # a text too large to be sent
            return [Verdict(None, Reason.TIMEOUT) for _ in jobs]
        except ScorerPoolError as error:
            raise QuestionError(f"the answer cannot be checked: {error}") from error


@dataclass(frozen=True, slots=True)
class _Knowledge:
    """(kind, what) -> whether it is true of some molecules; nothing about what cannot be told."""

    known: frozenset[tuple[str, str]] = frozenset()
    false: frozenset[tuple[str, str]] = frozenset()

    @staticmethod
    def of(claims: Claims, verdict: Verdict) -> _Knowledge:
        if verdict.failed:
            return _Knowledge()
        kinds = {FALSE_GROUP: "group", FALSE_FORMULA: "formula", FALSE_RINGS: "rings"}
        named = [name.partition(":") for name in verdict.parts]
        false = frozenset((kinds[kind], what) for kind, _, what in named if kind in kinds)
        read, formulas = verdict.parts.get("molecules", 0.0) > 0, verdict.parts.get("formulas", 0.0) > 0
        known = {one for one in _each(claims) if read or one in false or (one[0] == "formula" and formulas)}
        return _Knowledge(frozenset(known), false)

    def says(self, claim: tuple[str, str]) -> bool | None:
        return claim not in self.false if claim in self.known else None


def _claims_in(text: str) -> Iterator[tuple[str, Claims]]:
    for clause in text_clauses(text):
        claims = clause_claims(clause)
        if claims.any:
            yield " ".join(clause.split()), claims


def _each(claims: Claims) -> list[tuple[str, str]]:
    named = [("group", group) for group in claims.groups] + [("formula", formula) for formula in claims.formulas]
    return named + [("rings", str(number)) for number in claims.rings]


def _judged(place: int, said: str, kind: str, what: str, question: _Knowledge, answer: _Knowledge) -> Claim:
    by_question, by_answer = question.says((kind, what)), answer.says((kind, what))
    if by_question or by_answer:
        of = "both" if by_question and by_answer else "question" if by_question else "answer"
        return Claim(place, kind, what, said, True, of)
    return Claim(place, kind, what, said, None if by_question is None and by_answer is None else False)


def _reference(asked: Question) -> str | None:
    found = asked.example.reference.get("answer")
    return found if isinstance(found, str) else None
