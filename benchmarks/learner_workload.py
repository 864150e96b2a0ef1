"""What benchmarks/learner.py trains on: documents and rollouts as token ids of real rows, and models with random weights.

Three kinds of rows in equal shares: names and reactions of the starter data, captions of ChEBI-20 in both directions. The tokenizer is made
as chemr/policy_folder.py makes the starter's; the 135M shape reads the same ids. Rows that the starter has no positions for are left out.

A *document* is a prompt with the gold answer, what the foundation phase trains on. A *rollout* is a prompt with GROUP_SIZE completions,
those of other rows of its task: traces with their answers (names, reactions) or plain answers (captions, for which no protocol writes
traces). Rewards and behaviour log-probs are seeded numbers; advantages are TRL's of these rewards.

Both are JSONL, one object a line: step, prompt [P], completions [G][L], and for rollouts rewards [G], advantages [G] and
behaviour_logprobs [G][L].
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from chemr.config import DataConfig, PolicyConfig
from chemr.data.example import Example
from chemr.data.sources.reading import SourceFileError
from chemr.data.sources.suites import default_data_dir, training_rows
from chemr.data.starter import load_starter
from chemr.policy_folder import vocabulary_texts
from chemr.prompts import completion_direct, completion_with_trace, messages
from chemr.protocols.teacher import write_trace
from chemr.tokenization import ChatTokenizer, train_tokenizer
from learner.config import ModelConfig
from learner.policy import create_model

GROUP_SIZE = 8  # TRL's default
TRL_STD_EPSILON = 1e-4
LONGEST = ModelConfig().max_position_embeddings  # tokens of prompt and completion together
TASKS = {
    "names": ("smiles2formula", "iupac2formula", "iupac2smiles"),
    "reactions": ("forward", "retro"),
    "captions": ("mol2text", "text2mol"),
}

Ids = list[int]
Line = dict[str, Any]
Pools = dict[str, dict[str, list[Example]]]  # kind -> task -> rows


@dataclass(frozen=True)
class Shape:
    """A model that is measured, and how much of the workload it gets unless told otherwise.

    Attributes:
        vocabulary: None = the tokenizer's.
        documents: per update; the rollouts of an update hold as many completions.
        steps: timed updates in a run.
        repeats: runs of each side.
    """

    config: ModelConfig
    vocabulary: int | None
    documents: int
    steps: int
    repeats: int


SHAPES = {
    "starter": Shape(PolicyConfig().scratch, None, documents=128, steps=2, repeats=3),
    "135m": Shape(  # SmolLM2-135M's; its larger rope_theta and number of positions cost nothing
        ModelConfig(hidden_size=576, layers=30, heads=9, kv_heads=3, head_dim=64, intermediate_size=1536),
        vocabulary=49_152,
        documents=24,
        steps=2,
        repeats=1,
    ),
}


def load_pools(starter: list[Example]) -> Pools:
    """The rows to draw from; without ChEBI-20's files there are no captions among them."""
    try:
        captions = list(training_rows("chebi20", default_data_dir()))
    except SourceFileError:
        captions = []
    pools = {kind: _by_task(captions if kind == "captions" else starter, tasks) for kind, tasks in TASKS.items()}
    return {kind: tasks for kind, tasks in pools.items() if all(tasks.values())}


def _by_task(rows: list[Example], tasks: tuple[str, ...]) -> dict[str, list[Example]]:
    return {task: [row for row in rows if row.task == task] for task in tasks}


def load_starter_rows() -> list[Example]:
    """The starter's training rows."""
    data = DataConfig()
    return load_starter(data.cache_path, data.starter).train


def write_model(folder: Path, shape: Shape, starter: list[Example], seed: int) -> ChatTokenizer:
    """Writes tokenizer and random weights as a HF folder."""
    tokenizer = train_tokenizer(vocabulary_texts(starter), folder, PolicyConfig().vocab_size)
    special_ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}
    create_model(folder, shape.config, shape.vocabulary or tokenizer.vocab_size, special_ids, seed)
    return tokenizer


def _turns(pools: Pools) -> list[list[Example]]:
    """Pools in the order in which they are drawn from: kinds take turns, and within a kind its tasks."""
    turns = math.lcm(*(len(tasks) for tasks in pools.values()))
    return [list(tasks.values())[turn % len(tasks)] for turn in range(turns) for tasks in pools.values()]


class Drawer:
    """Draws rows, kinds and tasks in turn, so that shares are equal."""

    def __init__(self, pools: Pools, tokenizer: ChatTokenizer, seed: int) -> None:
        self.pools = pools
        self.tokenizer = tokenizer
        self.rng = np.random.default_rng(seed)

    def write_documents(self, path: Path, warmup_steps: int, steps: int, per_step: int) -> None:
        """``per_step`` documents for each of ``steps`` updates. Those of warm-up updates are names only, which are short."""
        self._write(path, self._document, warmup_steps, steps, per_step)

    def write_rollouts(self, path: Path, warmup_steps: int, steps: int, per_step: int) -> None:
        """The same for prompts with GROUP_SIZE completions."""
        self._write(path, self._rollout, warmup_steps, steps, per_step)

    def _write(self, path: Path, draw: Callable[[list[Example]], Line], warmup_steps: int, steps: int, per_step: int) -> None:
        warmup = cycle(_turns({"names": self.pools["names"]}))
        timed = cycle(_turns(self.pools))
        lines = [{"step": step, **draw(next(warmup if step < warmup_steps else timed))} for step in range(steps) for _ in range(per_step)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _document(self, pool: list[Example]) -> Line:
        while True:
            row = self._row(pool)
            prompt, answer = self._prompt(row), self.tokenizer.encode_completion(completion_direct(row))
            if len(prompt) + len(answer) <= LONGEST:
                return {"prompt": prompt, "completions": [answer]}

    def _rollout(self, pool: list[Example]) -> Line:
        prompt = self._prompt(self._row(pool))
        while len(prompt) > LONGEST // 2:  # leaves room for completions
            prompt = self._prompt(self._row(pool))
        completions: list[Ids] = []
        while len(completions) < GROUP_SIZE:
            ids = self._reasoned(self._row(pool))
            if len(prompt) + len(ids) <= LONGEST:
                completions.append(ids)
        rewards = self.rng.random(GROUP_SIZE)
        return {
            "prompt": prompt,
            "completions": completions,
            "rewards": rewards.tolist(),
            "advantages": ((rewards - rewards.mean()) / (rewards.std(ddof=1) + TRL_STD_EPSILON)).tolist(),
            "behaviour_logprobs": [(-6.0 + 0.1 * self.rng.normal(size=len(ids))).tolist() for ids in completions],
        }

    def _row(self, pool: list[Example]) -> Example:
        return pool[self.rng.integers(len(pool))]

    def _prompt(self, row: Example) -> Ids:
        return self.tokenizer.encode_prompt(messages(row))

    def _reasoned(self, row: Example) -> Ids:
        traced = row.task not in TASKS["captions"]
        text = completion_with_trace(write_trace(row), row.reference["answer"]) if traced else completion_direct(row)
        return self.tokenizer.encode_completion(text)
