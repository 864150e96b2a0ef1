"""Builds all starter rows: compounds in, three lists of examples out. Deterministic, on one core."""

from __future__ import annotations

from chemr.data.example import Example
from chemr.data.starter.captions import caption_drafts
from chemr.data.starter.compounds import Compound, read_compounds
from chemr.data.starter.config import StarterConfig
from chemr.data.starter.custom import custom_drafts
from chemr.data.starter.drafts import Draft, choose
from chemr.data.starter.editing import edit_drafts
from chemr.data.starter.naming import name_drafts
from chemr.data.starter.optimisation import optimisation_drafts
from chemr.data.starter.reactions import reaction_drafts
from chemr.data.starter.splits import Split, unit_hash

# Editing tries every site of a molecule, optimising every small change. Of so many compounds per training row is that worth the time.
_EDITED_PER_ROW = 4.0
_OPTIMISED_PER_ROW = 1.5


def build(config: StarterConfig) -> dict[Split, list[Example]]:
    """All rows, by split, tasks mixed.

    Raises:
        MissingTableError: the identifier table is not installed.
        ValueError: the configuration is out of range.
    """
    config.validate()
    compounds = read_compounds(config.max_heavy_atoms)
    edited = _lightest(compounds, int(config.train_per_task * _EDITED_PER_ROW), config)
    optimised = _lightest(compounds, int(config.train_per_task * _OPTIMISED_PER_ROW), config)
    edits = list(edit_drafts(edited, config))
    by_task: dict[str, list[Draft]] = {}
    for drafts in (
        name_drafts(compounds),
        custom_drafts(compounds, edits),
        edits,
        optimisation_drafts(optimised, config),
        reaction_drafts(compounds, config),
        caption_drafts(config),
    ):
        for draft in drafts:
            by_task.setdefault(draft.task, []).append(draft)
    rows: dict[Split, list[Example]] = {split: [] for split in Split}
    for task in sorted(by_task):
        for split, examples in choose(by_task[task], config).items():
            rows[split] += examples
    return {split: sorted(examples, key=lambda example: unit_hash(config.seed, "mix", example.uid)) for split, examples in rows.items()}


def _lightest(compounds: list[Compound], number: int, config: StarterConfig) -> list[Compound]:
    """A weighted draw of compounds, by the same rule as the rows (see ``drafts.choose``)."""

    def key(compound: Compound) -> float:
        return float(unit_hash(config.seed, "lightest", compound.smiles) ** (1.0 / config.size_decay**compound.size))

    return sorted(compounds, key=key, reverse=True)[:number]
