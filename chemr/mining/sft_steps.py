"""The last three steps: write traces along the protocols, filter them, and select what is trained on."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rapidfuzz import fuzz

from chemr.mining.answers import scorer_pool, verdicts
from chemr.mining.config import SelectConfig
from chemr.mining.filters.claims import CLAIMS_TASK, claims_job, reason_kind
from chemr.mining.filters.judgement import judge
from chemr.mining.protocol_file import Protocol, read_protocols
from chemr.mining.questions import synthesis_requests
from chemr.mining.step_files import StepFile, made_from, read_rows, up_to_date, write_rows
from chemr.mining.trace_steps import scoring
from chemr.mining.trace_text import thinking_of
from chemr.mining.workplace import FILTERED, PROTOCOLS, SFT, SYNTHESISED, Workplace
from rewards.job import ScoreJob

FILTERS_VERSION = 1  # raise it when a filter may decide otherwise

Row = Mapping[str, Any]


async def synthesise(work: Workplace) -> StepFile:
    """Asks for traces along the protocols. Consumes: training rows, ``protocols/``. Produces: ``synthesised.jsonl``.

    An edited protocol changes the requests of its task only; all others are in the store.
    """
    mining = work.config.mining
    protocols, hints = read_protocols(work.path(PROTOCOLS))
    examples = work.drawn(mining.synthesis_questions_per_task)
    requests = synthesis_requests(
        examples,
        protocols,
        hints,
        mining.synthesis_samples,
        work.sampling,
        shown=mining.synthesis_shows_answer,
        system_role=work.asking.system_role,
    )
    source = made_from("synthesise", work.model, [request.key(work.model) for request in requests])
    done = up_to_date(work.path(SYNTHESISED), source)
    if done is not None and not done.header["failed"]:
        return done
    without = sorted({example.task for example in examples} - protocols.keys())
    if without:
        work.say(f"no protocol, so no traces, for {', '.join(without)}")
    asked, store = await work.ask(requests)
    try:
        return work.write_responses(SYNTHESISED, "synthesise", source, requests, asked, store)
    finally:
        store.close()


def filter_traces(work: Workplace) -> StepFile:
    """Judges every trace by all filters. Consumes: ``synthesised.jsonl``, ``protocols/``. Produces: ``filtered.jsonl``, all traces in it
    with the reasons against them."""
    written = read_rows(work.path(SYNTHESISED))
    protocols, _ = read_protocols(work.path(PROTOCOLS))
    config = work.config.mining.filter
    source = made_from("filter", written.digest, _as_data(protocols), asdict(config), scoring(work), FILTERS_VERSION)
    done = up_to_date(work.path(FILTERED), source)
    if done is not None:
        return done
    rows = [row for row in written.rows if row["task"] in protocols]
    examples = [work.example(row["uid"], written.path) for row in rows]
    jobs = [ScoreJob(one.task, row["completion"], one.inputs, one.reference) for one, row in zip(examples, rows, strict=True)]
    claims = [claims_job(row["completion"], thinking_of(row["completion"]), one) for one, row in zip(examples, rows, strict=True)]
    with scorer_pool(work.config.rewards) as pool:
        answers = verdicts(pool, jobs)
        checked = iter(verdicts(pool, [job for job in claims if job is not None]))
    judged: list[dict[str, Any]] = []
    for example, row, verdict, job in zip(examples, rows, answers, claims, strict=True):
        assert job is None or job.task == CLAIMS_TASK
        found = judge(
            example,
            row["completion"],
            protocols[row["task"]],
            verdict,
            None if job is None else next(checked),
            config,
            work.config.distill.verify_at,
        )
        judged.append({**row, "reasons": list(found.reasons), "canonical": found.completion, "value": verdict.value})
    reasons = Counter(reason for row in judged for reason in {reason_kind(one) for one in row["reasons"]})
    return write_rows(
        work.path(FILTERED),
        "filter",
        source,
        judged,
        passed=sum(passes(row) for row in judged),
        reasons=dict(reasons.most_common()),
        without_protocol=len(written.rows) - len(rows),
    )


def _as_data(protocols: Mapping[str, Protocol]) -> list[Any]:
    """What of the protocols a filter sees: titles, and their other names."""
    return [[task, [[step.title, step.also_called] for step in one.steps]] for task, one in sorted(protocols.items())]


def passes(row: Row) -> bool:
    """Whether nothing speaks against a judged trace."""
    return not row["reasons"] and bool(row["canonical"])


def select(work: Workplace) -> StepFile:
    """Chooses what is trained on. Consumes: ``filtered.jsonl``. Produces: ``sft.jsonl``, which ``distill.traces`` takes."""
    filtered = read_rows(work.path(FILTERED))
    config, seed = work.config.mining.select, work.config.run.seed
    source = made_from("select", filtered.digest, asdict(config), seed)
    done = up_to_date(work.path(SFT), source)
    if done is not None:
        return done
    passed = [row for row in filtered.rows if passes(row)]
    difficulty = {row["uid"]: work.example(row["uid"], filtered.path).difficulty for row in passed}
    chosen, dropped = selected(passed, difficulty, config, seed)
    rows = [
        {"uid": row["uid"], "task": row["task"], "completion": row["canonical"], "sample": row["sample"], "key": row["key"]}
        for row in chosen
    ]
    per_task = dict(sorted(Counter(row["task"] for row in rows).items()))
    return write_rows(work.path(SFT), "select", source, rows, per_task=per_task, dropped=dict(dropped))


def selected(passed: Sequence[Row], difficulty: Mapping[str, float], config: SelectConfig, seed: int) -> tuple[list[Row], Counter[str]]:
    """Traces that are diverse, and balanced by task and difficulty; and how many were dropped for which reason.

    Within a task, questions are taken in turn from ranges of difficulty with equally many questions each; every question gives one trace
    before any gives a second. Of a question's traces the next is the one least like those taken, and near-duplicates are not taken.
    """
    dropped: Counter[str] = Counter()
    by_task: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in passed:
        by_task[row["task"]][row["uid"]].append(row)
    ranked = {task: _ranked(rows, difficulty, config, f"select/{seed}/{task}", dropped) for task, rows in by_task.items()}
    limit = config.per_task or max(map(len, ranked.values()), default=0)
    if config.task_ratio and ranked:
        limit = min(limit, max(1, int(config.task_ratio * min(map(len, ranked.values())))))
    chosen: list[Row] = []
    for task in sorted(ranked):
        chosen += ranked[task][:limit]
        dropped["more than the task's share"] += max(0, len(ranked[task]) - limit)
    return chosen, Counter({reason: count for reason, count in dropped.items() if count})


def _ranked(
    questions: Mapping[str, Sequence[Row]], difficulty: Mapping[str, float], config: SelectConfig, seed: str, dropped: Counter[str]
) -> list[Row]:
    """The traces of one task in the order in which they would be taken."""
    draw = random.Random(seed)
    uids = sorted(questions, key=lambda uid: (difficulty[uid], uid))
    bins = min(config.difficulty_bins, len(uids))
    ranges = [uids[len(uids) * one // bins : len(uids) * (one + 1) // bins] for one in range(bins)]
    for members in ranges:
        draw.shuffle(members)
    in_turn = [members[place] for place in range(max(map(len, ranges))) for members in ranges if place < len(members)]
    traces = {uid: _diverse(questions[uid], config, dropped) for uid in in_turn}
    return [traces[uid][lap] for lap in range(config.per_question) for uid in in_turn if lap < len(traces[uid])]


def _diverse(rows: Sequence[Row], config: SelectConfig, dropped: Counter[str]) -> list[Row]:
    """At most ``per_question`` traces of one question: the first, then always the one that is least like those taken."""
    left = sorted(rows, key=lambda row: (row["sample"], row["key"]))
    taken: list[Row] = []
    while left:
        likeness = [max((fuzz.ratio(row["canonical"], other["canonical"]) for other in taken), default=0.0) for row in left]
        best = min(range(len(left)), key=lambda place: (likeness[place], place))
        if likeness[best] >= config.near_duplicate:
            dropped["nearly the same as another of its question"] += len(left)
            break
        if len(taken) == config.per_question:
            dropped["more than the question's share"] += len(left)
            break
        taken.append(left.pop(best))
    return taken
