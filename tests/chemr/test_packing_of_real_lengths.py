"""Forward passes are full on the lengths that runs really have: the starter's rows and ChEBI-20's molecules with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from chemr.data.sources.suites import default_data_dir
from chemr.data.starter.build import build
from chemr.prompts import completion_direct, render_prompt
from chemr.tokenization import ChatTokenizer, train_tokenizer
from learner.packing import packing_efficiency, plan_micro_batches
from tests.chemr.starter_rows import SMALL

CAPTIONS = default_data_dir() / "chebi20" / "molt5" / "validation.txt"


def tokens_of(texts: Sequence[str], folder: Path) -> list[int]:
    train_tokenizer(texts, folder, 1024)
    tokenizer = ChatTokenizer.load(folder)
    return [len(tokenizer.encode(text)) for text in texts]


def worst_efficiency(lengths: Sequence[int], documents: int, budget: int) -> float:
    rng = np.random.default_rng(0)
    draws = (rng.choice(lengths, documents).tolist() for _ in range(20))
    return min(packing_efficiency(plan_micro_batches(counts, 1, budget), counts) for counts in draws)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    rows = build(SMALL)["train"]
    return tokens_of([render_prompt(row) + completion_direct(row) for row in rows], tmp_path_factory.mktemp("starter"))


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    fields = [line.split("\t") for line in CAPTIONS.read_text(encoding="utf-8").splitlines()[1:]]
    return tokens_of([f"{smiles} {caption}" for _, smiles, caption in fields], tmp_path_factory.mktemp("captions"))


@pytest.mark.parametrize("budget", [2048, 4096])
def test_of_the_starter(starter: list[int], budget: int) -> None:
    assert worst_efficiency(starter, 256, budget) >= 0.97, "micro-batches of starter rows must be nearly full"


@pytest.mark.skipif(not CAPTIONS.is_file(), reason="needs the published data (CHEMR_DATA)")
@pytest.mark.parametrize("budget", [2048, 4096])
def test_of_chebi20(captions: list[int], budget: int) -> None:
    assert worst_efficiency(captions, 128, budget) >= 0.97, "micro-batches of captions must be nearly full"
