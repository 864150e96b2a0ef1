"""USPTO-15K and USPTO-480K: ``mappedReactants>>product bondEdits`` inside a zip and a tar.gz; reagents stand among the reactants.

Atom maps are taken off both sides (they would give the answer away), so molecules are written anew with the running RDKit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from chemr.data.example import Example
from chemr.data.sources.molecules import without_maps
from chemr.data.sources.reading import RowLog, opened_tar_member, opened_zip_member, text_lines
from chemr.data.sources.smiles_text import difficulty

LICENCE = "CC0-1.0"


def forward_zip_rows(path: Path, member: str, prefix: str, source: str, log: RowLog, part: str = "") -> Iterator[Example]:
    yield from _forward(opened_zip_member(path, member), path / member, prefix, source, log, part)


def forward_tar_rows(path: Path, member: str, prefix: str, source: str, log: RowLog, part: str = "") -> Iterator[Example]:
    yield from _forward(opened_tar_member(path, member), path / member, prefix, source, log, part)


def _forward(opened: AbstractContextManager[IO[str]], path: Path, prefix: str, source: str, log: RowLog, part: str) -> Iterator[Example]:
    with opened as handle:
        for text in text_lines(handle, path, log):
            reaction, _, _ = text.partition(" ")
            left, arrow, right = reaction.partition(">>")
            if not arrow or not left or not right:
                log.reject("no reaction", text, "reactants>>product edits")
                continue
            reactants, product = without_maps(left), without_maps(right)
            if reactants is None or product is None:
                log.reject("SMILES not readable", left if reactants is None else right, "SMILES that RDKit reads")
                continue
            uid = f"{prefix}/forward/{part}{log.row}"
            yield Example(uid, "forward", {"reactants": reactants}, {"answer": product}, difficulty(product), source, LICENCE)
