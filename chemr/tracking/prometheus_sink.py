"""The newest value of every metric over HTTP, as Prometheus scrapes it.

``metrics.jsonl`` keeps the history; here is what is true now, for alerts and dashboards. Names of :mod:`chemr.tracking` become
Prometheus names by one rule (:func:`sample_of`): ``async/age_max`` is ``chemr_async_age_max``, and what names a task, a reason or a suite
becomes a label, so that one panel shows all tasks. Every value is a gauge, with the run's name as label ``run``.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from actors import clock
from chemr.tracking.config import TrackingConfig

log = logging.getLogger(__name__)

# Parts of a metric's name that are labels, by the name they have; the first pattern that fits a name decides.
LABELLED = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<family>reward)/(?P<task>[^/]+)/(?P<rest>reason)/(?P<reason>[^/]+)",
        r"(?P<family>reward)/(?P<task>[^/]+)/(?P<rest>.+)",
        r"(?P<family>curriculum)/(?P<rest>weight|success)/(?P<task>[^/]+)",
        r"(?P<family>curriculum)/(?P<rest>alert)/(?P<task>[^/]+)/(?P<kind>[^/]+)",
        r"(?P<family>async)/(?P<rest>dropped)/(?P<reason>[^/]+)",
        r"(?P<family>fleet)/(?P<rest>[^/]+)/(?P<role>[^/]+)",
        r"(?P<family>alert)/(?P<rest>reason_rising)/(?P<task>[^/]+)/(?P<reason>[^/]+)",
        r"(?P<family>alert)/(?P<rest>hollow_reward)/(?P<task>[^/]+)",
        r"(?P<family>alert)/(?P<kind>[^/]+)",
        r"(?P<family>tracking)/(?P<rest>dropped)/(?P<sink>[^/]+)",
        r"(?P<family>eval)/(?P<suite>[^/]+)/(?P<task>[^/]+)/(?P<rest>verbatim)",
        r"(?P<family>eval)/(?P<suite>[^/]+)/(?P<metric>[^/]+)",
    )
)
STAGE = "chemr_stage"
STEP = "chemr_step"
UPDATED = "chemr_updated_timestamp_seconds"
STARTED = "chemr_started_timestamp_seconds"  # there before the first record, so that a run that never gets to one can be seen
ENDED = "chemr_run_ended"  # 0; 1 when the run ended in order, so that its silence wakes nobody
NONFINITE = "chemr_nonfinite"  # 1 for each metric whose newest value is no finite number; such a value itself is not served
LONGEST_GOODBYE_S = 60.0
EVENT_LABELS = frozenset({"reason", "kind"})  # such a series is true of its own step alone: the next step's record ends it
Sample = tuple[str, tuple[tuple[str, str], ...]]  # name, labels


def sample_of(metric: str) -> Sample:
    """Prometheus name and labels of a metric: ``reward/retro/mean`` -> ``chemr_reward_mean``, ``(("task", "retro"),)``.

    >>> sample_of("async/dropped/zero_variance")
    ('chemr_async_dropped', (('reason', 'zero_variance'),))
    """
    for pattern in LABELLED:
        match = pattern.fullmatch(metric)
        if match is not None:
            parts = match.groupdict()
            name = "_".join(part for part in (parts.pop("family"), parts.pop("rest", None)) if part)
            return _legal(name), tuple(parts.items())
    return _legal(metric), ()


def _legal(name: str) -> str:
    return "chemr_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)


class PrometheusSink:
    """Serves what :meth:`log` was given last, until :meth:`finish`."""

    def __init__(self, run: str, server: Any, thread: threading.Thread) -> None:
        self._run = run
        self._server = server
        self._thread = thread
        self._values: dict[Sample, float] = {}
        self._step = -1
        self._lock = threading.Lock()
        self._values |= {(STARTED, ()): clock.wall(), (ENDED, ()): 0.0}
        self._scraped: list[float] = []  # when, the last two times
        self._goodbye = threading.Event()

    @classmethod
    def start(cls, run: str, config: TrackingConfig) -> PrometheusSink | None:
        """Listen on ``config.prometheus_address:prometheus_port``; None, after a warning that says why, when that cannot be done."""
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            log.warning("Prometheus cannot scrape this run: %s. Install prometheus-client, or set tracking.prometheus_port=null", error)
            return None
        registry = CollectorRegistry()
        assert config.prometheus_port is not None
        try:
            server, thread = start_http_server(config.prometheus_port, config.prometheus_address, registry)
        except OSError as error:
            log.warning(
                "Prometheus cannot scrape this run: %s:%s (tracking.prometheus_address and _port): %s",
                config.prometheus_address,
                config.prometheus_port,
                error.strerror or error,
            )
            return None
        sink = cls(run, server, thread)
        registry.register(sink)
        return sink

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def log(self, step: int, wall: float, metrics: Mapping[str, float | str]) -> None:
        """Keep these values; of text only ``stage``, as ``chemr_stage{stage=...} 1``."""
        new = {sample_of(name): float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
        for name, value in metrics.items():
            if isinstance(value, (int, float)):
                new[NONFINITE, (("metric", name),)] = math.nan if math.isfinite(value) else 1.0
        new |= {(STEP, ()): float(step), (UPDATED, ()): wall}
        stage = metrics.get("stage")
        if isinstance(stage, str):
            new[STAGE, (("stage", stage),)] = 1.0
        with self._lock:
            stale = {STAGE} if isinstance(stage, str) else set()
            events = EVENT_LABELS if step != self._step else frozenset()
            self._values = {
                (name, labels): value
                for (name, labels), value in self._values.items()
                if name not in stale and not any(label in events for label, _ in labels)
            } | new
            self._step = step

    def describe(self) -> list[Any]:
        """Nothing, or registering would count as a scrape."""
        return []

    def collect(self) -> Iterator[Any]:
        """What ``prometheus_client`` asks for at every scrape."""
        from prometheus_client.core import GaugeMetricFamily

        with self._lock:
            values = dict(self._values)
            self._scraped = [*self._scraped[-1:], clock.monotonic()]
            if values[ENDED, ()]:
                self._goodbye.set()
        families: dict[str, Any] = {}
        for (name, labels), value in values.items():
            if math.isnan(value):
                continue
            if name not in families:
                families[name] = GaugeMetricFamily(name, "see docs/operations.md", labels=["run", *(label for label, _ in labels)])
            families[name].add_metric([self._run, *(value for _, value in labels)], value)
        yield from families.values()

    def finish(self, ended: bool) -> None:
        """Stop listening. A run that ``ended`` in order waits until whoever scrapes it has seen that, two of their intervals at most."""
        if ended:
            with self._lock:
                self._values[ENDED, ()] = 1.0
                scraped = list(self._scraped)
            if len(scraped) == 2:
                self._goodbye.wait(min(2.0 * (scraped[1] - scraped[0]), LONGEST_GOODBYE_S))
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)
