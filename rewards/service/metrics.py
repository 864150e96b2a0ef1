"""What the reward service counts, for Prometheus. Metric names are API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rewards.verdict import Verdict

_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SCORE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a server at the moment it is scraped. ``events`` are those of ScorerPool.stats(), over all lanes."""

    queued: int
    queue_limit: int
    lanes_busy: int
    lanes_ready: int
    events: dict[str, int]
    tls_reloads: int
    tls_failed_reloads: int


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("chemr_reward_calls", "Finished calls.", ["method", "code"], registry=self.registry)
        self.call_seconds = Histogram(
            "chemr_reward_call_seconds", "Duration of Score calls.", buckets=_CALL_SECONDS, registry=self.registry
        )
        self._verdicts = Counter("chemr_reward_verdicts", "Verdicts sent.", ["task", "reason"], registry=self.registry)
        self._score_seconds = Histogram(
            "chemr_reward_score_seconds", "Scoring time of an answer.", ["task"], buckets=_SCORE_SECONDS, registry=self.registry
        )
        self.cancelled = Counter("chemr_reward_cancelled_jobs", "Jobs of calls that ended early.", ["stage"], registry=self.registry)
        self.registry.register(_SnapshotCollector(snapshot))

    def count_verdict(self, task: str, verdict: Verdict) -> None:
        self._verdicts.labels(task, verdict.reason).inc()
        self._score_seconds.labels(task).observe(verdict.seconds)

    def serve(self, host: str, port: int) -> tuple[WSGIServer, Thread]:
        """Answers ``GET /metrics``. Raises OSError: the address cannot be used."""
        return start_http_server(port, addr=host, registry=self.registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Metric]:
        return []  # so that registering does not take a snapshot of a server that is not there yet

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot()
        gauges = {
            "queued_jobs": ("Jobs that wait for a lane.", now.queued),
            "queue_limit": ("Jobs that may wait.", now.queue_limit),
            "lanes_busy": ("Scoring workers at work.", now.lanes_busy),
            "lanes_ready": ("Scoring workers that can work.", now.lanes_ready),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"chemr_reward_{name}", text, value=value)
        events = CounterMetricFamily("chemr_reward_pool_events", "What happened in the scoring pools.", labels=["event"])
        for event, count in now.events.items():
            events.add_metric([event], count)
        yield events
        reloads = CounterMetricFamily("chemr_reward_tls_reloads", "Certificates re-read after a change.", labels=["result"])
        reloads.add_metric(["used"], now.tls_reloads)
        reloads.add_metric(["refused"], now.tls_failed_reloads)
        yield reloads
