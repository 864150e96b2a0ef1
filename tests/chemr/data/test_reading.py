"""Files as people save them: with the byte-order mark that some editors and spreadsheets put first."""

from __future__ import annotations

import codecs
import gzip
import zipfile
from pathlib import Path

import pytest

from chemr.data.sources.reading import RowLog, json_lines, json_list, opened_zip_member, table_rows

TABLE = "smiles,answer\nCCO,C2H6O\nC,CH4\n"
ROWS = [{"smiles": "CCO", "answer": "C2H6O"}, {"smiles": "C", "answer": "CH4"}]
LINES = '{"smiles": "CCO", "answer": "C2H6O"}\n{"smiles": "C", "answer": "CH4"}\n'


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_byte_order_mark_costs_neither_a_column_nor_a_row(tmp_path: Path, mark: bytes) -> None:
    log = RowLog(strict=True)
    (tmp_path / "rows.csv").write_bytes(mark + TABLE.encode())
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(mark + TABLE.encode()))
    (tmp_path / "rows.jsonl").write_bytes(mark + LINES.encode())
    (tmp_path / "rows.json").write_bytes(mark + b"[" + LINES.strip().replace("\n", ",").encode() + b"]")
    for name in ("rows.csv", "rows.csv.gz"):
        assert list(table_rows(tmp_path / name, log, ["smiles", "answer"])) == ROWS
    assert list(json_lines(tmp_path / "rows.jsonl", log)) == ROWS
    assert list(json_list(tmp_path / "rows.json", log)) == ROWS
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("rows.csv", mark + TABLE.encode())
    with opened_zip_member(tmp_path / "rows.zip", "rows.csv") as handle:
        assert handle.read() == TABLE
