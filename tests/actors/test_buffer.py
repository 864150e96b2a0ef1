"""The windowed buffer: the age bound, liveness, strict synchrony at S = 0, and refusal of misuse."""

import asyncio
import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.buffer import BufferClosedError, BufferStalledError, StalenessError, WindowedBuffer


def simulate(
    groups: int, steps: int, fraction: float, seed: int, trivial: float, n_steps: int = 30, losses: float = 0.0, gone: float = 0.0
) -> tuple[WindowedBuffer[int], list[list[int]]]:
    """Discrete-event run: heavy-tailed generation times, a learner and a weight pull that take random time, and with probability
    ``losses`` a step that ends with the learner lost and set back to a random earlier version. With probability ``gone`` the tokens of a
    group that was taken turn out to be lost, and it is made again. Returns the seqs of the steps that stand."""
    rng = random.Random(seed)
    buffer: WindowedBuffer[int] = WindowedBuffer(groups, steps, fraction)
    events: list[tuple[float, int, str, object]] = []  # (time, tie-break, kind, payload)
    counter = iter(range(10**9))
    learner_version = pulled_version = life = 0
    learner_busy = False
    taken: list[list[int]] = []
    checkpoints = [(0, 0)]  # (version, steps that stand), once all slots of these steps are free
    is_trivial = {}

    def push(when: float, kind: str, payload: object) -> None:
        heapq.heappush(events, (when, next(counter), kind, payload))

    push(0.0, "wake", None)
    while events and len(taken) < n_steps:
        now, _, kind, payload = heapq.heappop(events)
        if kind == "generated":
            seq, version = payload
            if is_trivial[seq]:
                buffer.release(seq)
            else:
                buffer.complete(seq, seq, version)
        elif kind == "trained" and payload[0] == life:
            learner_busy = False
            learner_version += 1
            if rng.random() < losses:
                life += 1  # what the lost learner would still have published is never pulled
                kept, standing = rng.choice(checkpoints[-3:])
                learner_version += 1
                pulled_version = learner_version
                buffer.undo(kept, learner_version)
                checkpoints = [entry for entry in checkpoints if entry[0] <= kept]
                taken = taken[:standing]
            else:
                push(now + rng.expovariate(3.0), "pulled", (life, learner_version, payload[1]))
        elif kind == "pulled" and payload[0] == life:
            _, version, step = payload
            pulled_version = max(pulled_version, version)
            buffer.free(step)
            if version == learner_version and not buffer.counts()["taken"]:
                checkpoints.append((version, len(taken)))
        while (seq := buffer.try_acquire()) is not None:
            is_trivial[seq] = random.Random(f"{seed}/{seq}").random() < trivial
            push(now + rng.paretovariate(1.1), "generated", (seq, pulled_version))
        if not learner_busy and (step := buffer.try_take_step(learner_version)) is not None:
            lost = [entry.seq for entry in step if rng.random() < gone]
            if lost:
                buffer.give_back(step)
                for seq in lost:
                    buffer.lose(seq)
                push(now, "wake", None)
                continue
            taken.append([entry.seq for entry in step])
            learner_busy = True
            push(now + rng.expovariate(1.0), "trained", (life, step))
    return buffer, taken


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.floats(0.01, 1.0), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.7]))
def test_bound_holds_and_nothing_deadlocks_under_random_delays(groups: int, steps: int, fraction: float, seed: int, trivial: float) -> None:
    buffer, taken = simulate(groups, steps, fraction, seed, trivial)
    assert len(taken) == 30, f"the loops stopped after {len(taken)} steps although nothing was left to wait for: {buffer.counts()}"
    assert buffer.oldest_age_seen <= buffer.max_age
    flat = [seq for step in taken for seq in step]
    assert len(set(flat)) == len(flat), "a group was given out twice"
    assert all(step == sorted(step) for step in taken), "a step is not in submission order"


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.floats(0.01, 1.0), st.integers(0, 10**6), st.sampled_from([0.0, 0.4]))
def test_bound_holds_when_the_learner_is_lost_again_and_again(groups: int, steps: int, fraction: float, seed: int, trivial: float) -> None:
    buffer, taken = simulate(groups, steps, fraction, seed, trivial, losses=0.1)
    assert len(taken) == 30, f"the loops stopped after {len(taken)} steps although nothing was left to wait for: {buffer.counts()}"
    assert buffer.oldest_age_seen <= buffer.max_age, "a group older than the bound was given out after a loss"
    flat = [seq for step in taken for seq in step]
    assert len(set(flat)) == len(flat), "a group was trained on twice in the history that stands"


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(0, 3),
    st.floats(0.01, 1.0),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.4]),
    st.sampled_from([0.0, 0.1]),
)
def test_bound_holds_when_groups_are_lost_before_they_are_trained_on(
    groups: int, steps: int, fraction: float, seed: int, trivial: float, losses: float
) -> None:
    buffer, taken = simulate(groups, steps, fraction, seed, trivial, losses=losses, gone=0.1)
    assert len(taken) == 30, f"the loops stopped after {len(taken)} steps although nothing was left to wait for: {buffer.counts()}"
    assert buffer.oldest_age_seen <= buffer.max_age, "a group older than the bound was given out after a loss"
    flat = [seq for step in taken for seq in step]
    assert len(set(flat)) == len(flat), "a group was trained on twice in the history that stands"
    assert all(step == sorted(step) for step in taken), "a step is not in submission order"


