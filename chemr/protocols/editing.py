"""Protocols of editing (MolEdit, MolOpt): say what goes, what comes and where, then write the molecule."""

from __future__ import annotations

from chemr.data.example import Example
from chemr.protocols.facts import Change, change_between, molecule
from chemr.protocols.steps import Protocol

_RATIONALE = "The edit is settled in the small (which atoms, at which atom) before the whole molecule is written again."


def _change(example: Example) -> Change:
    return change_between(molecule(example.inputs["smiles"]), molecule(example.reference["answer"]))


def _addition(example: Example) -> tuple[str, ...]:
    change = _change(example)
    return change.added, change.site


def _removal(example: Example) -> tuple[str, ...]:
    change = _change(example)
    return change.removed, change.site


def _replacement(example: Example) -> tuple[str, ...]:
    change = _change(example)
    return change.removed, change.added, change.site


_REPLACEMENT_TITLES = ("Take away", "Put in", "At")

PROTOCOLS = (
    Protocol("moledit_add", ("Put in", "At"), _addition, _RATIONALE),
    Protocol("moledit_del", ("Take away", "At"), _removal, _RATIONALE),
    Protocol("moledit_sub", _REPLACEMENT_TITLES, _replacement, _RATIONALE),
    Protocol("molopt_logp", _REPLACEMENT_TITLES, _replacement, _RATIONALE),
    Protocol("molopt_mr", _REPLACEMENT_TITLES, _replacement, _RATIONALE),
)
