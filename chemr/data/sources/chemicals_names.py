"""51,762 molecules with names that OPSIN reads back (made from the PyPI package ``chemicals``, MIT).

The name asked for and about is the ``iupac`` column where it is among the verified names, else the first verified one. Names of the style
``azanyl``/``oxidanyl``/``chloranyl`` are real but nobody's idea of IUPAC: a conventional verified name is preferred to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from chemr.data.example import Example
from chemr.data.sources.chemllmbench import name_examples
from chemr.data.sources.reading import RowLog, table_rows
from chemr.data.sources.smiles_text import looks_like_smiles

_UNUSUAL = re.compile(r"azanyl|oxidanyl|chloranyl|bromanyl|fluoranyl|iodanyl|sulfanylidene|azanide|oxidane|-oxidanylidene")
_REGISTRY_NUMBER = re.compile(r"[a-z]{0,8}[-_ ]?\d+")


def opsin_verified_rows(path: Path, prefix: str, log: RowLog) -> Iterator[Example]:
    """All four name tasks for each molecule; uids are ``prefix/task/<data row>``."""
    for cells in table_rows(path, log, ("smiles", "formula", "iupac", "verified_names"), delimiter="\t", quoted=False):
        smiles, formula = cells["smiles"].strip(), cells["formula"].strip()
        name = preferred_name(cells["iupac"].strip(), [name for name in cells["verified_names"].split("|") if name])
        if not looks_like_smiles(smiles) or not formula or not name:
            log.reject("incomplete row", f"{smiles}, {formula}, {name}", "a SMILES, a formula and a verified name")
            continue
        yield from name_examples(
            smiles,
            name,
            formula,
            prefix=prefix,
            row=str(log.row),
            source="PubChem identifiers in the PyPI package chemicals, names verified with OPSIN",
            licence="MIT",
        )


def preferred_name(iupac: str, verified: list[str]) -> str:
    """The verified name to train on, "" when there is none."""
    candidates = [name for name in verified if _REGISTRY_NUMBER.fullmatch(name) is None]
    usual = [name for name in candidates if _UNUSUAL.search(name) is None and not name.endswith("-")]
    for pool in (usual, candidates):
        if iupac in pool:
            return iupac
        if pool:
            return pool[0]
    return ""
