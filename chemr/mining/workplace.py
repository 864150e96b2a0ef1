"""What the steps of mining share: a folder, a configuration, the rows to ask about, and a teacher that is made only when it is needed."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chemr.config import ChemrConfig
from chemr.data.example import Example
from chemr.evaluation import first_per_task
from chemr.mining.asking import Asked, ask_all
from chemr.mining.config import EndpointConfig, PoolTeacherConfig, TeacherKind
from chemr.mining.endpoint import EndpointTeacher
from chemr.mining.errors import MiningInputError
from chemr.mining.pool_teacher import model_folder, model_name, start_pool_teacher
from chemr.mining.questions import EXPLANATIONS
from chemr.mining.responses import ResponseStore, Usage
from chemr.mining.step_files import StepFile, write_rows
from chemr.mining.teacher import ChatRequest, ChatSampling, ChatTeacher, ProgrammaticChat
from chemr.mining.trace_text import completion_of

RESPONSES = "responses.jsonl"
MINED, VERIFIED, STEPS, CLUSTERS, MERGED = "mined.jsonl", "verified.jsonl", "steps.jsonl", "clusters.jsonl", "merged.jsonl"
SYNTHESISED, FILTERED, SFT, PROTOCOLS = "synthesised.jsonl", "filtered.jsonl", "sft.jsonl", "protocols"

TeacherMaker = Callable[[Usage], ChatTeacher]


@dataclass
class Workplace:
    """One folder of mining.

    Attributes:
        examples: rows with a gold answer that may be asked about: the training rows of the supervised stages.
        say: where lines for people go.
        make_teacher: called with what the model was used for so far, when a request is not stored; tests put their own here.
    """

    folder: Path
    config: ChemrConfig
    examples: Sequence[Example]
    say: Callable[[str], None] = print
    make_teacher: TeacherMaker | None = None

    @functools.cached_property
    def by_uid(self) -> dict[str, Example]:
        return {example.uid: example for example in self.examples}

    def example(self, uid: str, path: Path) -> Example:
        """The row a file speaks of. Raises MiningInputError when the data do not have it (any more)."""
        if uid not in self.by_uid:
            raise MiningInputError(f"{path}: the data have no row {uid!r}; use the data.* settings that the file was made with")
        return self.by_uid[uid]

    @functools.cached_property
    def model(self) -> str:
        """The name that responses are stored under. Raises MiningInputError when the teacher's model is not named, or no folder."""
        mining = self.config.mining
        if mining.teacher is TeacherKind.programmatic:
            return ProgrammaticChat().model
        if mining.teacher is TeacherKind.pool:
            return model_name(model_folder(mining.pool))
        if not mining.endpoint.model:
            raise MiningInputError(
                "mining.endpoint.model is not set; name the model as its server does, or set mining.teacher=pool or programmatic"
            )
        return mining.endpoint.model

    @property
    def sampling(self) -> ChatSampling:
        mining = self.config.mining
        extra = {} if mining.teacher is TeacherKind.pool else dict(mining.endpoint.extra_body)
        return ChatSampling(mining.temperature, mining.top_p, mining.max_tokens, extra)

    @property
    def asking(self) -> EndpointConfig | PoolTeacherConfig:
        """The section that says how the teacher is asked: ``concurrency``, ``give_up_after``, ``system_role``."""
        mining = self.config.mining
        return mining.pool if mining.teacher is TeacherKind.pool else mining.endpoint

    def drawn(self, per_task: int) -> list[Example]:
        """``per_task`` rows of every task, by the run's seed; fewer rows are the first of more."""
        untold = sorted({example.task for example in self.examples} - EXPLANATIONS.keys())
        if untold:
            raise MiningInputError(f"data.tasks: teachers cannot be asked about {', '.join(untold)}; name other tasks")
        shuffled = [example for example in self.examples if "answer" in example.reference]
        random.Random(f"mining/{self.config.run.seed}").shuffle(shuffled)
        return first_per_task(shuffled, per_task)

    def path(self, name: str) -> Path:
        return self.folder / name

    async def ask(self, requests: Sequence[ChatRequest]) -> tuple[Asked, ResponseStore]:
        """All responses, from the store or from the teacher. The caller closes the store.

        Raises:
            TeacherStopped, MiningInputError: with everything kept that was answered.
        """
        store = ResponseStore(self.path(RESPONSES))
        try:
            missing = len({key for request in requests if (key := request.key(self.model)) not in store})
            if not missing:
                return Asked([request.key(self.model) for request in requests]), store
            self.say(f"{missing} of {len(requests)} responses are to be asked for; {len(store)} are stored")
            teacher = await self._teacher(store)
            try:
                tenth = max(1, missing // 10)
                asked = await ask_all(
                    teacher,
                    store,
                    requests,
                    self.asking.concurrency,
                    self.asking.give_up_after,
                    on_answer=lambda back, total: self.say(self._progress(back, total, store)) if back % tenth == 0 else None,
                    on_stop=lambda count: self.say(
                        f"stopping: waiting for {count} answers on their way, which cost the same (interrupt again to drop them)"
                    ),
                )
            finally:
                await teacher.close()
            return asked, store
        except BaseException:
            store.close()
            raise

    async def _teacher(self, store: ResponseStore) -> ChatTeacher:
        mining = self.config.mining
        used = store.usage.get(self.model, Usage())
        if self.make_teacher is not None:
            return self.make_teacher(used)
        match mining.teacher:
            case TeacherKind.programmatic:
                return ProgrammaticChat()
            case TeacherKind.pool:
                self.say(f"starting the pool: {mining.pool.model} on {mining.pool.generators} generator(s)")
                return await start_pool_teacher(mining.pool, self.config.pool, self.folder)
            case TeacherKind.endpoint:
                return EndpointTeacher(mining.endpoint, used)

    def _progress(self, back: int, total: int, store: ResponseStore) -> str:
        usage = store.usage.get(self.model, Usage())
        endpoint = self.config.mining.endpoint
        cost = usage.cost(endpoint.price_in, endpoint.price_out) if self.config.mining.teacher is TeacherKind.endpoint else None
        money = "" if cost is None else f", cost so far {cost:.4f}"
        return f"{back} of {total} answered; in all {usage.prompt_tokens} prompt and {usage.completion_tokens} generated tokens{money}"

    def write_responses(
        self, name: str, step: str, source: str, requests: Sequence[ChatRequest], asked: Asked, store: ResponseStore
    ) -> StepFile:
        """One row for each response; the header counts the failures, which the next start asks again."""
        rows: list[dict[str, Any]] = []
        for request, key in zip(requests, asked.keys, strict=True):
            if key is None:
                continue
            reply = store.reply(key)
            rows.append(
                {
                    "uid": request.example.uid,
                    "task": request.example.task,
                    "purpose": request.purpose,
                    "sample": request.sample,
                    "key": key,
                    "finish": reply.finish,
                    "completion": completion_of(reply),
                }
            )
        for reason, count in asked.failures.most_common(3):
            self.say(f"{count} requests failed: {reason}")
        return write_rows(
            self.path(name), step, source, rows, model=self.model, asked=len(requests), failed=len(requests) - len(rows), new=asked.new
        )

    def settings(self, *names: str) -> dict[str, Any]:
        """The named parts of ``mining`` as plain data, for a step's :func:`made_from`."""
        whole = asdict(self.config.mining)
        return {name: whole[name] for name in names}
