"""What ``chemr data`` prints, and its exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chemr.config import ChemrConfig
from chemr.data.leak_report import find_leaks, leak_lines
from chemr.data.sources.reading import BadRowError, SourceFileError
from chemr.data.sources.suites import default_data_dir
from chemr.data.statistics import collect_statistics, statistics_lines

OK, LEAKS_LEFT, UNREADABLE = 0, 1, 2


def show_data(view: str, config: ChemrConfig, json_path: Path | None) -> int:
    """``leaks`` or ``stats`` over the folder ``data.dir``. Status: 0, 1 when leaks are left, 2 when files cannot be used."""
    data_dir = default_data_dir() if config.data.dir is None else Path(config.data.dir)
    try:
        if view == "leaks":
            report = find_leaks(data_dir, strict=config.data.strict)
            lines, figures, status = leak_lines(report), report.to_json(), OK if report.clean else LEAKS_LEFT
        else:
            statistics = collect_statistics(data_dir, strict=config.data.strict)
            lines, figures, status = statistics_lines(statistics), statistics.to_json(), OK
    except (SourceFileError, BadRowError) as error:
        print(f"chemr data {view}: {error}", file=sys.stderr)
        return UNREADABLE
    print("\n".join(lines))
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return status
