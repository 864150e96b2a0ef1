"""Reads a model's predictions from CSV, JSON lines or Parquet, and fits them to the rows of a test file."""

from __future__ import annotations

import csv
import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMATS = (".csv", ".jsonl", ".parquet")
NO_ROW_COLUMN = "none"
_MAX_CELL = 1 << 30
_NAMED = 5  # rows named in a message


class PredictionFileError(ValueError):
    """A file of predictions that cannot be scored: what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """``place`` is where a person finds it: a line of the file, or a row of a Parquet table."""

    row: int
    text: str
    place: str


def prediction_paths(argument: str) -> list[Path]:
    """One file; or several samples, separated by commas or named by a pattern such as ``predictions_*.csv`` (then in sorted order).

    Raises:
        PredictionFileError: nothing has this name.
    """
    if Path(argument).is_file():
        return [Path(argument)]
    paths: list[Path] = []
    for part in argument.split(","):
        found = [part] if Path(part).is_file() else sorted(glob.glob(part))
        paths += [Path(name) for name in found if Path(name).is_file()]
        if not found:
            raise PredictionFileError(f"predictions={part}: no such file, and no file fits it as a pattern")
    if not paths:
        raise PredictionFileError(f"predictions={argument}: a folder; name its files, for example {argument}/predictions_*.csv")
    return paths


def read_predictions(path: Path, row_column: str = "row", text_column: str = "prediction") -> list[Prediction]:
    """The predictions in the order of the file. Every cell stays the text it is; JSON ``null`` and an empty Parquet cell are ``""``.

    Args:
        row_column: column of 0-based data rows of the test file; ``none`` when the file has one prediction a row, in order.

    Raises:
        PredictionFileError: another format, a missing column, a row that is no number, a prediction that is no text.
    """
    readers = {".csv": _csv_cells, ".jsonl": _json_cells, ".parquet": _parquet_cells}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise PredictionFileError(f"{path}: predictions are read from {', '.join(FORMATS)}, by the end of the name; found {path.suffix!r}")
    columns = [text_column] if row_column == NO_ROW_COLUMN else [row_column, text_column]
    predictions = []
    try:
        for number, (place, cells) in enumerate(reader(path, columns)):
            *named, text = cells
            row = _row_number(path, place, row_column, named[0]) if named else number
            if text is not None and not isinstance(text, str):
                raise PredictionFileError(f"{path}, {place}: the prediction should be text, found {text!r} in {text_column!r}")
            predictions.append(Prediction(row, text or "", place))
    except (UnicodeDecodeError, csv.Error) as error:
        raise PredictionFileError(f"{path}: is not {path.suffix.lower()[1:]} in UTF-8 ({error})") from error
    if not predictions:
        raise PredictionFileError(f"{path}: holds no predictions")
    return predictions


def fitted(path: Path, predictions: Sequence[Prediction], rows: Sequence[int], source: str) -> dict[int, str]:
    """The predictions by row.

    Args:
        rows: the data rows that the test file has.
        source: the test file's name, for messages.

    Raises:
        PredictionFileError: a row predicted twice, or one that the test does not have. (What is missing is the caller's business.)
    """
    by_row: dict[int, Prediction] = {}
    for prediction in predictions:
        earlier = by_row.setdefault(prediction.row, prediction)
        if earlier is not prediction:
            raise PredictionFileError(
                f"{path}: row {prediction.row} is predicted twice ({earlier.place} and {prediction.place}); "
                "keep one, or give each sample a file of its own: predictions=FILE1,FILE2"
            )
    unknown = sorted(by_row.keys() - set(rows))
    if unknown:
        raise PredictionFileError(
            f"{path}: {len(unknown)} rows are not in {source}, which has {len(rows)} rows from {min(rows)} to {max(rows)}: "
            f"{named(unknown)}; are these predictions for another test file? (data=)"
        )
    return {row: prediction.text for row, prediction in by_row.items()}


def named(rows: Sequence[int]) -> str:
    """The first few of ``rows`` as text."""
    return ", ".join(map(str, rows[:_NAMED])) + (", …" if len(rows) > _NAMED else "")


def _row_number(path: Path, place: str, column: str, cell: Any) -> int:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell
    if isinstance(cell, str) and cell.strip().isascii() and cell.strip().isdigit() and len(cell) < 19:
        return int(cell)
    raise PredictionFileError(f"{path}, {place}: column {column!r} should hold the 0-based data row, a whole number; found {cell!r}")


def _missing(path: Path, columns: Sequence[str], present: Sequence[str]) -> PredictionFileError:
    absent = [column for column in columns if column not in present]
    return PredictionFileError(
        f"{path}: there is no column {' and no column '.join(map(repr, absent))}; "
        f"the columns are {', '.join(map(repr, present)) or 'none'}. "
        "Name yours: row=COLUMN prediction=COLUMN, or row=none when there is one prediction a row, in the order of the test"
    )


def _csv_cells(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    csv.field_size_limit(_MAX_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if not set(columns) <= set(header):
            raise _missing(path, columns, header)
        places = [header.index(column) for column in columns]
        line = reader.line_num + 1
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if not cells and len(header) > 1:
                continue
            if len(cells) != len(header) and (cells or len(header) > 1):
                raise PredictionFileError(f"{path}, {place}: {len(cells)} cells under a header of {len(header)}; is a quote missing?")
            yield place, [cells[index] if cells else "" for index in places]


def _json_cells(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise PredictionFileError(f"{path}, line {number}: is not JSON ({error}); one object a line is expected") from error
            if not isinstance(item, dict):
                raise PredictionFileError(f"{path}, line {number}: holds a {type(item).__name__}; one object a line is expected")
            if not set(columns) <= item.keys():
                raise _missing(path, columns, list(item))
            yield f"line {number}", [item[column] for column in columns]


def _parquet_cells(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    import pyarrow.parquet
    from pyarrow import ArrowException

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            if not set(columns) <= set(present):
                raise _missing(path, columns, present)
            start = 0
            for batch in file.iter_batches(columns=list(columns)):
                lists = [batch.column(batch.schema.get_field_index(column)).to_pylist() for column in columns]
                for number, cells in enumerate(zip(*lists, strict=True), start=start):
                    yield f"table row {number}", list(cells)
                start += batch.num_rows
    except (ArrowException, OSError) as error:
        raise PredictionFileError(f"{path}: is not readable as Parquet ({error})") from error