def test_a_lost_group_is_made_again_in_its_place_and_the_others_wait() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(2, 0)
    for name in "ab":
        buffer.complete(buffer.try_acquire(), name, oldest_version=4)
    step = buffer.try_take_step(4)
    buffer.give_back(step)
    buffer.lose(0)
    assert buffer.try_take_step(4) is None and buffer.counts()["lost"] == 1
    assert buffer.try_acquire() == 0, "the slot of the lost group is filled again"
    assert buffer.try_acquire() is None, "and no other was freed"
    buffer.complete(0, "a again", oldest_version=4)
    assert [one.item for one in buffer.try_take_step(4)] == ["a again", "b"], "in submission order, as if nothing had happened"
    with pytest.raises(RuntimeError, match="slot 0 is TAKEN"):
        buffer.lose(0)


def test_a_step_that_is_given_back_uses_up_nobodys_window() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(1, 3, 0.5)  # B = 4, W = 2: one may overtake
    straggler, other, *_ = [buffer.try_acquire() for _ in range(4)]
    buffer.complete(other, "b", 0)
    for _ in range(3):
        (taken,) = buffer.try_take_step(0)
        buffer.give_back([taken])
    buffer.lose(other)
    assert buffer.try_acquire() == other
    buffer.complete(other, "b again", 0)
    assert [one.item for one in buffer.try_take_step(0)] == ["b again"], "it overtakes once, however often it was taken before"
    buffer.complete(straggler, "late", 0)
    assert [one.item for one in buffer.try_take_step(1)] == ["late"]


def test_groups_of_a_lost_step_are_given_out_again_in_their_order() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(2, 1, 1.0)
    for name in "abcd":
        buffer.complete(buffer.try_acquire(), name, oldest_version=0)
    buffer.try_take_step(0)
    buffer.try_take_step(1)
    assert buffer.undo(0, 3) == ["a", "b", "c", "d"], "the step in training and the one not yet freed are both undone"
    assert [(one.item, one.age) for one in buffer.try_take_step(3)] == [("a", 0), ("b", 0)], "versions 1 to 3 are no training steps"
    assert [(one.item, one.age) for one in buffer.try_take_step(4)] == [("c", 1), ("d", 1)]


def test_a_version_that_was_published_again_for_its_lost_bytes_makes_nothing_older() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(1, 1, 1.0)
    for name in "ab":
        buffer.complete(buffer.try_acquire(), name, oldest_version=0)
    buffer.republished(1)
    assert [(one.item, one.age) for one in buffer.try_take_step(1)] == [("a", 0)]
    assert [(one.item, one.age) for one in buffer.try_take_step(2)] == [("b", 1)], "version 2 is a step's"


def test_bound_is_tight_enough_to_be_reached() -> None:
    reached = max(simulate(4, 1, 1.0, seed, 0.0)[0].oldest_age_seen for seed in range(40))
    assert reached == WindowedBuffer[int](4, 1, 1.0).max_age, "no run came near the bound: is the window used at all?"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6), st.sampled_from([0.0, 0.4]))
