"""What the generators of a fleet serve (a model folder, the version of its weights, a newer publication), and how a generator gets there.

A version that comes late, damaged or not at all says nothing about the generator: the pull is made again, and until it succeeds the
generator takes no groups. Only an engine that has failed costs a generator its life.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from actors.failures import RETRIES, EnginesDisagreeError, FailureKind, WorkerLostError, cause_of
from actors.fleet_losses import out_of_reach
from actors.generator import ProbeMismatchError
from actors.handles import Generator
from actors.pool_config import FleetTiming
from actors.weights import PullAck, VersionLostError, WeightManifest, WeightsNotDeliveredError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """A model folder, the version of the weights in it, and a newer publication if any."""

    model_dir: str
    version: int
    manifest: WeightManifest | None = None

    @property
    def newest_version(self) -> int:
        return self.version if self.manifest is None else self.manifest.version


def not_delivered(error: BaseException) -> bool:
    """Whether a pull failed before it touched the engine, or is still under way: pulling again is safe."""
    return isinstance(error, WeightsNotDeliveredError) or out_of_reach(error)


class FleetWeights:
    """The weights that are wanted now, and the way of one generator to them.

    Consumes:      publications (``want``).
    Waits for:     ``bring_up_to_date``: the pulls of one generator; a pause after one that failed; the next publication when the bytes of
                   this one are gone. ``lost``: a pull that finds the newest version gone.
    Unblocked by:  the generator's answer, its deadline; the next publication.
    Produces:      generators that serve the newest weights; word of a version that nobody can have any more.
    """

    def __init__(self, timing: FleetTiming) -> None:
        self._timing = timing
        self._wanted: Weights | None = None
        self._proven = -1  # the newest version whose probe a generator has passed
        self._changed = asyncio.Event()
        self._gone: WeightManifest | None = None
        self._is_gone = asyncio.Event()

    @property
    def known(self) -> bool:
        """Whether a model was ever named."""
        return self._wanted is not None

    @property
    def wanted(self) -> Weights:
        """Raises RuntimeError before there is a model."""
        if self._wanted is None:
            raise RuntimeError("the generators have no model yet: start(model_dir) or set_model(model_dir, version) comes first")
        return self._wanted

    def want_model(self, model_dir: str, version: int) -> None:
        self._change(Weights(model_dir, version))

    def want_version(self, manifest: WeightManifest) -> None:
        self._change(replace(self.wanted, manifest=manifest))

    def _change(self, wanted: Weights) -> None:
        self._wanted = wanted
        self._changed.set()
        self._changed = asyncio.Event()

    async def lost(self) -> WeightManifest:
        """Returns the newest version once a generator found that its bytes are gone: who has it not will never have it."""
        while True:
            await self._is_gone.wait()
            self._is_gone.clear()
            if self._gone is not None and self._gone is self.wanted.manifest:
                return self._gone

    async def pull(self, generator: Generator, manifest: WeightManifest, newcomer: bool = False) -> PullAck:
        """One pull. Raises what the generator raised, WorkerLostError when it acknowledged something else, or EnginesDisagreeError when a
        new engine, too, fails the probe of a version that no engine has passed."""
        try:
            ack = await generator.pull(manifest, self._timing.pull_s)
        except VersionLostError:
            self._gone = manifest
            self._is_gone.set()
            raise
        except ProbeMismatchError as error:
            if not newcomer or self._proven >= manifest.version:
                raise
            raise EnginesDisagreeError(
                f"no generator computes what the learner computes, and a new one neither. {cause_of(error)}. If the two formats differ, "
                "set generator.dtype to the learner's; if they agree, the model's code differs between learner and engine. "
                "generator.probe_tolerance sets another limit"
            ) from error
        if (ack.version, ack.digest) != (manifest.version, manifest.digest):
            raise WorkerLostError(f"acknowledged version {ack.version}, {manifest.version} was published")
        if ack.probe_error is not None:
            self._proven = max(self._proven, ack.version)
        return ack

    async def bring_up_to_date(
        self,
        generator: Generator,
        serves: Weights,
        idle: Callable[[], Awaitable[None]] | None = None,
        failed: tuple[Weights, Exception] | None = None,
    ) -> None:
        """Returns once ``generator``, which has ``serves``, serves the newest weights, however often they change or do not arrive.

        ``idle`` waits until it has nothing in flight, which a change of its model wants; None: a newcomer. ``failed``: a pull that was
        made already, and how it ended. Raises what says that the generator has failed.
        """
        failures = 0
        if failed is not None:
            failures = 1
            await self._before_next_pull(generator, *failed, failures)
        while True:
            wanted = self.wanted
            if (serves.model_dir, serves.version) != (wanted.model_dir, wanted.version):
                if idle is not None:
                    await idle()
                await generator.retask(wanted.model_dir, wanted.version, self._timing.start_s)
                serves = Weights(wanted.model_dir, wanted.version)
            if wanted.manifest is not None and wanted.manifest is not serves.manifest:
                try:
                    await self.pull(generator, wanted.manifest, newcomer=idle is None)
                except Exception as error:
                    if not not_delivered(error):
                        raise
                    failures += 1
                    await self._before_next_pull(generator, wanted, error, failures)
                    continue
                serves, failures = wanted, 0
            if wanted is self.wanted:
                return

    async def _before_next_pull(self, generator: Generator, tried: Weights, error: Exception, failures: int) -> None:
        """Waits for a pause or for the next publication, whichever comes first; when the bytes are gone, for the publication only."""
        gone = isinstance(error, VersionLostError)
        what = "waits for another one" if gone else "pulls again"
        log.warning("%s does not have version %d of the weights and %s: %s", generator.name, tried.newest_version, what, error)
        changed = self._changed
        if tried is not self.wanted:
            return
        try:
            async with asyncio.timeout(None if gone else RETRIES[FailureKind.INFRASTRUCTURE].delay_s(failures)):
                await changed.wait()
        except TimeoutError:
            pass
