"""The first three steps: mine free traces, verify their answers, extract what they are made of."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from typing import Any

from chemr.mining.answers import scorer_pool, verdicts
from chemr.mining.filters.form import echoes_form
from chemr.mining.questions import FORM_CLAIMS, FORM_TITLES, mining_requests
from chemr.mining.step_files import StepFile, made_from, read_rows, up_to_date, write_rows
from chemr.mining.trace_text import found_steps, thinking_of
from chemr.mining.workplace import MINED, STEPS, VERIFIED, Workplace
from rewards.job import ScoreJob
from rewards.registry import SCORER_VERSION


async def mine(work: Workplace) -> StepFile:
    """Asks for free traces, with and without the gold answer shown. Consumes: training rows. Produces: ``mined.jsonl``."""
    mining = work.config.mining
    examples = work.drawn(mining.questions_per_task)
    requests = mining_requests(examples, mining.samples, work.sampling, system_role=work.asking.system_role)
    source = made_from("mine", work.model, [request.key(work.model) for request in requests])
    done = up_to_date(work.path(MINED), source)
    if done is not None and not done.header["failed"]:
        return done
    asked, store = await work.ask(requests)
    try:
        return work.write_responses(MINED, "mine", source, requests, asked, store)
    finally:
        store.close()


def verify(work: Workplace) -> StepFile:
    """Scores every trace's answer with the hardened scorers. Consumes: ``mined.jsonl``. Produces: ``verified.jsonl``, all traces in it."""
    mined = read_rows(work.path(MINED))
    source = made_from("verify", mined.digest, scoring(work))
    done = up_to_date(work.path(VERIFIED), source)
    if done is not None:
        return done
    examples = [work.example(row["uid"], mined.path) for row in mined.rows]
    jobs = [ScoreJob(one.task, row["completion"], one.inputs, one.reference) for one, row in zip(examples, mined.rows, strict=True)]
    with scorer_pool(work.config.rewards) as pool:
        found = verdicts(pool, jobs)
    at = work.config.distill.verify_at
    rows = [
        {**row, "value": verdict.value, "reason": str(verdict.reason), "verified": verdict.value is not None and verdict.value >= at}
        for row, verdict in zip(mined.rows, found, strict=True)
    ]
    return write_rows(work.path(VERIFIED), "verify", source, rows, verified=sum(row["verified"] for row in rows))


def scoring(work: Workplace) -> dict[str, Any]:
    """What a verdict depends on besides the trace and its row."""
    rewards = work.config.rewards
    judged_by = {"scorers": SCORER_VERSION, "rdkit": version("rdkit"), "opsin": rewards.opsin, "grounding": rewards.grounding}
    return {**judged_by, "verify_at": work.config.distill.verify_at}


def extract(work: Workplace) -> StepFile:
    """Takes the verified traces apart. Consumes: ``verified.jsonl``. Produces: ``steps.jsonl``, one row a step.

    A step that only repeats the example of the form is left out: were it clustered, it would become a protocol.
    """
    verified = read_rows(work.path(VERIFIED))
    source = made_from("extract", verified.digest, FORM_TITLES, FORM_CLAIMS)
    done = up_to_date(work.path(STEPS), source)
    if done is not None:
        return done
    rows: list[dict[str, Any]] = []
    with_steps: Counter[str] = Counter()
    without: Counter[str] = Counter()
    echoes: Counter[str] = Counter()
    for row in verified.rows:
        if not row["verified"]:
            continue
        steps = found_steps(thinking_of(row["completion"]))
        (with_steps if steps else without)[row["task"]] += 1
        about = {name: row[name] for name in ("uid", "task", "purpose", "sample", "key")}
        rows += [
            {**about, "step": number, "of": len(steps), "title": step.title, "claim": step.claim}
            for number, step in enumerate(steps, start=1)
            if not echoes_form(step)
        ]
        echoes[row["task"]] += sum(map(echoes_form, steps))
    facts = {"traces": dict(with_steps), "without_steps": dict(without), "echoes": {task: count for task, count in echoes.items() if count}}
    return write_rows(work.path(STEPS), "extract", source, rows, **facts)
