"""What a step cost: rates, shares of its time, model FLOPs utilisation, peak memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learner.batch import Document
from learner.model_flops import ModelShape, attended_pairs, matmul_peak, training_flops
from learner.step import Step


class StepMeter:
    """One step on one rank: made when it begins, asked when it is over.

    Rates are those of all ranks together, which work in lockstep; shares, CPU seconds and memory are this rank's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = time.perf_counter()
        self._cpu_began = time.process_time()
        self._spans: dict[str, list[tuple[Any, Any]]] = {}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Counts the time inside towards ``train/<name>_share``. On a GPU it is the device's time, and nothing waits for it here."""
        began = self._mark()
        yield
        self._spans.setdefault(name, []).append((began, self._mark()))

    def metrics(self, documents: Sequence[Document], steps: Sequence[Step], world_size: int, model: ModelMeter) -> dict[str, float]:
        """``documents``: of all ranks; ``steps``: the updates they were cut into."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - self._began
        tokens = sum(step.tokens for step in steps)
        metrics = {
            "train/tokens": float(tokens),
            "train/rows": float(sum(step.rows for step in steps)),
            "train/seconds": seconds,
            "train/cpu_s": time.process_time() - self._cpu_began,
            "train/tokens_per_s": tokens / seconds,
            "train/samples_per_s": sum(len(step.lengths_C) for step in steps) / seconds,
            "train/packing_efficiency": float(np.mean([step.efficiency for step in steps])),
        }
        for name, spans in self._spans.items():
            metrics[f"train/{name}_share"] = sum(self._seconds(*span) for span in spans) / seconds
        utilisation = model.utilisation(documents, tokens, seconds * world_size)
        if utilisation is not None:
            metrics["train/mfu"] = utilisation
        peak = peak_memory_bytes(self._device)
        if peak is not None:
            metrics["train/peak_memory_gib"] = peak / 2**30
        return metrics

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, began: Any, ended: Any) -> float:
        return float(began.elapsed_time(ended)) / 1e3 if self._device.type == "cuda" else float(ended - began)


class ModelMeter:
    """Model FLOPs utilisation of one model on one kind of device; the formula and its source are in model_flops.py."""

    def __init__(self, model_config: Any, dtype: torch.dtype, device: torch.device) -> None:
        try:
            self._shape: ModelShape | None = ModelShape.of(model_config)
        except ValueError:  # a family whose operations are not known: no figure is better than a wrong one
            self._shape = None
        self._dtype = dtype
        self._device = device

    def utilisation(self, documents: Sequence[Document], targets: int, device_seconds: float) -> float | None:
        """Useful operations of forward and backward over what ``device_seconds`` of the peak would do; None where either is unknown."""
        peak = matmul_peak(self._dtype, self._device) if self._shape else None
        if self._shape is None or peak is None:
            return None
        flops = training_flops(self._shape, sum(document.rows for document in documents), targets, attended_pairs(documents))
        return flops / (device_seconds * peak)


def peak_memory_bytes(device: torch.device) -> int | None:
    """On a GPU the most that tensors took in this step, on a CPU the process's high-water mark; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
