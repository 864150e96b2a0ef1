"""Tasks that learn badly: stalled, fallen back after they were mastered, or swinging to and fro.

An estimate moves with every group, mostly by luck. So nothing here looks at single estimates, but at *levels*, means over a quarter of the
window, and turns at moving means over a tenth. Each kind is an episode with a beginning, at which a person is told once, and an end with
hysteresis, so that a level that trembles about a threshold is one episode and not fifty. Nothing here changes what is sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Any, NamedTuple

from chemr.curriculum.config import AlertsConfig
from chemr.curriculum.estimates import moving_means, rise, turns

END_OF_STALL = 1.25  # times stall_below


class AlertKind(StrEnum):
    stall = "stall"
    regression = "regression"
    oscillation = "oscillation"


class Alert(NamedTuple):
    """An episode that has just begun."""

    kind: AlertKind
    text: str  # what was seen, without the task's name


@dataclass
class TaskWatch:
    """What has to be remembered of one task.

    Attributes:
        active: the kinds in progress.
        mastered: whether the level ever was at ``config.mastered`` or above.
        rest: groups until a new stall may be called one: after an episode the window has to fill with new observations.
    """

    active: list[AlertKind] = field(default_factory=list)
    mastered: bool = False
    rest: int = 0

    def observe(self, course: Sequence[float], config: AlertsConfig) -> list[Alert]:
        """What begins with the newest of the estimates in ``course`` (at most ``config.window`` of them are looked at)."""
        recent = list(course)[-config.window :]
        self.rest = max(0, self.rest - 1)
        if len(recent) < config.level_groups:
            return []
        level = fmean(recent[-config.level_groups :])
        begun = [self._stall(recent, level, config), self._regression(level, config), self._oscillation(recent, config)]
        return [alert for alert in begun if alert is not None]

    def state_dict(self) -> dict[str, Any]:
        return {"active": [str(kind) for kind in self.active], "mastered": self.mastered, "rest": self.rest}

    @staticmethod
    def restored(state: Mapping[str, Any]) -> TaskWatch:
        return TaskWatch([AlertKind(kind) for kind in state["active"]], bool(state["mastered"]), int(state["rest"]))

    def _stall(self, recent: Sequence[float], level: float, config: AlertsConfig) -> Alert | None:
        if AlertKind.stall in self.active:
            if level >= END_OF_STALL * config.stall_below:
                self.active.remove(AlertKind.stall)
                self.rest = config.window
            return None
        full = len(recent) >= config.window and self.rest == 0
        if not full or level >= config.stall_below or rise(recent) > config.stall_gain:
            return None
        self.active.append(AlertKind.stall)
        change = f"rose by no more than {config.stall_gain:g} over the last {config.window} groups"
        return Alert(AlertKind.stall, f"stalls at {level:.2f}: it {change}")

    def _regression(self, now: float, config: AlertsConfig) -> Alert | None:
        if now >= config.mastered:
            self.mastered = True
            if AlertKind.regression in self.active:
                self.active.remove(AlertKind.regression)
            return None
        if not self.mastered or now > config.mastered - config.drop or AlertKind.regression in self.active:
            return None
        self.active.append(AlertKind.regression)
        return Alert(AlertKind.regression, f"fell to {now:.2f} after it was mastered ({config.mastered:g} or more)")

    def _oscillation(self, recent: Sequence[float], config: AlertsConfig) -> Alert | None:
        count = turns(moving_means(recent, config.swing_groups), config.swing)
        if AlertKind.oscillation in self.active:
            if count <= config.turns // 2:
                self.active.remove(AlertKind.oscillation)
            return None
        if count < config.turns:
            return None
        self.active.append(AlertKind.oscillation)
        return Alert(AlertKind.oscillation, f"oscillates: {count} turns of {config.swing:g} or more in its last {len(recent)} groups")
