"""What a run told a person is kept, whatever ends the run, and costs it nothing."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from rich.console import Console

from chemr.display import Display
from chemr.run_notes import NOTES, RunNotes, read_notes, run_notes


def told(folder: Path) -> list[tuple[str, str]]:
    return [(note["kind"], note["text"]) for note in read_notes(folder)]


def test_what_is_shown_and_what_the_driver_warns_of_is_kept(tmp_path: Path) -> None:
    with run_notes(tmp_path) as notes:
        Display(Console(file=io.StringIO()), notes.write).note("learner lost; restarting it from step 40")
        logging.getLogger("actors.roster").warning("%s is replaced: %s", "generator-0", "it died")
        logging.getLogger("actors.roster").info("nothing that a person must know")
        logging.getLogger("ray").warning("another library's own business")
    logging.getLogger("actors.roster").warning("after the run")
    assert told(tmp_path) == [("note", "learner lost; restarting it from step 40"), ("warning", "generator-0 is replaced: it died")]


def test_what_ends_a_run_is_its_last_note(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), run_notes(tmp_path):
        raise RuntimeError("no place for generator-0")
    assert told(tmp_path) == [("error", "the run ended: RuntimeError: no place for generator-0")]


def test_a_run_that_goes_on_adds_to_its_notes_and_mends_a_line_that_a_kill_cut(tmp_path: Path) -> None:
    with run_notes(tmp_path) as notes:
        notes.write("first")
    with (tmp_path / NOTES).open("a") as file:
        file.write('{"time": 3, "ki')
    assert told(tmp_path) == [("note", "first")], "a torn line is no note"
    with run_notes(tmp_path) as notes:
        notes.write("second")
    assert told(tmp_path) == [("note", "first"), ("note", "second")]
    assert all(json.loads(line) for line in (tmp_path / NOTES).read_text().splitlines()), "the torn line is gone"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_costs_notes_and_not_the_run(tmp_path: Path) -> None:
    notes = RunNotes(tmp_path / NOTES)
    notes._file.close()
    notes._file = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115
    notes.write("lost")
    notes.close()
    notes.write("after the end")
    assert read_notes(tmp_path) == []


def test_a_run_without_notes_has_none(tmp_path: Path) -> None:
    assert read_notes(tmp_path) == []
