"""Figures, their mean over samples, and the report that holds them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One number for every sample; ``None`` where the rule gives none (the report's notes say why).

    ``name`` may have a group before a dot (``raw.success_rate``). ``published``: computed by the published code, to the digit;
    otherwise it is ours, or the published rule with a fault mended.
    """

    name: str
    samples: tuple[float | None, ...]
    published: bool = True

    @property
    def mean(self) -> float | None:
        values = [value for value in self.samples if value is not None]
        return statistics.fmean(values) if values and len(values) == len(self.samples) else None

    @property
    def stdev(self) -> float | None:
        """With n - 1; ``None`` for one sample."""
        values = [value for value in self.samples if value is not None]
        return statistics.stdev(values) if len(values) == len(self.samples) and len(values) > 1 else None


@dataclass(frozen=True, slots=True)
class Unscored:
    """A prediction that hung, crashed or broke the evaluation: counted as wrong and named here."""

    sample: int
    row: int
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """The figures of one task. ``code`` names the published code whose rule they follow; ``details`` are counts that explain them."""

    task: str
    rows: int
    samples: int
    code: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    unscored: Sequence[Unscored] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def figure(self, name: str) -> Figure:
        """Raises KeyError, which lists the names there are."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(f"{self.task} has no figure {name!r}; it has {', '.join(figure.name for figure in self.figures)}")

    def to_json(self, always_samples: bool = False) -> dict[str, Any]:
        """``scores`` (published) and ``not_official`` (ours), by name, groups nested.

        A figure is a number when there is one sample, else ``{"mean", "stdev", "sample_1", ...}`` (always so with ``always_samples``).
        """
        document: dict[str, Any] = {"task": self.task, "n_rows": self.rows, "n_samples": self.samples, "code": self.code}
        document |= {"scores": {}, "not_official": {}}
        for figure in self.figures:
            table = document["scores" if figure.published else "not_official"]
            *groups, name = figure.name.split(".")
            for group in groups:
                table = table.setdefault(group, {})
            if self.samples == 1 and not always_samples:
                table[name] = figure.samples[0]
            else:
                each = {f"sample_{number}": value for number, value in enumerate(figure.samples, start=1)}
                table[name] = {"mean": figure.mean, "stdev": figure.stdev} | each
        document["not_official"] |= self.details
        document["notes"] = list(self.notes)
        document["unscored"] = [
            {"sample": item.sample, "row": item.row, "reason": item.reason, "note": item.note} for item in self.unscored
        ]
        return document
