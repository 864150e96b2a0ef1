"""`chemr train`: from a configuration to a trained, evaluated and exported model.

The stages run in order on one pool that is started once. A lost learner is rebuilt from the newest checkpoint under the same
generators; a lost driver is continued by the same command with ``run.resume=auto``.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.pool import ActorPool
from chemr.config import ChemrConfig, DataKind, Stage, pool_config
from chemr.controlled_run import controlled
from chemr.display import Display
from chemr.doctor.start import ask, ask_addresses, fitting_rows, refuse
from chemr.export import export_model
from chemr.finished_run import has_finished
from chemr.learner_recovery import survives
from chemr.manifest import changed_scorers, run_manifest
from chemr.model_card import model_card, read_card_facts
from chemr.policy_folder import prepare_policy
from chemr.resume_changes import begins_otherwise, goes_further, require_same_rows, resume_changes, rows_digest
from chemr.run_control import RunDrained
from chemr.run_directory import RunDirectory
from chemr.run_fork import fork
from chemr.run_notes import run_notes
from chemr.stages.distill import distill
from chemr.stages.foundation import foundation
from chemr.stages.grpo import grpo
from chemr.summary import stage_result, summarise
from chemr.supervision import run_until_done
from chemr.teachers import ProgrammaticTeacher
from chemr.tokenization import ChatTokenizer
from chemr.tracking.tracker import Tracker, flatten
from chemr.training_run import TrainingRun

DRIVERS: dict[Stage, Callable[[TrainingRun], Awaitable[None]]] = {
    Stage.foundation: foundation,
    Stage.distill: distill,
    Stage.grpo: grpo,
}


async def train(config: ChemrConfig, resolved: str, on_step: Callable[[TrainingRun], None] | None = None) -> dict[str, Any]:
    """Run (or continue) a run and return the content of its ``summary.json``; of a drained run ``{"drained": its newest checkpoint,
    "evicted": whether it is to be started again}``.

    Raises:
        RunDirectoryError, ConfigError: before anything is started.
        LearnerGivenUp: the learner was lost more often than is bad luck, or none came up in time (chemr/learner_recovery.py).
    """
    start = ask(config, resolved, waits=True)
    data = start.require()
    own = config.run
    directory = await RunDirectory.wait_for(
        own.path, own.resume, own.keep_checkpoints, own.lock_wait_s, functools.partial(print, flush=True)
    )
    with closing(directory), run_notes(directory.path) as notes, closing(Display.create(on_note=notes.write)) as display:
        checkpoint, complaints = directory.checkpoints.newest()
        for complaint in complaints:
            display.note(complaint)
        if checkpoint is None and config.run.start_from is not None:
            fork(Path(config.run.start_from), directory, config, resolved)
            checkpoint, _ = directory.checkpoints.newest()
        changes = [] if checkpoint is None else resume_changes(directory.path, checkpoint.state, resolved)
        finished = checkpoint is not None and has_finished(directory.path, config.stages)
        if checkpoint is not None and finished and not goes_further(checkpoint.state, config):
            display.note(f"{directory.path} is finished; give the next run another name: run.name=...")
            for change in changes:
                display.note(f"no effect, since the run is finished: {change}")
            return report(directory.read_json("summary.json"), display)
        if checkpoint is None and begins_otherwise(directory.path, resolved):
            display.note(f"{directory.path} has no checkpoint and is another run now: its initial model is made anew")
            shutil.rmtree(directory.initial_model, ignore_errors=True)
        refuse(ask_addresses(config))
        for note in start.notes:
            display.note(note)
        policy = prepare_policy(config, directory, data)
        tokenizer = ChatTokenizer.load(policy)
        if config.policy.path is None and config.data.kind is not DataKind.starter:  # whose rows fit the model from scratch by construction
            data, left_out = fitting_rows(config, data, tokenizer)
            for note in left_out:
                display.note(note)
        rows = rows_digest(data)
        if checkpoint is not None:
            require_same_rows(checkpoint.state, rows)
            if finished:
                kept = directory.retire_summary(f"{checkpoint.state['stage']}-{checkpoint.state['stage_step']}")
                display.note(f"{directory.path} was finished and goes on; {kept} keeps the results so far")
            for change in changes:
                display.note(change)
        directory.write_config(resolved)
        tracked = checkpoint.state["tracker"] if checkpoint else None
        pool = ActorPool(pool_config(config, policy, directory.path))
        try:
            # The sinks end before the pool does, which may take its time: whoever is in a hurry to end this process cuts off no record.
            with Tracker(directory.path, config.tracking, asdict(config), tracked, display.note) as tracker:
                tracker.data(data)
                run = TrainingRun(config, directory, pool, tokenizer, data, ProgrammaticTeacher(), tracker, display, on_step=on_step)
                run.state.rows = rows
                try:
                    await pool.start(policy)
                    async with controlled(run):
                        await record_manifest(run)
                        if checkpoint is not None:
                            display.note(f"continuing {directory.path} from step {checkpoint.step} of stage {checkpoint.state['stage']}")
                            run.restore(checkpoint)
                        await run_until_done(
                            run_stages(run), fleet=pool.fleet.supervise(), weights=run.keep_published(), hurry=run.control.until_hurried()
                        )
                except RunDrained as drained:
                    display.note(str(drained))
                    if drained.evicted:
                        tracker.interrupted()
                    return {"drained": drained.checkpoint, "evicted": drained.evicted}
                summary = summarise(run)
                tracker.summary(summary)
                tracker.folder("model", directory.model, run.state.step, flatten(summary["gain"], "gain/"))
        finally:
            await pool.close()
        directory.write_json("summary.json", summary)
        return report(summary, display)


async def record_manifest(run: TrainingRun) -> None:
    """Write ``manifest.json``; say so when a continued run is judged by other scorers than it began with."""
    path = run.directory.path / "manifest.json"
    now = run_manifest(await run.fleet.scorer_manifest(), run.data)
    change = changed_scorers(run.directory.read_json(path.name) if path.is_file() else None, now)
    if change is not None:
        run.display.note(change)
    run.directory.write_json(path.name, now)


def report(summary: dict[str, Any], display: Display) -> dict[str, Any]:
    display.final_table(summary["table"])
    for stage, gain in summary["gain"].items():
        low, high = summary["gain_interval95"][stage]
        display.note(f"{stage}: {100 * gain:+.1f} points of held-out mean reward (95 % interval {100 * low:+.1f} to {100 * high:+.1f})")
    return summary


async def run_stages(run: TrainingRun) -> None:
    """Each stage to its end and its held-out evaluation, through any loss of the learner."""
    for stage in run.config.stages:
        while stage not in run.state.results:
            await survives(run, functools.partial(run_stage, run, stage))
    while not await survives(run, functools.partial(export, run)):
        pass


async def export(run: TrainingRun) -> None:
    """Write the trained model; the learner of a run whose stages were all done when it was continued has to load it first."""
    if run.restore_from is not None:
        await run.learners.load(run.restore_from.learner)
        run.restore_from = None
    await export_as(run, run.directory.model, run.state.results, f"after the last stage, {run.config.stages[-1]}")


async def export_as(run: TrainingRun, target: Path, results: Mapping[str, Mapping[str, Any]], weights: str) -> None:
    """Write the learner's weights and their card; ``weights`` says in the card which they are."""
    card = model_card(read_card_facts(run.directory.path, run.config, results, weights))
    await export_model(run.learners, run.tokenizer, target, card, run.config.eval.max_new_tokens)


async def run_stage(run: TrainingRun, stage: Stage) -> None:
    await DRIVERS[stage](run)
    await run.publish()
    evaluation = await run.test()
    run.log(evaluation.metrics("test"))
    run.display.evaluation(stage, {task: score.mean for task, score in evaluation.tasks.items()}, evaluation.mean)
    result = stage_result(run, evaluation)
    if run.config.run.keep_stage_models:
        await export_as(run, run.directory.path / "stages" / stage, run.state.results | {stage: result}, f"after stage {stage}")
    run.state.results[stage] = result
    await run.checkpoint()
    await run.control.between_steps(run.checkpoint)
