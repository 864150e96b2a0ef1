"""What became of everything: how many traces, steps and protocols survive each step, why the rest fell, and what it cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chemr.data.text_table import text_table
from chemr.mining.config import EndpointConfig
from chemr.mining.errors import MiningInputError
from chemr.mining.filters.claims import reason_kind
from chemr.mining.protocol_file import read_protocols
from chemr.mining.questions import MINE_SHOWN
from chemr.mining.responses import ResponseStore, Usage
from chemr.mining.sft_steps import passes
from chemr.mining.step_files import StepFile, read_rows
from chemr.mining.workplace import CLUSTERS, FILTERED, MERGED, MINED, PROTOCOLS, RESPONSES, SFT, STEPS, SYNTHESISED, VERIFIED

Report = dict[str, Any]


def build_report(folder: Path, endpoint: EndpointConfig) -> Report:
    """From the files that are there; steps that were not run yet are left out.

    Raises:
        MiningInputError: nothing was run in ``folder``, or a file is broken.
    """
    found = {name: read_rows(folder / name) for name in _FILES if (folder / name).is_file()}
    if not found:
        raise MiningInputError(f"{folder} holds no file of mining; run `chemr protocols mine {folder} …` first")
    report: Report = {"tasks": _tasks(folder, found), "lost": _lost(found)}
    if CLUSTERS in found:
        report["clusters"] = {
            row["task"]: {"clusters": count, "silhouette": row["silhouette"]}
            for row in found[CLUSTERS].rows
            for count in [sum(other["task"] == row["task"] for other in found[CLUSTERS].rows)]
        }
    if (folder / RESPONSES).is_file():
        store = ResponseStore(folder / RESPONSES)
        try:
            report["usage"] = {model: _usage(usage, endpoint, model) for model, usage in store.usage.items()}
        finally:
            store.close()
    return report


_FILES = (MINED, VERIFIED, STEPS, CLUSTERS, MERGED, SYNTHESISED, FILTERED, SFT)


def _usage(usage: Usage, endpoint: EndpointConfig, model: str) -> dict[str, Any]:
    """Prices are those of the endpoint's model; what other models cost is not known here."""
    cost = usage.cost(endpoint.price_in, endpoint.price_out) if model == endpoint.model else None
    counts = {"responses": usage.responses, "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return {**counts, "cost": cost}


def _tasks(folder: Path, found: Mapping[str, StepFile]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)

    def count(name: str, label: str, wanted: Any = lambda row: True) -> None:
        if name in found:
            for row in found[name].rows:
                counts[row["task"]][label] += bool(wanted(row))

    count(MINED, "traces mined")
    count(VERIFIED, "verified", lambda row: row["verified"])
    count(VERIFIED, "verified, answer not shown", lambda row: row["verified"] and row["purpose"] != MINE_SHOWN)
    count(STEPS, "steps")
    count(CLUSTERS, "clusters")
    if MERGED in found:
        protocols, _ = read_protocols(folder / PROTOCOLS) if any(row["file"] != "shared.yaml" for row in found[MERGED].rows) else ({}, {})
        for task, protocol in protocols.items():
            counts[task]["protocol steps"] = len(protocol.steps)
            counts[task]["shared steps"] = sum(step.shared is not None for step in protocol.steps)
    count(SYNTHESISED, "traces synthesised")
    count(FILTERED, "passed the filters", passes)
    count(SFT, "selected")
    return {task: dict(found_counts) for task, found_counts in sorted(counts.items())}


def _lost(found: Mapping[str, StepFile]) -> dict[str, dict[str, int]]:
    """step -> reason -> how many fell for it. A trace that filters hold several things against counts under each."""
    lost: dict[str, dict[str, int]] = {}
    for step, name in (("mine", MINED), ("synthesise", SYNTHESISED)):
        if name in found and found[name].header["failed"]:
            lost[step] = {"no response": found[name].header["failed"]}
    if VERIFIED in found:
        lost["verify"] = dict(Counter(row["reason"] for row in found[VERIFIED].rows if not row["verified"]).most_common())
    if STEPS in found:
        header = found[STEPS].header
        lost["extract"] = {
            "traces without numbered steps": sum(header["without_steps"].values()),
            "steps that echo the form": sum(header.get("echoes", {}).values()),
        }
    if MERGED in found:
        lost["merge"] = dict(found[MERGED].header["dropped"])
    if FILTERED in found:
        lost["filter"] = dict(
            Counter(kind for row in found[FILTERED].rows for kind in {_shown(reason) for reason in row["reasons"]}).most_common()
        )
        unreadable = sum(not row["reasons"] and not row["canonical"] for row in found[FILTERED].rows)
        if unreadable:
            lost["filter"]["tags within the trace"] = unreadable
        if found[FILTERED].header["without_protocol"]:
            lost["filter"]["protocol removed since"] = found[FILTERED].header["without_protocol"]
    if SFT in found:
        lost["select"] = dict(found[SFT].header["dropped"])
    return {step: {reason: count for reason, count in reasons.items() if count} for step, reasons in lost.items()}


def _shown(reason: str) -> str:
    """Reasons of answers in full (``answer: wrong``), claims by kind."""
    return reason if reason.startswith("answer") else reason_kind(reason)


_COLUMNS = (
    "traces mined",
    "verified",
    "verified, answer not shown",
    "steps",
    "clusters",
    "protocol steps",
    "shared steps",
    "traces synthesised",
    "passed the filters",
    "selected",
)


def report_lines(report: Report) -> list[str]:
    """For people."""
    tasks: Mapping[str, Mapping[str, int]] = report["tasks"]
    columns = [column for column in _COLUMNS if any(column in counts for counts in tasks.values())]
    rows: list[Sequence[str]] = [[task, *(str(counts.get(column, "-")) for column in columns)] for task, counts in tasks.items()]
    rows = [*rows, ["all", *(str(sum(counts.get(column, 0) for counts in tasks.values())) for column in columns)]]
    lines = [*text_table(["task", *columns], rows), ""]
    for step, reasons in report["lost"].items():
        if reasons:
            lines.append(f"{step} lost: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items()))
    for model, usage in report.get("usage", {}).items():
        cost = "" if usage["cost"] is None else f", cost {usage['cost']:.4f}"
        tokens = f"{usage['prompt_tokens']} prompt and {usage['completion_tokens']} generated tokens"
        lines.append(f"{model}: {usage['responses']} responses, {tokens}{cost}")
    return lines