def test_synchronous_steps_do_not_depend_on_timing(groups: int, seed: int, trivial: float) -> None:
    rng = random.Random(seed)

    def steps_under(order: random.Random) -> tuple[list[list[int]], list[list[int]]]:
        buffer: WindowedBuffer[int] = WindowedBuffer(groups, 0)
        out, gone = [], []
        for version in range(8):
            pending: list[int] = []
            released: list[int] = []
            while (step := buffer.try_take_step(version)) is None:
                while (seq := buffer.try_acquire()) is not None:
                    pending.append(seq)
                seq = pending.pop(order.randrange(len(pending)))
                if random.Random(f"{seed}/{seq}").random() < trivial:
                    buffer.release(seq)
                    released.append(seq)
                else:
                    buffer.complete(seq, seq, version)
            assert not pending, "a synchronous step left groups behind that would be off-policy in the next one"
            out.append([entry.seq for entry in step])
            gone.append(sorted(released))
            assert buffer.try_acquire() is None, "a group was submitted before the new weights were pulled"
            buffer.free(step)
        return out, gone

    assert steps_under(random.Random(rng.random())) == steps_under(random.Random(rng.random()))


def test_a_group_is_overtaken_by_at_most_window_minus_one_younger_ones() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(1, 3, 0.75)  # B = 4, W = 3
    straggler, *others = [buffer.try_acquire() for _ in range(4)]
    for seq in others:
        buffer.complete(seq, "x", 0)
    assert [buffer.try_take_step(0)[0].seq, buffer.try_take_step(1)[0].seq] == others[:2]
    assert buffer.try_take_step(2) is None, "a third group overtook the straggler although the window is 3"
    buffer.complete(straggler, "late", 0)
    assert buffer.try_take_step(2)[0].seq == straggler


def test_a_released_group_gives_its_slot_back_at_once() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(3, 0)
    for _ in range(3):
        buffer.try_acquire()
    buffer.release(2)
    buffer.release(0)
    assert buffer.counts() == {"generating": 1, "ready": 0, "taken": 0, "free": 2}


def test_a_group_older_than_the_bound_stops_the_run() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(1, 0)
    buffer.complete(buffer.try_acquire(), "x", oldest_version=4)
    with pytest.raises(StalenessError, match="1 versions old"):
        buffer.try_take_step(5)


def test_completing_releasing_or_freeing_twice_is_refused() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(1, 0)
    seq = buffer.try_acquire()
    buffer.complete(seq, "x", 0)
    with pytest.raises(RuntimeError, match="READY, expected GENERATING"):
        buffer.complete(seq, "x", 0)
    step = buffer.try_take_step(0)
    with pytest.raises(RuntimeError, match="TAKEN"):
        buffer.release(seq)
    buffer.free(step)
    with pytest.raises(RuntimeError, match="not occupied"):
        buffer.free(step)


@pytest.mark.asyncio
async def test_waits_end_when_slots_or_groups_appear_and_when_closed() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(2, 0)
    assert [await buffer.acquire(), await buffer.acquire()] == [0, 1]
    third = asyncio.create_task(buffer.acquire())
    step = asyncio.create_task(buffer.take_step(0))
    await asyncio.sleep(0)
    assert not third.done() and not step.done()
    for seq in (1, 0):
        buffer.complete(seq, str(seq), 0)
    taken = await step
    assert [entry.item for entry in taken] == ["0", "1"]
    assert not third.done(), "a slot was given out before the step was freed"
    buffer.free(taken)
    assert await third == 2
    waiting = asyncio.create_task(buffer.take_step(1))
    await asyncio.sleep(0)
    buffer.close()
    with pytest.raises(BufferClosedError):
        await waiting


@pytest.mark.asyncio
async def test_a_wait_past_its_deadline_says_what_the_slots_were_doing() -> None:
    buffer: WindowedBuffer[str] = WindowedBuffer(2, 0)
    await buffer.acquire()
    with pytest.raises(BufferStalledError, match=r"1 generating.*oldest unfinished group: 0"):
        await buffer.take_step(0, timeout_s=0.01)
