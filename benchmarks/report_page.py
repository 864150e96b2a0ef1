"""How long the report takes: to make, to show and to filter, at 100,000 recorded steps and 5,000 sampled answers.

Needs a headless Chromium (Debian: ``apt-get install chromium``; ``CHEMR_CHROMIUM`` names another). The run is synthetic: 100,000 records of
seven metrics, and answers about molecules of the starter's size, of which half differ from their references. ``--run`` measures a real one.

JSON (--json FILE): make_s (all of ``chemr report``), file_mb, samples, recorded_values, first_paint_ms (worst of the openings), charts_ms
(all charts drawn again, for the other axis), filter_ms by filter (filtering and showing the first cards, the worst of three), points_drawn.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

from chemr.cli import main as chemr
from chemr.report.run_data import read_run
from chemr.tracking.metrics_log import MetricsLog
from tests.chemr.report.headless import Browser, find_chromium

STEPS, GROUPS, SAMPLES_PER_GROUP = 100_000, 625, 8
OPENINGS = 3
DRAW_ALL = """(() => {
    const began = performance.now();
    const unit = document.querySelector("#axis select");
    unit.value = "minutes";
    unit.dispatchEvent(new Event("change"));
    document.body.offsetHeight;
    return performance.now() - began;
})()"""
FILTERS = {"task": "forward", "verdict": "partial", "order": "worst", "text": "cco"}
MOLECULES = (
    "CCO",
    "CC(=O)OCC",
    "c1ccccc1O",
    "CC(C)CN",
    "OCC(O)CO",
    "CC(=O)Nc1ccccc1",
    "C1CCCCC1Br",
    "CCOC(=O)C=C",
    "CS(=O)(=O)C",
    "N#CCCO",
)


def synthetic_run(folder: Path, seed: int = 0) -> Path:
    """A run directory of the size that is to be shown."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator, luck = np.random.default_rng(seed), random.Random(seed)
    (folder / "trajectories").mkdir(parents=True)
    (folder / "config.yaml").write_text("run: {name: synthetic, seed: 0}\nstages: [grpo]\n", encoding="utf-8")
    log = MetricsLog(folder / "metrics.jsonl")
    noise = generator.normal(size=(STEPS, 6)).round(5).tolist()
    for step, values in enumerate(noise, start=1):
        metrics: dict[str, float | str] = {"stage": "grpo", "time/step_s": 1.0, "time/train": 0.5, "train/loss": values[0]}
        metrics |= {"train/entropy": values[1], "reward/mean": values[2], "reward/forward/mean": values[3], "reward/retro/mean": values[4]}
        log.append(step, float(step), float(step), metrics)
    log.close()
    rows: list[dict[str, Any]] = []
    for group in range(GROUPS):
        reference = luck.choice(MOLECULES)
        for sample in range(SAMPLES_PER_GROUP):
            answer = luck.choice((reference, luck.choice(MOLECULES), luck.choice(MOLECULES) + luck.choice("CNOF")))
            reasoning = " ".join(luck.choice(MOLECULES) for _ in range(60))
            rows.append(
                {
                    "uid": f"bench/{group}",
                    "task": ("forward", "retro", "text2mol")[group % 3],
                    "sample": sample,
                    "prompt": f"A question about {luck.choice(MOLECULES)}",
                    "completion": f"<think>{reasoning}</think><answer>{answer}</answer>",
                    "reward": float(answer == reference),
                    "reason": "correct" if answer == reference else "partial",
                    "tokens": luck.randrange(20, 900),
                    "oldest_version": group,
                    "newest_version": group + luck.randrange(3),
                    "generator": "generator-0",
                    "inputs": "{}",
                    "reference": json.dumps({"answer": reference}),
                }
            )
    pq.write_table(pa.Table.from_pylist(rows), folder / "trajectories" / f"step-{STEPS:06d}.parquet")
    return folder


def measure(program: str, run: Path, target: Path) -> dict[str, Any]:
    began = time.perf_counter()
    if chemr(["report", str(run), "--out", str(target)]) != 0:
        raise SystemExit("the report could not be made")
    figures: dict[str, Any] = {"make_s": round(time.perf_counter() - began, 2), "file_mb": round(target.stat().st_size / 1e6, 2)}
    figures["recorded_values"] = sum(series.values.size for series in read_run(run).metrics.series.values())
    paints = []
    with Browser(program) as browser:
        for _ in range(OPENINGS):
            page = browser.open(target)
            page.wait("performance.getEntriesByName('first-contentful-paint').length > 0")
            paints.append(page.value("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            page.close()
        figures["first_paint_ms"] = round(max(paints), 1)
        page = browser.open(target)
        page.show_all()
        figures["charts_ms"] = round(page.value(DRAW_ALL), 1)
        figures["points_drawn"] = page.value(
            "[...document.querySelectorAll('[data-points]')].reduce((sum, one) => sum + +one.dataset.points, 0)"
        )
        figures["samples"] = page.value("JSON.parse(document.getElementById('data').textContent).gallery.samples.length")
        figures["filter_ms"] = {name: filtered(page, name, value) for name, value in FILTERS.items()}
        figures["complaints"] = page.complaints()
    return figures


def filtered(page: Any, name: str, value: str) -> float:
    """The worst of three changes of one filter and back, as the page itself measures them."""
    label = {"task": "Task", "verdict": "Verdict", "order": "Order", "text": "Text"}[name]
    neutral = "newest" if name == "order" else ""
    worst = 0.0
    for wanted in (value, neutral, value, neutral, value, neutral):
        page.value("performance.clearMeasures('filter')")
        page.value(f"""(() => {{
            const label = [...document.querySelectorAll("#answers label")].find((one) => one.textContent.startsWith({json.dumps(label)}));
            const control = label.querySelector("select, input");
            control.value = {json.dumps(wanted)};
            control.dispatchEvent(new Event(control.tagName === "SELECT" ? "change" : "input"));
        }})()""")
        page.wait("performance.getEntriesByName('filter').length > 0")
        worst = max(worst, page.value("performance.getEntriesByName('filter').at(-1).duration"))
    return round(worst, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run's folder; a synthetic one, if not given")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    program = find_chromium()
    if program is None:
        print("no Chromium is installed (Debian: apt-get install chromium); nothing was measured", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="chemr-report-") as scratch:
        run = options.run or synthetic_run(Path(scratch) / "run")
        figures = measure(program, run, Path(scratch) / "report.html")
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
