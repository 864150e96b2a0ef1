"""What the GRPO loops share and a checkpoint keeps: the ledger, the prompt source with its curriculum, and the stage's totals."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actors.buffer import Taken, WindowedBuffer
from actors.failures import RETRIES, FailureKind, GroupDropped, GroupsLost
from actors.ledger import Ledger
from chemr.checkpoints import storage_failure
from chemr.config import Stage
from chemr.curriculum.outcome import Outcome
from chemr.engine_agreement import judge_agreement
from chemr.graded_group import GradedGroup
from chemr.harvest import Harvest
from chemr.prompt_source import PromptSource
from chemr.run_stopped import RunStopped
from chemr.stages.barren_groups import BarrenGroups, bound
from chemr.stages.grpo_metrics import StepRecorder
from chemr.trajectory_log import TrajectoryLog

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


class NothingScored(RunStopped):
    """Group after group is given up: something is wrong with every prompt, and going on would only spin."""


class GrpoState:
    """Bookkeeping of the stage. Every prompt that is asked is settled exactly once, by ``graded``, ``failed`` or ``trained``."""

    def __init__(self, run: TrainingRun, source: PromptSource) -> None:
        config = run.config.grpo
        self._run = run
        self.ledger = Ledger()
        self.source = source
        self.buffer: WindowedBuffer[GradedGroup] = WindowedBuffer(config.groups_per_step, config.off_policy_steps, config.window_fraction)
        self.recorder = StepRecorder(run, self.buffer, self.ledger)
        self.trajectories = TrajectoryLog(run.directory.path / "trajectories", run.tokenizer, config.sample_every)
        self.harvest = Harvest(run.directory.path / "harvest" / f"{Stage.grpo}.jsonl", config.harvest, run.config.run.seed)
        self.barren = BarrenGroups(bound(config.max_barren_groups, config.groups_per_step), config.groups_per_step)
        self._failures_in_a_row = 0
        self._engine_judged = False
        # (step, uids) of the steps that the checkpoints on disk may lack.
        self._trained: deque[tuple[int, list[str]]] = deque(maxlen=run.config.run.keep_checkpoints * config.checkpoint_every)
        self._outcomes: list[Outcome] = []  # what the samplers have not been told yet
        self._told: set[str] = set()  # submissions that are asked again, of which they have been told
        if run.state.stage_state:
            self._load_state_dict(run.state.stage_state)
        self._again = list(self.ledger.in_flight)  # what the checkpoint was still waiting for is asked first

    def next_prompt(self) -> str:
        """The name of the next submission, entered in the ledger."""
        if self._again:
            return self._again.pop(0)
        uid = self.ledger.next_uid(self.source.draw())
        self.ledger.submit(uid)
        return uid

    def wants_texts(self, uid: str) -> bool:
        """Whether this group's texts should come to the driver: as a sample for people to read, or to be harvested."""
        claimed = self.trajectories.claim(uid)
        return self.harvest.wants(uid) or claimed

    def groups_in_flight(self) -> int:
        """Groups that are being generated or scored."""
        return self.buffer.counts()["generating"]

    def graded(self, seq: int, group: GradedGroup) -> None:
        """A group came back: into the buffer, or out of the books with a reason when it teaches nothing.

        Raises:
            NothingTaught: too many did not since the last step.
        """
        self._failures_in_a_row = 0
        oldest = group.scored.meta.oldest_version
        if group.success is not None and group.uid not in self._told:
            self._outcomes.append(Outcome(group.uid, group.task, group.success, group.abs_advantage, oldest, group.trivial))
        self._told.discard(group.uid)
        self.recorder.graded(group)
        self.trajectories.add(group)
        self.harvest.add(group)
        if group.untrainable:
            self._drop(seq, group.uid, group.untrainable)
            if (note := self.barren.add(group)) is not None:
                self._run.display.note(note)
        else:
            self.buffer.complete(seq, group, oldest)

    def failed(self, seq: int, failure: GroupDropped) -> None:
        """A group was given up after its tries.

        Raises:
            NothingScored: so were all groups before it, for two buffers' worth of groups.
        """
        self._failures_in_a_row += 1
        self._drop(seq, failure.uid, failure.reason)
        if self._failures_in_a_row >= 2 * self.buffer.capacity:
            raise NothingScored(f"the last {self._failures_in_a_row} groups were all given up; the newest: {failure}")

    def lost(self, step: Sequence[Taken[GradedGroup]], loss: GroupsLost) -> None:
        """The tokens of groups of this step were lost with their node before it was trained: they are asked again, each in its slot and
        under its name, and the others wait. A group to which that happens as often as to any failure of a machine is dropped.
        """
        self.buffer.give_back(step)
        gone = [step[index] for index in loss.indices]
        again: list[str] = []
        for seq, group in ((one.seq, one.item) for one in gone):
            untold = [outcome for outcome in self._outcomes if outcome.uid != group.uid]
            if group.success is not None and len(untold) == len(self._outcomes):
                self._told.add(group.uid)
            self._outcomes = untold
            self.recorder.lost(group)
            if self.ledger.lose(group.uid) >= RETRIES[FailureKind.INFRASTRUCTURE].tries:
                self._drop(seq, group.uid, FailureKind.INFRASTRUCTURE.value)
            else:
                self.buffer.lose(seq)
                again.append(group.uid)
        self._again = again + self._again
        self.ledger.assert_balanced()
        given_up = f", {len(gone) - len(again)} are given up" if len(again) < len(gone) else ""
        self._run.display.note(f"{Stage.grpo}: {loss}; {len(again)} are asked again{given_up}")

    def _drop(self, seq: int, uid: str, reason: str) -> None:
        self.ledger.drop(uid, reason)
        self.buffer.release(seq)
        self._told.discard(uid)

    def judge_engine(self, taken: Sequence[Taken[GradedGroup]], trained: Mapping[str, float]) -> None:
        """Once, on the first step of this process in which nothing is older than the learner.

        Raises:
            EngineDisagrees: see there.
        """
        if self._engine_judged or any(one.age for one in taken):
            return
        self._engine_judged = True
        config = self._run.config.grpo
        if warning := judge_agreement(trained, config.mismatch_warn, config.mismatch_stop):
            self._run.display.note(warning)

    def say_if_skipped(self, trained: Mapping[str, float]) -> None:
        """A step that changed no weight, or not all that it could have: nobody should find out from a flat curve."""
        if skipped := int(trained.get("train/skipped_updates", 0)):
            masked, rejected = trained.get("train/masked_fraction"), int(trained.get("train/rejected_samples", 0))
            causes = [] if masked is None else [f"{masked:.0%} of the tokens masked by grpo.algo.correction"]
            causes += [f"{rejected} answers with log-probs that are no numbers"] if rejected else []
            self._run.display.note(
                f"{skipped} of {self._run.config.grpo.algo.updates_per_step} updates skipped, as no token had anything to teach "
                f"({', '.join(causes) or 'no answer was better than the others of its group'}); if it goes on, widen the correction's band "
                "or lower grpo.off_policy_steps"
            )

    def trained(self, step: int, groups: list[GradedGroup]) -> None:
        """The step is done: settle its prompts and tell the samplers what came back since the last one.

        They are told in submission order, whatever the order of completion: at S = 0 they are functions of the seed alone.
        """
        self.ledger.train(group.uid for group in groups)
        self.ledger.assert_balanced()
        self._trained.append((step, [group.uid for group in groups]))
        outcomes = sorted(self._outcomes, key=lambda outcome: outcome.number)
        for notice in self.source.learn(outcomes, self._run.state.version):
            self._run.display.note(f"curriculum: {notice.text}")
        self._outcomes.clear()
        self.barren.clear()

    def can_undo(self, kept: Mapping[str, Any]) -> bool:
        """Whether this process knows what was trained since the checkpoint whose state is ``kept``."""
        first = self._trained[0][0] if self._trained else self._run.state.stage_step + 1
        return bool(kept["stage"] == self._run.state.stage and first <= int(kept["stage_step"]) + 1)

    def undo(self, kept: Mapping[str, Any], restored_version: int) -> tuple[int, int]:
        """The learner is back at a checkpoint whose state is ``kept``, and its weights were published as ``restored_version``.

        What was trained since is in flight again: groups still in the buffer wait there for the learner, the others are asked again
        first. Returns the numbers of both.
        """
        lost = [uid for step, uids in self._trained if step > int(kept["stage_step"]) for uid in uids]
        while self._trained and self._trained[-1][0] > int(kept["stage_step"]):
            self._trained.pop()
        self.ledger.undo(lost)
        back = {group.uid for group in self.buffer.undo(int(kept["version"]), restored_version)}
        again = [uid for uid in lost if uid not in back]
        self._again = again + self._again
        self._told.update(again)
        self.recorder.rewind(kept["stage_state"].get("recorder", {}))
        self.ledger.assert_balanced()
        return len(back), len(again)

    def settle(self) -> dict[str, Any]:
        """After the last step: whatever is in flight will not be trained on, and the ledger says so. Returns the final state."""
        for uid in self.ledger.in_flight:
            self.ledger.drop(uid, "stage_end")
        self.ledger.assert_balanced()
        self.keep_harvest()
        harvested = {"harvested": len(self.harvest)} if self.harvest.on else {}
        return self.state_dict() | {"summary": self.recorder.summary() | harvested}

    def keep_harvest(self) -> None:
        """Write the harvest, beside every checkpoint. When the storage fails it is kept for the next one."""
        try:
            self.harvest.write()
        except OSError as error:
            reason = storage_failure(error, self._run.directory.path)
            if not reason:
                raise
            self._run.display.note(f"{self.harvest.path} was NOT written: {reason}. Training goes on")

    def state_dict(self) -> dict[str, Any]:
        # Only groups that were given back are told to the samplers after a resume; the others are asked and graded again.
        waiting = set(self.ledger.in_flight)
        return {
            "ledger": self.ledger.state_dict(),
            "source": self.source.state_dict(),
            "recorder": self.recorder.state_dict(),
            "outcomes": [outcome for outcome in self._outcomes if outcome.uid not in waiting],
            "barren": self.barren.state_dict(),
            "version": self._run.state.version,
        }

    def _load_state_dict(self, state: dict[str, Any]) -> None:
        self.ledger.load_state_dict(state["ledger"])
        self.source.load_state_dict(state["source"])
        self.recorder.load_state_dict(state["recorder"])
        self.barren.load_state_dict(state.get("barren", {}))
        # The weights of the checkpoint have a new version here: what they wrote is no older for it.
        newer = self._run.state.version - state.get("version", self._run.state.version)
        outcomes = (Outcome(*outcome) for outcome in state["outcomes"])
        self._outcomes = [outcome._replace(oldest_version=outcome.oldest_version + newer) for outcome in outcomes]
