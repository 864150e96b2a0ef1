"""``chemr report RUN… [--compare] [--out FILE]``. Only what argparse needs is imported here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from chemr.command_parsers import add_command, completes
from chemr.completion.words import run_folders
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError

REPORT_FILE = "report.html"
SAMPLES = 5000
EXAMPLES = (
    "chemr report runs/starter                                  # writes runs/starter/report.html",
    "chemr report runs/seed0 runs/seed1 --compare --out seeds.html",
)


def add_report(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "report",
        "a run as one HTML page that needs no network; several runs compared (docs/report.md)",
        examples=EXAMPLES,
        run=run_report,
    )
    runs = parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, finished or not, e.g. runs/starter")
    completes(runs, run_folders)
    parser.add_argument("--compare", action="store_true", help="one page of all runs, curves overlaid; else a page for each run")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"the file to write (RUN/{REPORT_FILE}; with --compare beside the first RUN)"
    )
    parser.add_argument("--samples", type=int, default=SAMPLES, metavar="N", help=f"at most so many answers in the gallery ({SAMPLES})")


def run_report(options: argparse.Namespace) -> int:
    """Writes the pages and prints their names; returns 0, 1 when a file cannot be written, or 2 for folders that hold no run."""
    from chemr.report.run_data import RunDataError

    try:
        pages = _pages(options)
        for runs, target in pages:
            print(_write(runs, target, options.samples))
    except (RunDataError, UsageError) as error:
        print(f"chemr report: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"chemr report: {error.filename or 'the report'} cannot be written: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("chemr report: interrupted; a page that was not named is not written", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _pages(options: argparse.Namespace) -> list[tuple[list[Path], Path]]:
    """The runs of every page and the file it is written to.

    Raises:
        UsageError: --compare of one run, one file for several pages, or no samples at all.
    """
    runs: list[Path] = options.runs
    if options.samples < 1:
        raise UsageError(f"--samples {options.samples} must be at least 1")
    if options.compare:
        if len(runs) < 2:
            raise UsageError(f"--compare needs two runs or more, and only {runs[0]} was named")
        return [(runs, options.out or runs[0].resolve().parent / REPORT_FILE)]
    if options.out is not None and len(runs) > 1:
        raise UsageError(f"--out is one file, and {len(runs)} runs were named: add --compare for one page of all of them")
    return [([run], options.out or run / REPORT_FILE) for run in runs]


def _write(folders: list[Path], target: Path, samples: int) -> str:
    from chemr.report.page import page
    from chemr.report.run_data import read_run
    from chemr.whole_file import write_whole

    runs = [read_run(folder) for folder in folders]
    for run in runs:
        for problem in run.problems:
            print(f"chemr report: {run.directory}: {problem}", file=sys.stderr)
    content = page(runs, samples)
    write_whole(target, content)
    return f"{target} ({len(content) / 1e6:.1f} MB)"
