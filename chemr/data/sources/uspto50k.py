"""USPTO-50K as pandegroup ships it: characters separated by blanks, ``<RX_k> product`` in one file, reactants in another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from chemr.data.example import Example
from chemr.data.sources.reading import RowLog, SourceFileError, opened_text, text_lines
from chemr.data.sources.smiles_text import difficulty, looks_like_smiles

LICENCE = "CC0-1.0"
_SOURCE_LINE = re.compile(r"<RX_(\d{1,2})> (\S(?: \S)*)")
_TARGET_LINE = re.compile(r"\S(?: \S)*")


def retro_pairs(sources: Path, targets: Path, prefix: str, log: RowLog, part: str = "") -> Iterator[Example]:
    """Products (``*_sources``) and their reactants (``*_targets``); the reaction class, 1 to 10, is kept in the reference, not asked.

    Raises:
        SourceFileError: the two files have different numbers of lines, so that no pair can be trusted.
    """
    with opened_text(targets) as target_handle, opened_text(sources) as source_handle:
        target_lines = text_lines(target_handle, targets, RowLog(strict=True))
        for source in text_lines(source_handle, sources, log):
            target = next(target_lines, None)
            if target is None:
                raise SourceFileError(f"{targets}: has fewer lines than {sources}; fetch both again")
            match = _SOURCE_LINE.fullmatch(source)
            if match is None or not _TARGET_LINE.fullmatch(target):
                log.reject("not single characters", f"{source} | {target}", "<RX_k> and characters separated by one blank")
                continue
            product, reactants = match[2].replace(" ", ""), target.replace(" ", "")
            if not looks_like_smiles(product) or not looks_like_smiles(reactants):
                log.reject("no SMILES", f"{product} | {reactants}", "a product and its reactants")
                continue
            uid = f"{prefix}/retro/{part}{log.row}"
            reference = {"answer": reactants, "reaction_class": int(match[1])}
            yield Example(uid, "retro", {"product": product}, reference, difficulty(product), "USPTO-50K", LICENCE)
        if next(target_lines, None) is not None:
            raise SourceFileError(f"{targets}: has more lines than {sources}; fetch both again")
