"""A storm of mutated and random answers to every task: a verdict each, in time, no process lost, no credit that is not earned.

CHEMR_FUZZ_STRINGS (default 60) is the number of mutated and of random strings per task; 2,000 is what is run before a release:

    CHEMR_FUZZ_STRINGS=2000 pytest tests/rewards/test_reward_fuzz.py -s
"""

from __future__ import annotations

import os
import random
import string
import time

import psutil
import pytest

from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.verdict import FAILURES
from tests.patience import PATIENCE
from tests.rewards.independent_checks import is_right

STRINGS = int(os.environ.get("CHEMR_FUZZ_STRINGS", "60"))
DEADLINE_S = 2.0 * PATIENCE
CHUNK = 512

PIECES = [
    *"CNOSPFI()[]=#123%.+-@/\\cnos",
    *("Cl", "Br", "[C@H]", "[13CH3]", "[N+]", "[O-]", "c1ccccc1", "C(=O)O", "%99", "*", "~", "->", "<answer>", "</think>"),
    *(
        "Yes",
        "No",
        "yl",
        "ane",
        "methyl",
        "2-",
        "oic acid",
        " ",
        "\n",
        "\t",
        "\x00",
        "\u200b",
        "é",
        "Ｃ",
        "₂",
        "−",
        "\ud800",
        "The molecule is",
    ),
]
WIDE = [chr(code) for code in (*range(1, 0x180), 0x2082, 0x2212, 0x3002, 0xD800, 0xFEFF, 0xFF23, 0x1F600)]


def mutated(texts: list[str], rng: random.Random) -> str:
    """One of the texts after one to four cuts, insertions, exchanges, repetitions or joins."""
    text = rng.choice(texts)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.randrange(6))
        text = rng.choice(
            (
                text[:at] + text[to:],
                text[:at] + rng.choice(PIECES) + text[at:],
                text[:at] + rng.choice(PIECES) + text[to:],
                text[:to] + text[at:],
                text[:at] + rng.choice(texts)[: rng.randrange(12)] + text[to:],
                text + rng.choice((".", " ", "\n", "")) + rng.choice(texts),
                text.swapcase() if rng.random() < 0.2 else text[::-1] if rng.random() < 0.2 else text,
            )
        )
    return text


def random_text(rng: random.Random) -> str:
    """Random pieces of chemistry, random printable text, or random characters of all kinds; now and then very long."""
    length = rng.choice((1, 3, 10, 30, 100)) if rng.random() < 0.97 else 3000
    alphabet = rng.choice((PIECES, list(string.printable), WIDE))
    return "".join(rng.choices(alphabet, k=rng.randrange(1, length + 1)))


def resident(pool: ScorerPool) -> int:
    """Bytes of memory of the pool's processes and of this one."""
    return sum(psutil.Process(pid).memory_info().rss for pid in (*pool.pids(), pool.zygote_pid, os.getpid()))


@pytest.fixture(scope="module")
def storm_pool():
    with ScorerPool(workers=1, deadline_s=DEADLINE_S, cache_size=1024) as running:
        yield running


def test_a_storm_of_mutated_and_random_answers_earns_nothing_it_should_not_and_leaves_no_trace(storm_pool, solved):
    rng = random.Random(20261123)
    every_gold = [str(reference["answer"]) for _, reference in solved.values()]
    failures: list[str] = []
    unearned: list[str] = []
    slowest = scored = full = 0.0
    before = 0
    for turn in range(2):  # the first turn, a fifth of the strings, fills caches and arenas; growth is measured over the second
        number = max(1, STRINGS // 5) if turn == 0 else STRINGS
        for task, (inputs, reference) in solved.items():
            golds = [str(reference["answer"])] * 4 + every_gold
            texts = [mutated(golds, rng) for _ in range(number)] + [random_text(rng) for _ in range(number)]
            for start in range(0, len(texts), CHUNK):
                part = texts[start : start + CHUNK]
                jobs = [ScoreJob(task, f"<answer>{text}</answer>", inputs, reference) for text in part]
                for text, verdict in zip(part, storm_pool.score(jobs), strict=True):
                    scored += 1
                    slowest = max(slowest, verdict.seconds)
                    if verdict.reason in FAILURES:
                        failures.append(f"{task} {text!r}: {verdict.reason}")
                    elif verdict.value == 1.0:
                        full += 1
                        if not is_right(task, text, dict(inputs), dict(reference)):
                            unearned.append(f"{task} {text!r}")
        if turn == 0:
            before = resident(storm_pool)
    after = resident(storm_pool)
    growth = after / before - 1.0
    print(
        f"\n{scored:,.0f} strings over {len(solved)} tasks: {len(failures)} failures, "
        f"{full:,.0f} of full credit ({len(unearned)} unearned), "
        f"slowest verdict {slowest:.3f} s, memory {before >> 20} -> {after >> 20} MiB ({growth:+.1%})\n{storm_pool.stats()}"
    )
    assert not failures, failures[:20]
    assert not unearned, unearned[:20]
    assert slowest < DEADLINE_S
    assert growth < 0.10, f"memory grew from {before >> 20} to {after >> 20} MiB"


def test_the_storm_ends_in_time_even_when_every_string_is_a_bomb(storm_pool, solved):
    bombs = ["C%99" + "c1ccc(cc1)C" * 57 + "%99", "N[C@@H](C)C(=O)" * 75 + "O", "C(" * 190 + "C" + ")" * 190, "methyl" * 160, "CH" * 900]
    started = time.perf_counter()
    jobs = [ScoreJob(task, f"<answer>{bomb}</answer>", *row) for bomb in bombs for task, row in solved.items()]
    verdicts = storm_pool.score(jobs)
    assert all(v.value is not None and v.value < 0.5 for v in verdicts)
    assert time.perf_counter() - started < 60.0 * PATIENCE
