"""Reading published files one row at a time, and saying exactly what is wrong with a row that cannot be used.

Readers stream: they hold one row, never a file (a JSON list excepted: JSON has no rows). They keep :attr:`RowLog.here` at the row they
gave out last, so that whoever finds it unusable, at any later step, can report it by file and line. Nothing unpickles or unpacks to disk.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MAX_FIELD_CHARS = 1 << 22
"""Longest cell that is read; the largest published one is a prompt of about 3 kB."""

KEPT_BAD_ROWS = 200
"""Bad rows kept in full, besides the first of every reason; all of them are counted."""


class SourceFileError(ValueError):
    """A file is missing, broken or of another format; nothing of it can be used."""


class BadRowError(ValueError):
    """A bad row under ``strict``."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used. ``line`` counts from 1 in the file as an editor shows it (in a JSON list: the item)."""

    file: Path
    line: int
    reason: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}: found {self.found[:160]!r}, expected {self.expected}"


class RowLog:
    """What became of the rows of one source.

    Attributes:
        here: file and line of the row given out last.
        row: its 0-based number among the data rows of its file, bad ones included.
        read, bad, skipped: counts by file, by (file, reason) and by (file, reason). ``skipped`` are rows that are as published but no
            question of ours (a missing assay), so they do not stop a strict reading.
        bad_rows: the first KEPT_BAD_ROWS in full, and the first of each reason.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.here: tuple[Path, int] = (Path("?"), 0)
        self.row = -1
        self.read: Counter[str] = Counter()
        self.bad: Counter[tuple[str, str]] = Counter()
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.bad_rows: list[BadRow] = []
        self._last_rejected: tuple[tuple[Path, int], str] | None = None

    def at(self, file: Path, line: int, row: int) -> None:
        """Called by readers for every data row."""
        self.here, self.row = (file, line), row
        self.read[file.name] += 1

    def reject(self, reason: str, found: str, expected: str) -> None:
        """Counts the row at ``here`` as bad, once however many questions were made of it. Raises BadRowError under ``strict``."""
        bad = BadRow(*self.here, reason, found, expected)
        if (self.here, reason) == self._last_rejected:
            return
        self._last_rejected = (self.here, reason)
        if self.strict:
            raise BadRowError(f"{bad}; correct the file, or read it without strict to leave such rows out")
        self.bad[self.here[0].name, reason] += 1
        if len(self.bad_rows) < KEPT_BAD_ROWS or self.bad[self.here[0].name, reason] == 1:
            self.bad_rows.append(bad)

    def skip(self, reason: str) -> None:
        """Counts the row at ``here`` as sound but not asked."""
        self.skipped[self.here[0].name, reason] += 1


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what opening and unpacking can raise into one SourceFileError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceFileError(f"{path}: no such file; data.dir must name the folder that holds the data as published") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, csv.Error) as error:
        raise SourceFileError(f"{path}: cannot be read ({error}); fetch the file again") from error


@contextmanager
def opened_text(path: Path) -> Iterator[IO[str]]:
    """A plain or .gz text file, with or without a byte-order mark; bytes that are not UTF-8 become U+FFFD (:func:`is_garbled`)."""
    with explained(path):
        opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as handle:
            yield handle


@contextmanager
def opened_zip_member(path: Path, member: str) -> Iterator[IO[str]]:
    with explained(path), zipfile.ZipFile(path) as archive:
        if member not in archive.namelist():
            raise SourceFileError(f"{path}: holds no {member}; it holds {', '.join(archive.namelist()[:8])}")
        with archive.open(member) as raw:
            yield io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")


@contextmanager
def opened_tar_member(path: Path, member: str) -> Iterator[IO[str]]:
    with explained(path), tarfile.open(path, "r:gz") as archive:
        for entry in archive:
            raw = archive.extractfile(entry) if entry.isfile() and entry.name == member else None
            if raw is not None:
                yield io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")
                return
        raise SourceFileError(f"{path}: holds no file {member}")


def is_garbled(text: str) -> bool:
    return "�" in text or "\0" in text


def table_rows(path: Path, log: RowLog, columns: Sequence[str], *, delimiter: str = ",", quoted: bool = True) -> Iterator[dict[str, str]]:
    """Rows of a delimited file with a header line, as {column: text}. Blank lines are no rows.

    Raises:
        SourceFileError: the file is missing or broken, or lacks one of ``columns``.
        BadRowError: under strict, at a row with another number of cells than the header or with bytes that are not UTF-8.
    """
    csv.field_size_limit(MAX_FIELD_CHARS)
    with opened_text(path) as handle:
        reader = csv.reader(handle, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
        header = next(reader, [])
        missing = [column for column in columns if column not in header]
        if missing:
            raise SourceFileError(f"{path}: the header lacks {', '.join(missing)}; it has {', '.join(header[:12]) or 'nothing'}")
        row, first_line = 0, reader.line_num + 1
        for cells in reader:
            line, first_line = first_line, reader.line_num + 1
            if not cells:
                continue
            log.at(path, line, row)
            row += 1
            if len(cells) != len(header):
                log.reject("wrong number of cells", f"{len(cells)} cells", f"{len(header)}: {', '.join(header[:8])}")
            elif is_garbled("".join(cells)):
                log.reject("not UTF-8 text", delimiter.join(cells), "UTF-8 without NUL")
            else:
                yield dict(zip(header, cells, strict=True))


def text_lines(handle: IO[str], path: Path, log: RowLog) -> Iterator[str]:
    """The non-empty lines of an open file, stripped."""
    row = 0
    for line, raw in enumerate(handle, start=1):
        text = raw.strip()
        if not text:
            continue
        log.at(path, line, row)
        row += 1
        if is_garbled(text):
            log.reject("not UTF-8 text", text, "UTF-8 without NUL")
        else:
            yield text


def json_lines(path: Path, log: RowLog) -> Iterator[dict[str, Any]]:
    """One JSON object a line."""
    with opened_text(path) as handle:
        for text in text_lines(handle, path, log):
            try:
                value = json.loads(text)
            except (json.JSONDecodeError, RecursionError):
                log.reject("not JSON", text, "one JSON object")
                continue
            if isinstance(value, dict):
                yield value
            else:
                log.reject("not a JSON object", text, "one JSON object")


def json_list(path: Path, log: RowLog) -> Iterator[dict[str, Any]]:
    """The objects of one JSON list; the line of a bad row is its item number, from 1."""
    with opened_text(path) as handle:
        try:
            items = json.load(handle)
        except (json.JSONDecodeError, RecursionError) as error:
            raise SourceFileError(f"{path}: is not JSON ({error}); fetch the file again") from error
    if not isinstance(items, list):
        raise SourceFileError(f"{path}: holds a {type(items).__name__}; expected a list of objects")
    for row, item in enumerate(items):
        log.at(path, row + 1, row)
        if isinstance(item, dict):
            yield item
        else:
            log.reject("not a JSON object", str(item), "an object")
