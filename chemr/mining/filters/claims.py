"""What a trace states that RDKit can check: functional groups, formulas, numbers of rings.

Reading is careful, because an accusation has to be certain. Titles are questions, not claims. A clause with a denial, a condition or a
comparison is left alone as a whole; formulas count where they are said to be the formula of a whole molecule; numbers of rings count
where a molecule is said to have so many rings, of no special kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chemr.data.example import Example
from chemr.mining.trace_text import answer_of, found_steps
from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN
from rewards.claims import claimed_groups
from rewards.formula import FormulaError, parse_formula
from rewards.job import ScoreJob
from rewards.verdict import Verdict

CLAIMS_TASK = "chemr_trace_claims"  # of the plugin scorer, chemr.mining.filters.claims_plugin
FALSE_GROUP, FALSE_FORMULA, FALSE_RINGS = "false_group", "false_formula", "false_rings"
UNCHECKED = "claims_unchecked"
FALSE_CLAIMS = (FALSE_GROUP, FALSE_FORMULA, FALSE_RINGS)

_FIELDS = ("smiles", "reactants", "product", "given", "reaction")
_FORMULA_TASKS = ("smiles2formula", "iupac2formula")

_CONTRASTS = re.compile(r"\b(?:but|while|whereas|although|though|however|yet)\b|;")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A clause with one of these denies, supposes or compares.
_DENIED = _listed(
    """no not without lacks lack lacking absent absence never neither nor none zero nothing nowhere hardly barely isn't aren't doesn't
    don't cannot avoid n't missing if had would could might may should unless whether or either like unlike instead rather than
    compared versus hypothetical suppose assume possible possibly perhaps maybe ruled exclude excluded excludes misleading called"""
)
# A clause with one of these may name a group without saying that the molecule has it.
_UNCERTAIN = _DENIED | _listed(
    """typical typically usually often generally commonly normally similar resembles intermediate intermediates activated transition
    consider considering candidate candidates check checking search any e.g such example instance solvent catalyst base reagent
    reagents protecting protected equivalent equivalents synthon isomer isomers analogue analog derived derivative derivatives
    precursor precursors named name prefix suffix means word free rule each every adding introducing replacing swapping converting
    forming form forms made make prepare prepared tend tends"""
)
_DENIED_NUMBERS = _DENIED - {"or", "zero"}
_SENTENCES = re.compile(r"(?<=[A-Za-z0-9)\]*+-])[.!](?=\s|$)|(?<=\?)\s|\n")  # a question keeps its mark
_EMPHASIS = re.compile(r"\b(?:and|but) nothing (?:more|else)\b")  # "an ester and nothing more" denies no ester
_MARKS = str.maketrans(dict.fromkeys('*_`"()[]{}:,!?/', " "))

_NUMBERS = {
    word: number
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}
_NUMBER = r"(?P<n>\d{1,2}|" + "|".join(_NUMBERS) + ")"
_RINGS = (
    re.compile(rf"(?:number\s+of\s+rings|ring\s+count|rings\s+in\s+total|total\s+rings)\s*(?:is|are|=|:|equals)?\s*{_NUMBER}\b(?![.\d-])"),
    re.compile(
        r"\b(?:has|have|contains|contain|containing|with|there\s+is|there\s+are|comprises|includes|bears|possesses|features)\s+"
        rf"(?:exactly\s+|only\s+|in\s+total\s+|a\s+total\s+of\s+)?{_NUMBER}\s+(?:rings\b(?!\s+(?:of|that|which|with))|ring(?=\s*(?:$|[,:)])|\s+in\s+total\b))"
    ),
    re.compile(rf"^\s*{_NUMBER}\s+rings?(?:\s+in\s+(?:total|all))?\s*$"),
    re.compile(rf"\b{_NUMBER}\s+rings?\s+(?:in\s+total|altogether|overall)\b"),
)
_NO_RINGS = re.compile(
    r"\b(?:has|have|contains|with|there\s+are)\s+no\s+rings?\b(?!\s+(?:systems?|atoms?|closures?|members?|bonds?|of|that|with))"
)

_EQUALS = r"\s*(?:is|=|:|equals|as|becomes)?\s*(?:therefore\s+|thus\s+|then\s+|hence\s+|now\s+)?"
_FORMULA = re.compile(
    r"\bmolecular\s+formula\b(?:\s+of\s+(?:the|this|our)\s+(?:\w+\s+)?(?:molecule|compound|product|answer|structure))?"
    rf"{_EQUALS}(?P<a>\S+)"
    rf"|\bformula\s+of\s+(?:the|this)\s+(?:whole\s+)?(?:molecule|compound|product|answer|structure){_EQUALS}(?P<b>\S+)"
    rf"|(?:^|\b(?:the|its)\s+)(?:\w+\s+)?formula\s*(?:is|=|:|equals)\s*(?:therefore\s+|thus\s+|then\s+|hence\s+|now\s+)?(?P<c>\S+)",
    re.IGNORECASE,
)
_PARTIAL = _listed(
    """fragment fragments substituent substituents group groups chain unit units piece part parts residue ring rings empirical general
    partial leaving lost leaves by-product byproduct reagent each linker skeleton heavy backbone core anion cation ion salt
    intermediate"""
)
_LATEX = re.compile(r"\\(?:mathrm|text|ce|mathbf)|[${}_*`\\]")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a trace says of its molecules: groups (names of :mod:`rewards.functional_groups`), formulas, numbers of rings."""

    groups: tuple[str, ...]
    formulas: tuple[str, ...]
    rings: tuple[int, ...]

    @property
    def any(self) -> bool:
        return bool(self.groups or self.formulas or self.rings)


