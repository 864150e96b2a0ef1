"""The five property tables of ChemLLMBench (MoleculeNet's): full tables and tests of 100 rows.

Traps handled: BACE names its SMILES column ``mol``; HIV.csv has a blank line after every row; Tox21's label is SR-p53, which is missing for
some rows and written 0.0/1.0 in the test; ClinTox's label is CT_TOX in both files (FDA_APPROVED is 1/0 in one and Yes/No in the other);
some molecules stand in a table twice, with both labels: nothing can be learnt from these rows, so they are not trained on.
Only the SMILES becomes part of the question: ChemLLMBench's own prompts for HIV and ClinTox show a second column that gives the label away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from chemr.data.example import Example
from chemr.data.sources.molecules import flat_components, without_maps
from chemr.data.sources.reading import RowLog, table_rows
from chemr.data.sources.smiles_text import difficulty, looks_like_smiles

LICENCE = "LicenseRef-MoleculeNet"  # no licence file upstream
_LABELS = {"1": "Yes", "1.0": "Yes", "0": "No", "0.0": "No"}


@dataclass(frozen=True, slots=True)
class PropertyTable:
    """File names and columns of one data set; an empty label is a missing measurement where ``may_be_missing``."""

    full: str
    test: str
    smiles: str
    label: str
    may_be_missing: bool = False


PROPERTY_TABLES: Mapping[str, PropertyTable] = MappingProxyType(
    {
        "property_bace": PropertyTable("BACE.csv", "BACE_test.csv", "mol", "Class"),
        "property_bbbp": PropertyTable("BBBP.csv", "BBBP_test.csv", "smiles", "p_np"),
        "property_hiv": PropertyTable("HIV.csv", "HIV_test.csv", "smiles", "HIV_active"),
        "property_tox21": PropertyTable("Tox21.csv", "Tox_test.csv", "smiles", "SR-p53", may_be_missing=True),
        "property_clintox": PropertyTable("ClinTox.csv", "ClinTox_test.csv", "smiles", "CT_TOX"),
    }
)


def property_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """Rows of a full or test table of ``task``; uids are ``prefix/task/<data row>``."""
    table = PROPERTY_TABLES[task]
    for cells in table_rows(path, log, (table.smiles, table.label)):
        smiles, label = cells[table.smiles].strip(), cells[table.label].strip()
        if not looks_like_smiles(smiles):
            log.reject("no SMILES", smiles, f"a SMILES in column {table.smiles}")
        elif not label and table.may_be_missing:
            log.skip(f"{table.label} was not measured")
        elif label not in _LABELS:
            log.reject("unknown label", label, f"0 or 1 in column {table.label}")
        else:
            yield Example(
                uid=f"{prefix}/{task}/{log.row}",
                task=task,
                inputs={"smiles": smiles},
                reference={"answer": _LABELS[label]},
                difficulty=difficulty(smiles),
                source=f"MoleculeNet via ChemLLMBench, {path.name}",
                licence=LICENCE,
            )


def property_training_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """:func:`property_rows` of a full table without the rows of molecules that it gives both labels. Reads the table twice."""
    contradicted = _with_both_labels(property_rows(path, task, prefix, RowLog()))
    for example in property_rows(path, task, prefix, log):
        if example.uid in contradicted:
            smiles, label = example.inputs["smiles"], example.reference["answer"]
            log.reject("the molecule has both labels", f"{smiles} {label}", "one label for a molecule")
        else:
            yield example


def _with_both_labels(rows: Iterable[Example]) -> frozenset[str]:
    """The uids of rows whose molecule, stereo included, has another label elsewhere. Unreadable molecules are not compared."""
    alike: dict[object, list[Example]] = defaultdict(list)
    for example in rows:
        alike[flat_components(example.inputs["smiles"])].append(example)  # cached, unlike the form with stereo
    found: set[str] = set()
    for parts, group in alike.items():
        if parts is None or len({example.reference["answer"] for example in group}) == 1:
            continue
        labels: dict[str | None, set[str]] = defaultdict(set)
        for example in group:
            labels[without_maps(example.inputs["smiles"])].add(example.reference["answer"])
        found |= {example.uid for example in group if len(labels[without_maps(example.inputs["smiles"])]) > 1}
    return frozenset(found)
