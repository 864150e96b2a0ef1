"""Nothing is paid for twice, and what arrived is kept, however a run ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chemr.data.example import Example
from chemr.mining.asking import ask_all
from chemr.mining.errors import MiningInputError, TeacherStopped
from chemr.mining.responses import ResponseStore
from chemr.mining.teacher import ChatReply, ChatRequest, ChatSampling, RequestFailed
from tests.chemr.mining.scripted import ScriptedTeacher

EXAMPLE = Example("t/1", "smiles2formula", {"smiles": "C"}, {"answer": "CH4"}, 0.0, "tests", "Apache-2.0")
SAMPLING = ChatSampling(0.8, 0.95, 100)


def requests(count: int, samples: int = 1) -> list[ChatRequest]:
    return [
        ChatRequest(({"role": "user", "content": f"question {number}"},), SAMPLING, sample, EXAMPLE, "mine")
        for number in range(count)
        for sample in range(samples)
    ]


def ask(path: Path, teacher: ScriptedTeacher, wanted: list[ChatRequest], **options: int):
    store = ResponseStore(path)
    try:
        return asyncio.run(ask_all(teacher, store, wanted, options.get("concurrency", 4), options.get("give_up_after", 5)))
    finally:
        store.close()


def test_a_second_start_asks_nothing(tmp_path: Path) -> None:
    wanted = requests(5, samples=2)
    first = ScriptedTeacher(lambda request: f"{request.messages[0]['content']} {request.sample}")
    asked = ask(tmp_path / "r.jsonl", first, wanted)
    assert asked.new == 10 and None not in asked.keys and len(set(asked.keys)) == 10, "samples of one question are different requests"
    second = ScriptedTeacher(lambda _: "other")
    again = ask(tmp_path / "r.jsonl", second, wanted)
    assert again.new == 0 and not second.asked and again.keys == asked.keys


def test_an_interrupted_start_is_taken_up_where_it_ended(tmp_path: Path) -> None:
    wanted = requests(20)
    first = ScriptedTeacher(lambda _: "text", stop_after=7)
    with pytest.raises(TeacherStopped):
        ask(tmp_path / "r.jsonl", first, wanted)
    second = ScriptedTeacher(lambda _: "text")
    asked = ask(tmp_path / "r.jsonl", second, wanted)
    assert first.asked.total() == 7 and asked.new == 13
    assert not set(first.asked) & set(second.asked), "a request was made twice"


def test_responses_that_are_on_their_way_when_it_stops_are_kept(tmp_path: Path) -> None:
    class Slow(ScriptedTeacher):
        """Three answers take their time; the fourth request stops the run meanwhile."""

        def __init__(self) -> None:
            super().__init__(lambda _: "late")
            self.gate = asyncio.Event()

        async def answer(self, request: ChatRequest) -> ChatReply:
            if len(self.asked) == 3:
                asyncio.get_running_loop().call_soon(self.gate.set)
                raise TeacherStopped("no more")
            reply = await super().answer(request)
            await self.gate.wait()
            return reply

    async def run() -> int:
        store = ResponseStore(tmp_path / "r.jsonl")
        try:
            with pytest.raises(TeacherStopped, match="no more"):
                await ask_all(Slow(), store, requests(8), 4, 5)
            return len(store)
        finally:
            store.close()

    assert asyncio.run(run()) == 3


def test_an_interrupt_waits_for_the_answers_in_flight(tmp_path: Path) -> None:
    async def run() -> tuple[int, list[int]]:
        begun, gate, waited = asyncio.Event(), asyncio.Event(), []

        class Slow(ScriptedTeacher):
            async def answer(self, request: ChatRequest) -> ChatReply:
                begun.set()
                await gate.wait()
                return await super().answer(request)

        store = ResponseStore(tmp_path / "r.jsonl")
        task = asyncio.create_task(ask_all(Slow(lambda _: "x"), store, requests(9), 3, 5, on_stop=waited.append))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        stored = len(store)
        store.close()
        return stored, waited

    assert asyncio.run(run()) == (3, [3]), "three were in flight; no further one was begun"


def test_failures_are_counted_and_asked_again_by_the_next_start(tmp_path: Path) -> None:
    class Flaky(ScriptedTeacher):
        async def answer(self, request: ChatRequest) -> ChatReply:
            if request.messages[0]["content"].endswith("2"):
                raise RequestFailed("status 500: no")
            return await super().answer(request)

    asked = ask(tmp_path / "r.jsonl", Flaky(lambda _: "x"), requests(4))
    assert asked.failures == {"status 500: no": 1} and asked.keys[2] is None and asked.new == 3
    teacher = ScriptedTeacher(lambda _: "x")
    assert ask(tmp_path / "r.jsonl", teacher, requests(4)).new == 1 and teacher.asked.total() == 1


def test_many_failures_in_a_row_end_it(tmp_path: Path) -> None:
    class Dead(ScriptedTeacher):
        async def answer(self, request: ChatRequest) -> ChatReply:
            self.asked[request.key(self.model)] += 1
            raise RequestFailed("time-out")

    teacher = Dead(lambda _: "")
    with pytest.raises(TeacherStopped, match=r"5 requests in a row failed, the last with: time-out"):
        ask(tmp_path / "r.jsonl", teacher, requests(100), concurrency=1)
    assert teacher.asked.total() == 5


def test_half_a_last_line_is_cut_off_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    ask(path, ScriptedTeacher(lambda _: "é" * 50), requests(3))
    whole = path.read_bytes()
    for cut in (2, 30, len(whole.splitlines(keepends=True)[-1]) - 1):
        path.write_bytes(whole[:-cut])
        teacher = ScriptedTeacher(lambda _: "é" * 50)
        assert ask(path, teacher, requests(3)).new == 1, "only the torn response is asked again"
        assert len([json.loads(line) for line in path.read_text().splitlines()]) == 3
    path.write_bytes(whole[:-1])
    assert ask(path, ScriptedTeacher(lambda _: "x"), requests(3)).new == 0, "a response without its line break is whole"
    assert path.read_bytes() == whole


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    ask(path, ScriptedTeacher(lambda _: "x"), requests(3))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "{broken\n" + lines[2])
    with pytest.raises(MiningInputError, match=r"r\.jsonl, line 2"):
        ResponseStore(path)


def test_two_processes_do_not_write_one_store(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.jsonl")
    with pytest.raises(MiningInputError, match="in use"):
        ResponseStore(tmp_path / "r.jsonl")
    store.close()
    ResponseStore(tmp_path / "r.jsonl").close()


def test_everything_is_stored_with_a_response(tmp_path: Path) -> None:
    (request,) = requests(1)
    ask(tmp_path / "r.jsonl", ScriptedTeacher(lambda _: "text"), [request])
    store = ResponseStore(tmp_path / "r.jsonl")
    record = store.record(request.key("scripted"))
    store.close()
    assert record["model"] == "scripted" and record["messages"] == [{"role": "user", "content": "question 0"}]
    assert record["sampling"] == {"temperature": 0.8, "top_p": 0.95, "max_tokens": 100, "extra": {}} and record["sample"] == 0
    assert record["reply"]["text"] == "text" and record["reply"]["completion_tokens"] == 50 and record["uid"] == "t/1"


KILLED = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, os.getcwd())
from chemr.mining.asking import ask_all
from chemr.mining.responses import ResponseStore
from tests.chemr.mining.scripted import ScriptedTeacher
from tests.chemr.mining.test_asking import requests

class Deadly(ScriptedTeacher):
    async def answer(self, request):
        if self.asked.total() == 6:
            os.kill(os.getpid(), 9)
        return await super().answer(request)

asyncio.run(ask_all(Deadly(lambda _: "x"), ResponseStore(Path(sys.argv[1])), requests(20), 1, 5))
"""


def test_kill_9_loses_no_response_that_had_arrived(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "r.jsonl")], cwd=root, env=environment, timeout=480, check=False)
    assert ended.returncode == -signal.SIGKILL
    teacher = ScriptedTeacher(lambda _: "x")
    assert ask(tmp_path / "r.jsonl", teacher, requests(20)).new == 14, "six had been stored"
