"""Pause, checkpoint and drain on scripted loops around the real buffer and the real ledger: nothing is lost, nothing gets older."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from actors.buffer import WindowedBuffer
from actors.control.run_status import NotNowError, Phase
from actors.ledger import Ledger
from chemr.checkpoints import Checkpoint
from chemr.run_control import RunControl, RunDrained
from chemr.step_clock import StepClock
from chemr.supervision import run_until_done
from tests.patience import WAIT_S

P, S = 2, 1


class ScriptedRun:
    """GRPO's two loops with sleeps for rollouts and training; everything that is checked is the product's own."""

    def __init__(self, rollout_s: float = 0.01, train_s: float = 0.01, steps: int = 1000, drain_s: float = 5.0) -> None:
        self.rollout_s, self.train_s, self.steps = rollout_s, train_s, steps
        self.said: list[str] = []
        self.control = RunControl(StepClock(), drain_s, self.said.append)
        self.buffer: WindowedBuffer[str] = WindowedBuffer(P, S, 0.5)
        self.ledger = Ledger()
        self.step = 0
        self.ages: list[int] = []
        self.saved: list[dict] = []
        self.disk_full = False
        self.stuck = asyncio.Event()  # while it is set, rollouts do not come back

    async def run(self) -> None:
        await run_until_done(self.learn(), submit=self.submit(), hurry=self.control.until_hurried())

    async def submit(self) -> None:
        async with asyncio.TaskGroup() as rollouts:
            while True:
                await self.control.admission()
                seq = await self.buffer.acquire()
                if not self.control.admits:
                    self.buffer.release(seq)
                    continue
                uid = self.ledger.next_uid("prompt")
                self.ledger.submit(uid)
                rollouts.create_task(self.roll_out(seq, uid))

    async def roll_out(self, seq: int, uid: str) -> None:
        version = self.step
        await asyncio.sleep(self.rollout_s)
        while self.stuck.is_set():
            await asyncio.sleep(0.01)
        self.buffer.complete(seq, uid, version)

    def in_flight(self) -> int:
        return self.buffer.counts()["generating"]

    async def save(self) -> Checkpoint | None:
        fulfils = self.control.checkpoint_begins()
        await asyncio.sleep(0.01)
        if self.disk_full:
            return None
        self.ledger.assert_balanced()
        self.saved.append(self.ledger.state_dict())
        path = Path(f"step-{self.step}")
        self.control.checkpoint_written(fulfils, path)
        return Checkpoint(self.step, path, {})

    async def learn(self) -> None:
        for _ in range(self.steps):
            taken = await self.control.take(self.save, self.buffer.take_step(self.step), self.in_flight)
            await asyncio.sleep(self.train_s)
            self.ages += [one.age for one in taken]
            self.ledger.train(one.item for one in taken)
            self.ledger.assert_balanced()
            self.step += 1
            self.buffer.free(taken)


@contextlib.asynccontextmanager
async def going(run: ScriptedRun):
    task = asyncio.create_task(run.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"it should have come to: {what}")


async def within(seconds: float, work: Awaitable):
    async with asyncio.timeout(seconds):
        return await work


async def test_a_paused_run_finishes_what_is_in_flight_and_then_nothing_moves() -> None:
    run = ScriptedRun()
    async with going(run):
        await until(lambda: run.step >= 3, "three steps")
        await within(WAIT_S, run.control.pause())
        assert run.control.phase is Phase.paused and run.in_flight() == 0, "what was in flight has finished"
        before = (run.step, run.ledger.submitted)
        await asyncio.sleep(0.3)
        assert (run.step, run.ledger.submitted) == before, "no step and no prompt during a pause"
        assert run.ledger.error == 0
        assert run.control.resume() and not run.control.resume(), "the second time there is nothing to resume"
        await until(lambda: run.step >= before[0] + 5, "five more steps")
    assert max(run.ages) <= run.buffer.max_age, "a pause makes nothing older than the bound"


async def test_a_pause_without_step_boundary_is_pausing_and_its_caller_may_go() -> None:
    run = ScriptedRun(train_s=1.0)
    async with going(run):
        await until(lambda: run.buffer.counts()["taken"] > 0, "training")
        with pytest.raises(TimeoutError):
            await within(0.15, run.control.pause())
        assert run.control.phase is Phase.pausing, "the request stands although the caller is gone"
        await until(lambda: run.control.phase is Phase.paused, "the pause")


async def test_a_checkpoint_is_written_when_asked_also_of_a_paused_run_and_of_one_that_waits_for_rollouts() -> None:
    run = ScriptedRun()
    async with going(run):
        await until(lambda: run.step >= 2, "two steps")
        assert (await within(WAIT_S, run.control.checkpoint())).startswith("step-")
        await within(WAIT_S, run.control.pause())
        assert await within(WAIT_S, run.control.checkpoint()) == f"step-{run.step}" == run.control.newest_checkpoint
        assert run.control.phase is Phase.paused, "a checkpoint does not end the pause"
        run.stuck.set()
        run.control.resume()
        await until(lambda: run.in_flight() == run.buffer.capacity, "every slot to wait for its rollout")
        path = await within(WAIT_S, run.control.checkpoint())
        assert path == f"step-{run.step}" and len(run.saved[-1]["in_flight"]) == run.buffer.capacity


async def test_requests_for_a_checkpoint_share_one_but_never_one_that_was_begun_before() -> None:
    run = ScriptedRun(train_s=0.2)
    async with going(run):
        await until(lambda: run.buffer.counts()["taken"] > 0, "training")
        paths = await within(WAIT_S, asyncio.gather(run.control.checkpoint(), run.control.checkpoint()))
        assert paths[0] == paths[1] and len(run.saved) == 1
    control = ScriptedRun().control
    fulfils = control.checkpoint_begins()
    late = asyncio.ensure_future(control.checkpoint())
    await asyncio.sleep(0)
    control.checkpoint_written(fulfils, Path("step-1"))
    assert not late.done(), "a checkpoint that was begun before the request may lack what the caller wants to keep"
    late.cancel()


async def test_a_drain_trains_on_what_fills_a_step_saves_the_rest_and_ends() -> None:
    run = ScriptedRun(rollout_s=0.05)
    async with going(run) as task:
        await until(lambda: run.step >= 3, "three steps")
        submitted = run.ledger.submitted
        path = await within(WAIT_S, run.control.drain())
        with pytest.raises(RunDrained, match=r"run\.resume=auto") as drained:
            await within(WAIT_S, task)
    assert drained.value.checkpoint == path == f"step-{run.step}"
    assert run.ledger.submitted == submitted, "no new prompt once the drain was asked for"
    assert len(run.saved[-1]["in_flight"]) < P, "what filled a step was trained on"
    assert run.ledger.error == 0 and max(run.ages) <= run.buffer.max_age


@pytest.mark.parametrize("evicted", [False, True])
async def test_whether_a_drained_run_is_to_be_started_again_is_said_by_who_asked_first(evicted: bool) -> None:
    run = ScriptedRun()
    async with going(run) as task:
        await until(lambda: run.step >= 1, "a step")
        run.stuck.set()
        asking = asyncio.ensure_future(run.control.drain(evicted))
        await asyncio.sleep(0)
        late = asyncio.ensure_future(run.control.drain(not evicted))
        await asyncio.sleep(0)
        run.control.on_sigterm()  # a second request: it ends at once
        with pytest.raises(RunDrained) as drained:
            await within(5, task)
        assert drained.value.evicted is evicted
        for one in (asking, late):
            one.cancel()


async def test_a_drain_does_not_wait_for_ever_for_a_rollout() -> None:
    run = ScriptedRun(drain_s=0.3)
    async with going(run) as task:
        await until(lambda: run.step >= 1, "a step")
        run.stuck.set()
        await until(lambda: run.in_flight() == run.buffer.capacity, "every slot to wait for its rollout")
        with pytest.raises(RunDrained):
            await within(WAIT_S, asyncio.gather(run.control.drain(), task))
    assert len(run.saved[-1]["in_flight"]) == run.buffer.capacity, "what did not come back is in the checkpoint, to be asked again"


async def test_what_cannot_be_written_is_refused_and_the_run_goes_on() -> None:
    run = ScriptedRun()
    run.disk_full = True
    async with going(run):
        await until(lambda: run.step >= 1, "a step")
        with pytest.raises(NotNowError, match="could not be written"):
            await within(WAIT_S, run.control.checkpoint())
        with pytest.raises(NotNowError, match="could not be written"):
            await within(WAIT_S, run.control.drain())
        stood = run.step
        await until(lambda: run.step > stood + 2, "going on")
        assert run.control.phase is Phase.running


async def test_a_paused_run_can_be_drained() -> None:
    run = ScriptedRun()
    async with going(run) as task:
        await until(lambda: run.step >= 1, "a step")
        await within(WAIT_S, run.control.pause())
        with pytest.raises(RunDrained):
            await within(WAIT_S, asyncio.gather(run.control.drain(), task))
        with pytest.raises(NotNowError, match="drained"):
            run.control.resume()


async def test_a_failure_of_the_rollouts_is_not_kept_until_the_end_of_a_pause() -> None:
    run = ScriptedRun()
    async with going(run) as task:
        await until(lambda: run.step >= 1, "a step")
        run.stuck.set()
        asking = asyncio.ensure_future(run.control.pause())
        await asyncio.sleep(0.05)
        run.buffer.close()
        with pytest.raises(RuntimeError, match="closed"):
            await within(WAIT_S, task)
        asking.cancel()


async def test_sigterm_drains_and_a_second_one_ends_the_run_where_it_is() -> None:
    before = signal.getsignal(signal.SIGTERM)
    for signals in (1, 2):
        run = ScriptedRun(train_s=0.05 if signals == 1 else 10 * WAIT_S)
        with run.control.draining_on_sigterm():
            async with going(run) as task:
                await until(lambda run=run: run.buffer.counts()["taken"] > 0, "training")
                for _ in range(signals):
                    os.kill(os.getpid(), signal.SIGTERM)
                    await asyncio.sleep(0.05)
                with pytest.raises(RunDrained, match="drained at step" if signals == 1 else "ended at once") as drained:
                    await within(WAIT_S, task)
                assert drained.value.evicted, "whoever sends signals takes the process away: the run is to be started again"
    assert signal.getsignal(signal.SIGTERM) is before, "the handler is put back"


async def test_a_loop_without_rollouts_pauses_and_drains_between_its_steps() -> None:
    run = ScriptedRun()

    async def supervised() -> None:
        while True:
            await run.control.between_steps(run.save)
            await asyncio.sleep(0.01)
            run.step += 1

    task = asyncio.create_task(supervised())
    await until(lambda: run.step >= 3, "three steps")
    await within(WAIT_S, run.control.pause())
    stood = run.step
    await asyncio.sleep(0.1)
    assert run.step == stood
    run.control.resume()
    await until(lambda: run.step > stood, "going on")
    with pytest.raises(RunDrained):
        await within(WAIT_S, asyncio.gather(run.control.drain(), task))


async def test_whoever_waits_when_the_run_ends_is_told_so() -> None:
    run = ScriptedRun()
    waiting = [asyncio.ensure_future(run.control.checkpoint()), asyncio.ensure_future(run.control.drain())]
    await asyncio.sleep(0)
    run.control.end()
    for promise in waiting:
        with pytest.raises(NotNowError, match="ended"):
            await within(WAIT_S, promise)
    with pytest.raises(NotNowError, match="ended"):
        await run.control.pause()


async def test_the_time_of_a_pause_is_a_share_of_its_own() -> None:
    run = ScriptedRun()
    clock = StepClock()
    run.control = RunControl(clock, 1.0, run.said.append)

    async def learn() -> None:
        with clock.share("wait_rollouts"):
            await run.control.take(run.save, asyncio.sleep(0.01, "groups"), lambda: 0)

    task = asyncio.ensure_future(learn())
    await within(WAIT_S, run.control.pause())
    await asyncio.sleep(0.2)
    run.control.resume()
    await within(WAIT_S, task)
    shares = clock.finish_step()
    assert shares["time/paused"] > 0.5 and shares["time/wait_rollouts"] < 0.3, f"the pause is taken out of the share around it: {shares}"
    assert abs(sum(share for name, share in shares.items() if name != "time/step_s") - 1.0) < 1e-6
