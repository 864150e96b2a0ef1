"""Groups that taught nothing since the last step: whoever waits is told of them, and a run that cannot learn ends.

Dynamic sampling asks on until a step is full. When the samples of every group are alike, that is for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from chemr.graded_group import GradedGroup
from chemr.run_stopped import RunStopped

DROUGHT = 20  # barren groups per group wanted, before a person is told
PER_GROUP_WANTED, AT_LEAST = 200, 2_000  # the bound where none is set
REASONS = 3  # of a task, in the message
SOLVED = 0.9  # mean reward from which a task is called solved


class NothingTaught(RunStopped):
    """Group after group has samples that are all alike: no gradient will ever come of them."""


def bound(setting: int | None, groups_per_step: int) -> int:
    """``grpo.max_barren_groups`` in force; 0 = none."""
    return max(PER_GROUP_WANTED * groups_per_step, AT_LEAST) if setting is None else setting


class BarrenGroups:
    """Counts them by task, with their rewards and the reasons of their verdicts.

    Args:
        limit: so many and the run ends; 0 = never.
        groups_per_step: P.
    """

    def __init__(self, limit: int, groups_per_step: int) -> None:
        self._limit = limit
        self._note_every = DROUGHT * groups_per_step
        self._groups: Counter[str] = Counter()
        self._rewards: dict[str, tuple[int, float]] = {}  # task -> their number and sum
        self._reasons: dict[str, Counter[str]] = {}

    def __len__(self) -> int:
        return self._groups.total()

    def add(self, group: GradedGroup) -> str | None:
        """Returns what a person should be told now, if anything.

        Raises:
            NothingTaught: the limit is reached.
        """
        task = group.task
        self._groups[task] += 1
        number, total = self._rewards.get(task, (0, 0.0))
        self._rewards[task] = number + len(group.known_rewards), total + sum(group.known_rewards)
        self._reasons.setdefault(task, Counter()).update(str(verdict.reason) for verdict in group.scored.verdicts)
        if self._limit and len(self) >= self._limit:
            raise NothingTaught("\n".join([self._head("and the step is not full yet"), *self._by_task(), *self._advice()]))
        if len(self) % self._note_every:
            return None
        ends = f"the run ends at grpo.max_barren_groups={self._limit}" if self._limit else "it goes on (grpo.max_barren_groups=0)"
        return "\n".join([f"grpo: {self._head(ends)}", *self._by_task()])

    def clear(self) -> None:
        """A step was trained."""
        self._groups.clear()
        self._rewards.clear()
        self._reasons.clear()

    def _head(self, rest: str) -> str:
        return f"{len(self)} groups since the last step taught nothing (all samples of a group alike, or hardly any with a reward); {rest}:"

    def _by_task(self) -> list[str]:
        lines = []
        for task, groups in self._groups.most_common():
            reasons = self._reasons[task]
            shown = ", ".join(f"{reason} {100 * count / reasons.total():.0f} %" for reason, count in reasons.most_common(REASONS))
            mean = self._mean(task)
            lines.append(f"  {task}: {groups} groups, mean reward {'unknown' if mean is None else f'{mean:.3f}'}; {shown}")
        return lines

    def _mean(self, task: str) -> float | None:
        number, total = self._rewards[task]
        return total / number if number else None

    def _advice(self) -> list[str]:
        means = {task: self._mean(task) for task in self._groups}
        unknown = sorted(task for task, mean in means.items() if mean is None)
        solved = sorted(task for task, mean in means.items() if mean is not None and mean >= SOLVED)
        others = len(means) - len(unknown) - len(solved)
        lines = []
        if others:
            lines.append(
                "where hardly anything is right: train more supervised steps (foundation.steps, distill.steps), read the reasons above and "
                "the texts in trajectories/ (is it the form, the length, the reward?), raise grpo.samples_per_group or lower the difficulty"
            )
        if solved:
            lines.append(f"solved, so nothing is left to learn: {', '.join(solved)}; leave them out of data.tasks or take harder rows")
        if unknown:
            lines.append(f"no reward could be computed: {', '.join(unknown)}; check the reward workers (rewards.deadline_s, memory_mb)")
        lines.append("run.resume=auto goes on from the newest checkpoint; grpo.max_barren_groups is the bound (0 = none)")
        return lines

    def state_dict(self) -> dict[str, Any]:
        return {
            task: {"groups": groups, "rewards": list(self._rewards[task]), "reasons": dict(self._reasons[task])}
            for task, groups in self._groups.items()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        self.clear()
        for task, kept in state.items():
            self._groups[task] = kept["groups"]
            number, total = kept["rewards"]
            self._rewards[task] = int(number), float(total)
            self._reasons[task] = Counter(kept["reasons"])
