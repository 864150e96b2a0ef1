"""The GRPO stage's own loops with shaping and harvest, on a scripted fleet: what the learner gets, what is reported and left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.completion_traits import FORMAT
from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from actors.weights import TensorSlot, WeightManifest
from chemr.checkpoints import CheckpointStore
from chemr.config import load
from chemr.curriculum.outcome import Notice, Outcome
from chemr.stages.grpo import learn, submit
from chemr.stages.grpo_state import GrpoState
from chemr.supervision import run_until_done
from chemr.training_run import RunState, TrainingRun
from learner.sealed_files import SealedFile, seal_folder
from rewards.verdict import Reason, Verdict

SAMPLES = 4


class Fleet:
    """Answers at once: one right answer, well-formed or not in turn; brings texts when they are wanted."""

    def __init__(self) -> None:
        self.wanted: list[bool] = []
        self.version = 0

    async def run_group(self, request: GroupRequest, want_texts: bool = False) -> ScoredGroup:
        await asyncio.sleep(0)
        number = int(request.uid.rpartition("#")[2])
        self.wanted.append(want_texts)
        values = [1.0, 0.0, 0.0, 0.0]
        formats = [float((number + sample) % 2) for sample in range(SAMPLES)]
        verdicts = [
            Verdict(value, Reason.CORRECT if value else Reason.WRONG, {FORMAT: form}) for value, form in zip(values, formats, strict=True)
        ]
        meta = GroupMeta(request.uid, "scripted", (5,) * SAMPLES, 2, self.version, self.version, 0, (), 0.1)
        texts = [f"{request.uid} says {sample}" for sample in range(SAMPLES)] if want_texts else []
        return ScoredGroup(request, meta, verdicts, None, texts, [Verdict(0.125, Reason.PARTIAL) for _ in request.blind])

    def busy_seconds(self) -> float:
        return 0.0

    def stats(self) -> dict[str, float]:
        return {}

    def serving_generators(self) -> list[Any]:
        return []

    async def update_weights(self, manifest: WeightManifest) -> list[Any]:
        self.version = manifest.version
        return []


class Learners:
    def __init__(self) -> None:
        self.orders: list[list[Any]] = []

    async def grpo_step(self, groups: Any, algo: Any) -> dict[str, float]:
        self.orders.append(list(groups))
        return {"train/loss": 0.0, "train/tokens": 1.0}

    async def publish(self, version: int, probe_ids: Any, **_: Any) -> WeightManifest:
        return WeightManifest(version, (TensorSlot("w", "float32", (1,), 0, 0, 4),), (), "scripted")

    async def save(self, directory: Path) -> list[SealedFile]:
        directory.mkdir()
        (directory / "weights").write_text("w")
        return seal_folder(directory)


class Told:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.histograms: list[dict[str, Sequence[float]]] = []
        self.rows: list[dict[str, Any]] = []

    def log(self, step: int, record: dict[str, Any]) -> None:
        self.records.append(record)

    def distributions(self, step: int, values: dict[str, Sequence[float]]) -> None:
        self.histograms.append(values)

    def samples(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        self.rows += rows

    def state(self) -> dict[str, Any]:
        return {}

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class Source:
    """Prompts e0, e1, … of one task; remembers what the curriculum was told."""

    def __init__(self) -> None:
        self.drawn = 0
        self.successes: list[float] = []

    def learn(self, outcomes: Sequence[Outcome], version: int) -> list[Notice]:
        self.successes += [outcome.success for outcome in outcomes]
        return []

    def metrics(self) -> dict[str, float]:
        return {}

    def draw(self) -> str:
        self.drawn += 1
        return f"e{self.drawn - 1}"

    def request(self, uid: str) -> GroupRequest:
        return GroupRequest(uid, "forward", (1, 2), {}, {}, Sampling(SAMPLES, 8), 0, blind={"always CCO": "CCO"})

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.drawn}


async def stage(tmp_path: Path, *overrides: str) -> tuple[TrainingRun, GrpoState, Fleet, Learners, Told, Source]:
    config, _ = load(["experiment=smoke", "grpo.steps=4", "grpo.groups_per_step=3", *overrides])
    fleet, learners, told, source = Fleet(), Learners(), Told(), Source()
    directory: Any = SimpleNamespace(path=tmp_path, checkpoints=CheckpointStore(tmp_path / "checkpoints"))
    pool: Any = SimpleNamespace(fleet=fleet, learner=learners)
    nothing, any_told, any_source = None, told, source
    tokenizer: Any = SimpleNamespace(decode=str)
    (tmp_path / "trajectories").mkdir()
    run = TrainingRun(config, directory, pool, tokenizer, nothing, nothing, any_told, any_told, state=RunState(stage="grpo"))  # type: ignore[arg-type]
    run.probe_ids = (1, 2)
    state = GrpoState(run, any_source)  # type: ignore[arg-type]
    await run_until_done(learn(run, state), submit=submit(run, state))
    run.state.stage_state = state.settle()
    return run, state, fleet, learners, told, source


async def test_the_learner_gets_advantages_that_are_normalised_over_the_step(tmp_path: Path) -> None:
    shaping = ["grpo.shaping.mix=gdpo", "grpo.algo.advantage=mean_std", "grpo.shaping.default.format=0.5"]
    _, _, _, learners, told, source = await stage(tmp_path, *shaping)
    for orders in learners.orders:
        advantages = [advantage for order in orders for advantage in order.advantages]
        assert len(advantages) == 3 * SAMPLES
        assert fmean(advantages) == pytest.approx(0.0, abs=1e-9) and pstdev(advantages) == pytest.approx(1.0, rel=1e-4)
    steps = [record for record in told.records if "train/loss" in record]
    assert len(steps) == 4
    steps = [record for record in steps if "reward/mean" in record]  # those in which groups came back
    assert {record["reward/forward/term/format"] for record in steps} == {0.5}, "half of the answers are well-formed"
    assert {record["reward/shaped_mean"] for record in steps} == {0.25 + 0.5 * 0.5} and {record["reward/mean"] for record in steps} == {
        0.25
    }
    assert set(source.successes) == {0.25}, "the curriculum is told the pass rate"


async def test_the_default_stage_trains_and_reports_as_it_did(tmp_path: Path) -> None:
    run, _, fleet, learners, told, _ = await stage(tmp_path)
    assert {order.advantages for orders in learners.orders for order in orders} == {(0.75, -0.25, -0.25, -0.25)}
    assert not [name for record in told.records for name in record if "/term/" in name or "shaped" in name or "harvest" in name]
    assert "harvested" not in run.state.stage_state["summary"] and not (tmp_path / "harvest").exists()
    assert sum(fleet.wanted) < len(fleet.wanted) / 2, "only a sample of the texts comes along"


async def test_what_question_blind_answers_earn_on_the_same_rows_is_taken_off(tmp_path: Path) -> None:
    *_, told, _ = await stage(tmp_path, "grpo.shaping.default.format=0.5")
    steps = [record for record in told.records if "reward/mean" in record]
    assert steps and {record["reward/forward/blind"] for record in steps} == {0.125}
    assert {record["reward/forward/excess"] for record in steps} == {0.25 - 0.125}, "of verdicts, whatever the shaping"


async def test_the_tracker_gets_ages_and_lengths_of_every_sample_and_the_rows_that_are_kept(tmp_path: Path) -> None:
    *_, told, _ = await stage(tmp_path, "grpo.sample_every=2")
    steps = [record for record in told.records if "train/loss" in record]
    assert len(told.histograms) == len(steps) == 4
    for record, histograms in zip(steps, told.histograms, strict=True):
        ages = histograms["async/age_histogram"]
        assert len(ages) == record["train/samples"] and max(ages) == record["async/age_max"], f"ages {ages} are not those of {record}"
        if "rollout/length" in record:
            assert fmean(histograms["rollout/length_histogram"]) == record["rollout/length"]
    kept = [row for path in sorted((tmp_path / "trajectories").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert kept and told.rows == kept, "the sinks are shown other samples than the run directory keeps"


async def test_the_stage_leaves_its_harvest_beside_every_checkpoint(tmp_path: Path) -> None:
    run, state, fleet, _, told, _ = await stage(tmp_path, "grpo.harvest.share=1.0", "grpo.checkpoint_every=2")
    assert all(fleet.wanted)
    lines = [json.loads(line) for line in (tmp_path / "harvest" / "grpo.jsonl").read_text().splitlines()]
    assert len(lines) == len(state.harvest) == run.state.stage_state["summary"]["harvested"] >= 4 * 3
    assert all(line["completion"] == f"{line['prompt_uid']} says 0" and line["group_success"] == 0.25 for line in lines)
    assert [record["harvest/traces"] for record in told.records if "train/loss" in record][-1] > 0
