"""Tab-separated ``CID SMILES description``: ChEBI-20 (MolT5's files) and TOMG-Bench's PubChem captions and names.

Traps handled: the files are not quoted (captions hold lone quotes); some SMILES of ChEBI-20 have doubled backslashes, which RDKit refuses.
In the IUPAC files the column ``description`` is the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chemr.data.example import Example
from chemr.data.sources.chemllmbench import caption_example, name_examples
from chemr.data.sources.reading import RowLog, table_rows
from chemr.data.sources.smiles_text import looks_like_smiles


def described_rows(path: Path, log: RowLog) -> Iterator[tuple[str, str]]:
    """(SMILES, description) of every sound row."""
    for cells in table_rows(path, log, ("SMILES", "description"), delimiter="\t", quoted=False):
        smiles, text = cells["SMILES"].strip().replace("\\\\", "\\"), cells["description"].strip()
        if not looks_like_smiles(smiles):
            log.reject("no SMILES", smiles, "a SMILES in column SMILES")
        elif not text:
            log.reject("no description", text, "a text in column description")
        else:
            yield smiles, text


def caption_rows(
    path: Path, tasks: tuple[str, ...], prefix: str, source: str, licence: str, log: RowLog, part: str = ""
) -> Iterator[Example]:
    """Captions and molecules in the directions of ``tasks``; uids are ``prefix/task/<part><data row>``."""
    for smiles, caption in described_rows(path, log):
        for task in tasks:
            yield caption_example(smiles, caption, task, f"{prefix}/{task}/{part}{log.row}", source, licence)


def named_rows(
    path: Path, tasks: tuple[str, ...], prefix: str, source: str, licence: str, log: RowLog, part: str = ""
) -> Iterator[Example]:
    """Names and molecules; the files give no formulas."""
    for smiles, iupac in described_rows(path, log):
        row = f"{part}{log.row}"
        yield from name_examples(smiles, iupac, None, prefix=prefix, row=row, source=source, licence=licence, tasks=tasks)
