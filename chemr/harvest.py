"""Verified traces from GRPO's own rollouts, for a next round of supervised training (self-distillation, as in ether0 and Mol-R1).

What is kept does not depend on the order in which groups come back: of each text its best occurrence, of each example its best
``per_prompt`` texts, of each task the best ``per_task`` of those. Better is less success of its group (a harder prompt), then fewer tokens.
"""

from __future__ import annotations

import json
import random
from bisect import insort
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chemr.curriculum.outcome import prompt_of
from chemr.harvest_config import HarvestConfig
from chemr.trace_file import read_objects
from chemr.whole_file import write_whole

if TYPE_CHECKING:
    from chemr.graded_group import GradedGroup


@dataclass(frozen=True, slots=True)
class HarvestedTrace:
    """One line of the file.

    Attributes:
        uid: of the example that was asked, as chemr/trace_file.py wants it.
        prompt_uid, sample: the submission and the sample in its group.
        reward: the verdict's value.
        group_success: mean verdict value of the group.
        tokens: generated, end token included.
        version: the oldest weight version that wrote any of the group.
    """

    uid: str
    task: str
    prompt_uid: str
    sample: int
    completion: str
    reward: float
    group_success: float
    tokens: int
    version: int

    @property
    def rank(self) -> tuple[float, int, str, int]:
        """Smaller is better; the name of the sample decides between equals."""
        return self.group_success, self.tokens, self.prompt_uid, self.sample


FIELDS: Mapping[str, type] = {
    "uid": str,
    "task": str,
    "prompt_uid": str,
    "sample": int,
    "completion": str,
    "reward": float,
    "group_success": float,
    "tokens": int,
    "version": int,
}


class Harvest:
    """The traces of one stage. The file is its memory: a resumed stage goes on from what the file holds.

    It may hold traces of steps that were lost with a learner or a driver. They are as right as the others, and when their prompts are asked
    again, no text is kept twice.
    """

    def __init__(self, path: Path, config: HarvestConfig, seed: int) -> None:
        """Raises TraceFileError when the file is there and cannot be read."""
        self.path = path
        self._config = config
        self._seed = seed
        self._kept: dict[str, list[HarvestedTrace]] = {}  # by task, best first
        self._written = True
        if not self.on:
            return
        self._written = path.is_file()
        if self._written:
            for _, line in read_objects(path, FIELDS):
                self.offer(HarvestedTrace(**{name: line[name] for name in FIELDS}))

    @property
    def on(self) -> bool:
        return self._config.share > 0.0

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def wants(self, prompt_uid: str) -> bool:
        """Whether this submission is of the share that is looked at: a function of the seed and the name."""
        share = self._config.share
        return self.on and (share >= 1.0 or random.Random(f"harvest/{self._seed}/{prompt_uid}").random() < share)

    def add(self, group: GradedGroup) -> None:
        """Offer the right answers of a group that brought its texts along."""
        if not group.scored.texts or group.success is None or not self.wants(group.uid):
            return
        meta = group.scored.meta
        for sample, (text, reward) in enumerate(zip(group.scored.texts, group.rewards, strict=True)):
            if reward is not None and reward >= self._config.threshold:
                origin = (group.uid, sample, text, reward, group.success, meta.lengths[sample], meta.oldest_version)
                self.offer(HarvestedTrace(prompt_of(group.uid), group.task, *origin))

    def offer(self, trace: HarvestedTrace) -> None:
        """Keep the trace if it is among the best."""
        kept = self._kept.setdefault(trace.task, [])
        of_example = [other for other in kept if other.uid == trace.uid]
        rivals = [other for other in of_example if other.completion == trace.completion]
        if not rivals and len(of_example) >= self._config.per_prompt:
            rivals = of_example[-1:]
        if rivals:
            if rivals[0].rank <= trace.rank:
                return
            kept.remove(rivals[0])
        insort(kept, trace, key=lambda one: one.rank)
        if len(kept) > self._config.per_task and kept.pop() == trace:
            return
        self._written = False

    def write(self) -> None:
        """Bring the file up to date: it has the old content or the new, never half of it."""
        if self._written:
            return
        traces = (trace for task in sorted(self._kept) for trace in self._kept[task])
        write_whole(self.path, "".join(json.dumps(asdict(trace), ensure_ascii=False) + "\n" for trace in traces))
        self._written = True

    def metrics(self) -> dict[str, float]:
        """harvest/traces and harvest/task/<task>: what is kept so far; nothing when the harvest is off."""
        if not self.on:
            return {}
        return {"harvest/traces": float(len(self)), **{f"harvest/task/{task}": float(len(kept)) for task, kept in self._kept.items()}}
