"""ether0's replay (arXiv 2506.17238): a prompt whose answers were not all worth the same is kept and asked again.

A group is *trivial* when all its rewards are equal: it teaches nothing. A draw takes a kept prompt with probability ε. Per slot, a share
(1−ε)(1−f_D) of fresh prompts enters the buffer and a share ε·f_B of replayed ones leaves it, f_D and f_B being the shares of trivial groups
among fresh and among replayed prompts. The buffer does not run dry while the one is at least the other, ε ≤ (1−f_D)/(1−f_D+f_B).

The task is drawn first (by the curriculum), so that every task is a closed system with a bound of its own: both shares are estimated per
task while the run goes on, and where ε is above the bound the bound takes its place.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from chemr.curriculum.config import PromptsConfig
from chemr.curriculum.estimates import SETTLED, step_size
from chemr.curriculum.outcome import Notice


def stable_epsilon(trivial_fresh: float, trivial_replayed: float) -> float:
    """The largest ε at which the buffer does not run dry: (1−f_D)/(1−f_D+f_B); 1 when no replayed group is trivial."""
    if trivial_replayed == 0.0:
        return 1.0
    return (1.0 - trivial_fresh) / (1.0 - trivial_fresh + trivial_replayed)


@dataclass
class TrivialShare:
    """Running share of trivial groups, and over how many groups."""

    share: float = 0.0
    groups: int = 0

    def observe(self, trivial: bool, rate: float) -> None:
        self.share += step_size(self.groups, rate, 1.0, 0) * (float(trivial) - self.share)
        self.groups += 1


class ReplayBuffer:
    """Kept prompts by deck (a task, or a class of a yes/no task), oldest first.

    A prompt is taken out when it is asked again, so that it is never in flight twice for being kept, and comes back when its group was not
    trivial. The newest group of a prompt decides, fresh or replayed; a prompt whose group was given up is no longer kept.
    """

    def __init__(self, config: PromptsConfig) -> None:
        self._config = config
        self._kept: dict[str, list[str]] = {}
        self._fresh: dict[str, TrivialShare] = {}
        self._replayed: dict[str, TrivialShare] = {}
        self._told = False

    def take(self, task: str, deck: str, generator: random.Random) -> str | None:
        """With probability ε one of the deck's kept prompts, all alike likely; None: ask a fresh one."""
        kept = self._kept.get(deck)
        if generator.random() >= self.epsilon(task) or not kept:
            return None
        return kept.pop(generator.randrange(len(kept)))

    def epsilon(self, task: str) -> float:
        """ε in effect: as configured, or the task's bound where that is lower and enough fresh groups were seen to tell.

        Until a prompt of the task was replayed, replayed groups are taken to be trivial as often as fresh ones.
        """
        fresh = self._fresh.get(task, TrivialShare())
        if fresh.groups < SETTLED:
            return self._config.epsilon
        replayed = self._replayed.get(task, fresh)
        return min(self._config.epsilon, stable_epsilon(fresh.share, replayed.share))

    def observe(self, task: str, deck: str, prompt: str, *, trivial: bool, replayed: bool) -> list[Notice]:
        """A group came back. Says once in a run that ε was lowered."""
        shares = self._replayed if replayed else self._fresh
        shares.setdefault(task, TrivialShare()).observe(trivial, self._config.rate)
        kept = self._kept.setdefault(deck, [])
        if prompt in kept:
            kept.remove(prompt)
        if not trivial:
            kept.append(prompt)
            del kept[: -self._config.buffer]
        if self._told or not self._lowered(task):
            return []
        self._told = True
        return [Notice(task, "replay", self._explanation(task))]

    def metrics(self) -> dict[str, float]:
        record = {
            "curriculum/replay/kept": float(sum(map(len, self._kept.values()))),
            "curriculum/replay/lowered": float(sum(map(self._lowered, self._fresh))),
        }
        for task, fresh in self._fresh.items():
            record[f"curriculum/replay/epsilon/{task}"] = self.epsilon(task)
            record[f"curriculum/replay/trivial_fresh/{task}"] = fresh.share
        record |= {f"curriculum/replay/trivial_replayed/{task}": seen.share for task, seen in self._replayed.items()}
        return record

    def state_dict(self) -> dict[str, Any]:
        return {
            "kept": {deck: list(prompts) for deck, prompts in self._kept.items()},
            "fresh": {task: list(astuple(seen)) for task, seen in self._fresh.items()},
            "replayed": {task: list(astuple(seen)) for task, seen in self._replayed.items()},
            "told": self._told,
        }

    def load_state_dict(self, state: Mapping[str, Any], known: Collection[str]) -> None:
        """Takes over what is about prompts in ``known``."""
        kept = {deck: [prompt for prompt in prompts if prompt in known] for deck, prompts in state["kept"].items()}
        self._kept = {deck: prompts[-self._config.buffer :] for deck, prompts in kept.items()}
        self._fresh = {task: TrivialShare(*seen) for task, seen in state["fresh"].items()}
        self._replayed = {task: TrivialShare(*seen) for task, seen in state["replayed"].items()}
        self._told = bool(state["told"])

    def _lowered(self, task: str) -> bool:
        return self.epsilon(task) < self._config.epsilon

    def _explanation(self, task: str) -> str:
        fresh, replayed = self._fresh[task], self._replayed.get(task)
        of_replayed = f", of its replayed ones {replayed.share:.0%}" if replayed is not None else ""
        return (
            f"replay: grpo.curriculum.prompts.epsilon={self._config.epsilon:g} would use up the kept prompts of {task}, where "
            f"{fresh.share:.0%} of fresh groups are trivial{of_replayed}; it is {self.epsilon(task):.3f} there until that changes. Other "
            "tasks are treated alike without a note: curriculum/replay/epsilon/*"
        )