def claims_of(thinking: str) -> Claims:
    """The claims that can be checked, sorted, each once."""
    return merged(clause_claims(clause) for clause in clauses(thinking))


def merged(several: Iterable[Claims]) -> Claims:
    """All of them together, sorted, each once."""
    found = list(several)
    groups = {group for claims in found for group in claims.groups}
    formulas = {formula for claims in found for formula in claims.formulas}
    rings = {number for claims in found for number in claims.rings}
    return Claims(tuple(sorted(groups)), tuple(sorted(formulas)), tuple(sorted(rings)))


def clause_claims(spaced: str) -> Claims:
    """What one clause of :func:`clauses` states."""
    groups: set[str] = set()
    formulas: set[str] = set()
    rings: set[int] = set()
    clause = _EMPHASIS.sub("", " ".join(spaced.split()))  # runs of blanks would take expressions square time
    words = set(clause.casefold().translate(_MARKS).split())
    if not words & _UNCERTAIN and not _is_general(clause):
        groups.update(claimed_groups(clause))
    if not words & _DENIED_NUMBERS:
        formulas.update(_formulas(clause, words))
        rings.update(_rings(clause.casefold()))
    if _NO_RINGS.search(clause.casefold()) and not words & {"if", "would", "could", "might", "may"}:
        rings.add(0)
    return Claims(tuple(sorted(groups)), tuple(sorted(formulas)), tuple(sorted(rings)))


def clauses(thinking: str) -> list[str]:
    """The trace without the titles of its steps, in sentences cut at contrasts ("but", "whereas", ";")."""
    steps = found_steps(thinking)
    return [clause for text in ([step.claim for step in steps] if steps else [thinking]) for clause in text_clauses(text)]


def text_clauses(text: str) -> list[str]:
    """The clauses of a text without steps; questions are left out."""
    sentences = [sentence for sentence in _SENTENCES.split(text) if not sentence.rstrip().endswith("?")]
    return [clause for sentence in sentences for clause in _CONTRASTS.split(sentence) if clause.strip()]


def _is_general(clause: str) -> bool:
    """Whether a clause speaks of a class of compounds: "Esters are …", "Amides …"."""
    first = clause.casefold().translate(_MARKS).split()[:1]
    return bool(first) and first[0].endswith("s") and bool(claimed_groups(first[0]))


def _formulas(clause: str, words: set[str]) -> list[str]:
    if words & _PARTIAL:
        return []
    found: list[str] = []
    for match in _FORMULA.finditer(clause):
        token = next(text for text in match.group("a", "b", "c") if text is not None)
        text = _LATEX.sub("", token).strip(".,;:!?()\"'")
        try:
            parse_formula(text)
        except FormulaError:
            continue
        if any(char.isdigit() for char in text) or len(text) > 2:
            found.append(text)
    return found


def _rings(clause: str) -> list[int]:
    found = []
    plain = " ".join(clause.translate(str.maketrans("*_`", "   ")).split())
    for pattern in _RINGS:
        for match in pattern.finditer(plain.rstrip(".,;:! ")):
            text = match.group("n")
            found.append(_NUMBERS[text] if text in _NUMBERS else int(text))
    return found


def molecule_texts(example: Example) -> list[str]:
    """SMILES of a row: of its question, its candidates and its gold answer. Texts that are no SMILES are ignored by whoever reads them."""
    texts = [text for field in _FIELDS if isinstance(text := example.inputs.get(field), str)]
    texts += [text for text in example.inputs.get("candidates") or () if isinstance(text, str)]
    texts += [text for field in ("answer", "smiles") if isinstance(text := example.reference.get(field), str)]
    return texts


def claims_job(completion: str, thinking: str, example: Example) -> ScoreJob | None:
    """The question to the plugin scorer whether the claims of a trace are true; None when it claims nothing."""
    claims = claims_of(thinking)
    if not claims.any:
        return None
    known_formulas = [example.reference["answer"]] if example.task in _FORMULA_TASKS and "answer" in example.reference else []
    return check_of(claims, answer_of(completion), molecule_texts(example), known_formulas)


def check_of(claims: Claims, answer: str, molecules: Sequence[str], known_formulas: Sequence[str] = ()) -> ScoreJob:
    """The question whether ``claims`` are true of the answer, or of one of ``molecules`` (SMILES, or anything else, which is not read)."""
    inputs: Mapping[str, Any] = {
        "groups": list(claims.groups),
        "formulas": list(claims.formulas),
        "rings": list(claims.rings),
        "molecules": list(molecules),
        "known_formulas": list(known_formulas),
    }
    return ScoreJob(CLAIMS_TASK, f"{ANSWER_OPEN}{answer or '-'}{ANSWER_CLOSE}", inputs, {})


def claim_reasons(verdict: Verdict) -> list[str]:
    """``false_group: ester`` and the like, from the plugin's verdict; ``claims_unchecked`` where there is none: what is not known to be
    true is not trained on."""
    if verdict.failed:
        return [f"{UNCHECKED}: {verdict.reason}"]
    named = (name.partition(":") for name, false in verdict.parts.items() if false)
    return sorted(f"{kind}: {what}" for kind, _, what in named if kind in FALSE_CLAIMS)


def reason_kind(reason: str) -> str:
    """``false_group: ester`` -> ``false_group``: what reasons are counted by."""
    return reason.partition(":")[0]
