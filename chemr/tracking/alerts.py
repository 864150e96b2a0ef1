"""What of a GRPO run a person is told of, found in its records alone.

Single steps move by luck, so nothing here looks at one: a *level* is a mean over ``window`` steps. Each alert is an episode with a
beginning, at which a person is told once, and an end with hysteresis, so that a level that trembles about its threshold is one episode. The
whole is a function of the record stream (:func:`alerts_of`): a continued run knows from ``metrics.jsonl`` which episodes are in progress.
Tasks that learn badly are the curriculum's matter (:mod:`chemr.curriculum.alerts`), and what is true of the machines is Prometheus's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from statistics import fmean
from typing import Any, NamedTuple

from chemr.tracking.config import AlertThresholds

WATCHED_STAGE = "grpo"
END = 1.25  # an episode ends where a level is better than its threshold by this factor
VALIDATIONS = 2  # a held-out level is a mean over so many validations: one has few questions
HOLLOW = 0.1  # of the rise of the reward: where right answers became no more frequent than this, something else is paid
VALIDATION = "eval/validation/"
READABLE = frozenset({"correct", "partial", "wrong"})  # of these, a rise is no sign of something broken


class AlertKind(StrEnum):
    reward_collapse = "reward_collapse"
    entropy_collapse = "entropy_collapse"
    ess_low = "ess_low"
    age_at_bound = "age_at_bound"
    mismatch = "mismatch"
    reason_rising = "reason_rising"
    hollow_reward = "hollow_reward"


class Alert(NamedTuple):
    """An episode that has just begun."""

    kind: AlertKind
    text: str  # what was seen
    subject: str = ""  # "<task>/<reason>" of a rising reason, "<task>" of a hollow reward

    @property
    def metric(self) -> str:
        """1 in the record with which the episode begins."""
        return "/".join(part for part in ("alert", str(self.kind), self.subject) if part)


def alerts_of(records: Iterable[Mapping[str, Any]], thresholds: AlertThresholds) -> Iterator[tuple[int, Alert]]:
    """The alerts of a run and the steps at which they were told, from the records of its ``metrics.jsonl``."""
    watch = RunWatch(thresholds)
    for record in records:
        for alert in watch.observe(record):
            yield int(record["step"]), alert


def in_episode(active: bool, level: float, threshold: float, *, below: bool) -> bool:
    """Whether an episode is in progress at ``level``: it begins beyond the threshold, and ends better than it by the factor END."""
    edge = threshold if not active else threshold * (END if below else 1 / END)
    return level < edge if below else level > edge


@dataclass
class RunWatch:
    """What has to be remembered of the records so far.

    Attributes:
        active: episodes in progress, by the metric that announced them; of a rising reason with the share before it rose.
        best: highest level of the mean reward in the stage.
    """

    thresholds: AlertThresholds
    active: dict[str, float] = field(default_factory=dict)
    best: float = 0.0
    _series: dict[str, deque[float]] = field(default_factory=dict)
    _stage: str = ""

    def observe(self, record: Mapping[str, Any]) -> list[Alert]:
        """What begins with this record. Records of other stages only end the stage before."""
        stage = record.get("stage", self._stage)
        if stage != self._stage:
            self._stage, self.best = stage, 0.0
            self._series.clear()
            self.active.clear()
        if stage != WATCHED_STAGE:
            return []
        found = [self._reward(record), self._entropy(record), self._ess(record), self._mismatch(record), self._age(record)]
        return [alert for alert in found if alert is not None] + list(self._reasons(record)) + list(self._hollow(record))

    def _level(self, record: Mapping[str, Any], name: str) -> float | None:
        """The level of a metric that is in the record; None before the window is full."""
        value = _number(record.get(name))
        return None if value is None else self._push(name, value)

    def _push(self, name: str, value: float) -> float | None:
        window = self.thresholds.window
        series = self._series.setdefault(name, deque(maxlen=window))
        series.append(value)
        return fmean(series) if len(series) == window else None

    def _begins(self, alert: Alert, now: bool, before: float = 0.0) -> Alert | None:
        """The alert when ``now`` says that its episode is in progress and it was not."""
        known = alert.metric in self.active
        if not now:
            self.active.pop(alert.metric, None)
        elif not known:
            self.active[alert.metric] = before
        return alert if now and not known else None

    def _beyond(self, kind: AlertKind, level: float | None, threshold: float | None, text: str, *, below: bool) -> Alert | None:
        if level is None or threshold is None:
            return None
        alert = Alert(kind, f"{text} is {level:.3g} over {self.thresholds.window} steps (tracking.alerts: {threshold:g})")
        return self._begins(alert, in_episode(alert.metric in self.active, level, threshold, below=below))

    def _reward(self, record: Mapping[str, Any]) -> Alert | None:
        level, drop = self._level(record, "reward/mean"), self.thresholds.reward_drop
        if level is None or drop is None:
            return None
        self.best = max(self.best, level)
        if self.best < self.thresholds.reward_floor:
            return None
        alert = Alert(AlertKind.reward_collapse, f"the mean reward fell to {level:.3f}; its best was {self.best:.3f}")
        return self._begins(alert, in_episode(alert.metric in self.active, level, drop * self.best, below=True))

    def _entropy(self, record: Mapping[str, Any]) -> Alert | None:
        level = self._level(record, "train/entropy")
        return self._beyond(AlertKind.entropy_collapse, level, self.thresholds.entropy, "entropy in nats a token", below=True)

    def _ess(self, record: Mapping[str, Any]) -> Alert | None:
        level = self._level(record, "train/ess")
        return self._beyond(AlertKind.ess_low, level, self.thresholds.ess, "effective sample size, as a share,", below=True)

    def _mismatch(self, record: Mapping[str, Any]) -> Alert | None:
        level, text = self._level(record, "train/mismatch_kl"), "divergence of engine and learner in nats a token"
        return self._beyond(AlertKind.mismatch, level, self.thresholds.mismatch_kl, text, below=False)

    def _age(self, record: Mapping[str, Any]) -> Alert | None:
        age, bound = _number(record.get("async/age_max")), _number(record.get("async/age_bound"))
        if not self.thresholds.age_at_bound or age is None or bound is None:
            return None
        share = self._push("async/age_max", float(age >= bound > 0))
        if share is None:
            return None
        alert = Alert(
            AlertKind.age_at_bound, f"samples were {bound:g} versions old, as old as they may be, for {self.thresholds.window} steps"
        )
        return self._begins(alert, share * END > 1.0 if alert.metric in self.active else share == 1.0)

    def _hollow(self, record: Mapping[str, Any]) -> Iterator[Alert]:
        """Tasks whose held-out reward rose without more answers that are right to the letter, which is a rule of its own."""
        rise = self.thresholds.hollow_rise
        for name in record if rise is not None else ():
            if not (name.startswith(VALIDATION) and name.endswith("/verbatim")):
                continue
            task = name.removeprefix(VALIDATION).removesuffix("/verbatim")
            reward, verbatim = self._since_the_first(record, VALIDATION + task), self._since_the_first(record, name)
            if reward is None or verbatim is None or rise is None:
                continue
            text = (
                f"{task}: the held-out reward rose from {reward[0]:.2f} to {reward[1]:.2f}, while the share of answers that are their "
                f"reference to the letter went from {verbatim[0]:.2f} to {verbatim[1]:.2f}: read what it answers"
            )
            alert = Alert(AlertKind.hollow_reward, text, task)
            known = alert.metric in self.active
            rose = reward[1] - reward[0]
            hollow = rose >= (rise / END if known else rise) and verbatim[1] - verbatim[0] < HOLLOW * rose
            told = self._begins(alert, hollow)
            if told is not None:
                yield told

    def _since_the_first(self, record: Mapping[str, Any], name: str) -> tuple[float, float] | None:
        """The level of the stage's first validations and that of the last; None until they are different ones."""
        value = _number(record.get(name))
        if value is None:
            return None
        series = self._series.setdefault(name, deque())
        series.append(value)
        if len(series) < 2 * VALIDATIONS:
            return None
        if len(series) > 2 * VALIDATIONS:
            del series[VALIDATIONS]
        return fmean(islice(series, VALIDATIONS)), fmean(islice(series, VALIDATIONS, None))

    def _reasons(self, record: Mapping[str, Any]) -> Iterator[Alert]:
        """Shares of reasons, over the steps in which their task had groups; a reason that is not named had none."""
        rise = self.thresholds.reason_rise
        if rise is None:
            return
        window = self.thresholds.window
        for task, shares in shares_of_reasons(record).items():
            prefix = f"reward/{task}/reason/"
            steps = self._series.setdefault(prefix, deque(maxlen=2 * window))
            known = {name.removeprefix(prefix) for name in self._series if name.startswith(prefix) and name != prefix}
            for reason in sorted(known | shares.keys()):
                series = self._series.setdefault(prefix + reason, deque([0.0] * len(steps), maxlen=2 * window))
                series.append(shares.get(reason, 0.0))
                if len(series) < 2 * window:
                    continue
                before, now = fmean(islice(series, window)), fmean(islice(series, window, None))
                text = f"{task}: the share of {reason} rose from {before:.2f} to {now:.2f}"
                alert = Alert(AlertKind.reason_rising, text, f"{task}/{reason}")
                begun = self.active.get(alert.metric)
                told = self._begins(alert, now - before >= rise if begun is None else now >= begun + rise / 2, before)
                if told is not None:
                    yield told
            steps.append(1.0)


def shares_of_reasons(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Task -> reason -> share, of ``reward/<task>/reason/<reason>``; reasons of readable answers are left out, their tasks are not."""
    found: dict[str, dict[str, float]] = {}
    for name, value in record.items():
        parts = name.split("/")
        if len(parts) == 4 and (parts[0], parts[2]) == ("reward", "reason"):
            shares = found.setdefault(parts[1], {})
            share = _number(value)
            if share is not None and parts[3] not in READABLE:
                shares[parts[3]] = share
    return found


def _number(value: Any) -> float | None:
    """A finite number, or None: what is not finite is ``null`` in the file."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
