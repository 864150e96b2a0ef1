"""The folder of the policy a run starts from: given by the user, or made from scratch inside the run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from chemr.config import ChemrConfig
from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.prompts import completion_direct, completion_with_trace, render_prompt
from chemr.protocols.teacher import PROTOCOLS, write_trace
from chemr.run_directory import RunDirectory
from chemr.tokenization import train_tokenizer

TRACES_FOR_VOCABULARY = 200  # per task: enough to see every word a protocol uses


def prepare_policy(config: ChemrConfig, directory: RunDirectory, data: TaskData) -> Path:
    """The HF folder the learner and the generators load. Made once per run: a resumed run finds it again."""
    if config.policy.path is not None:
        return Path(config.policy.path)
    folder = directory.initial_model
    if (folder / "config.json").is_file():
        return folder
    from learner.policy import create_model

    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    tokenizer = train_tokenizer(vocabulary_texts(data.train), aside, config.policy.vocab_size)
    create_model(
        aside,
        config.policy.scratch,
        vocab_size=tokenizer.vocab_size,
        special_ids={"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id},
        seed=config.run.seed,
    )
    aside.rename(folder)
    return folder


def vocabulary_texts(examples: Sequence[Example]) -> Iterator[str]:
    """What the tokenizer learns from: every training prompt and answer, and some reasoning traces of every task."""
    traced: dict[str, int] = {}
    for example in examples:
        yield render_prompt(example)
        yield completion_direct(example)
        traced[example.task] = traced.get(example.task, 0) + 1
        if example.task in PROTOCOLS and traced[example.task] <= TRACES_FOR_VOCABULARY:
            yield completion_with_trace(write_trace(example), example.reference["answer"])
