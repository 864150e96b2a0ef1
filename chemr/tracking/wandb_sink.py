"""Weights & Biases as a copy of ``metrics.jsonl``: offline without a key, and never a reason for a run to stop.

wandb drops a record whose ``step`` is smaller than the one before, silently. So its own step is not used: our step is logged as a value
and every family of metrics (``train/*``, ``eval/*``, …) is defined over it.
"""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

from chemr.tracking.config import TrackingConfig, WandbMode

log = logging.getLogger(__name__)
Result = TypeVar("Result")

START_TIMEOUT_S = 20.0  # an unreachable server costs this once, then the run is recorded offline
FINISH_TIMEOUT_S = 30.0  # a server that went away must not hold a finished run


class WandbSink:
    """One W&B run. After the first failure every method does nothing."""

    def __init__(self, run: Any, failures: tuple[type[Exception], ...]) -> None:
        self._run = run
        self._failures = failures
        self._families: set[str] = set()
        self.run_id: str = run.id

    @classmethod
    def start(cls, run_dir: Path, config: TrackingConfig, resolved_config: Mapping[str, Any], run_id: str | None) -> WandbSink | None:
        """Start a W&B run, or continue ``run_id``; None (after a warning that says why) when wandb cannot be used here."""
        try:
            import wandb

            failures = _failures()
        except ImportError as error:
            log.warning("W&B is not used: %s. Install wandb, or set tracking.wandb=off", error)
            return None
        mode = choose_mode(config.wandb, os.environ)
        if mode is None:
            return None
        if config.wandb is WandbMode.online and mode == "offline":
            log.warning(
                "tracking.wandb=online, but there is no W&B key (WANDB_API_KEY or `wandb login`): recording offline under %s", run_dir
            )
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, init_timeout=START_TIMEOUT_S, finish_timeout=FINISH_TIMEOUT_S
        )
        for attempt in dict.fromkeys((mode, "offline")):
            try:
                run = wandb.init(
                    dir=str(run_dir),
                    project=config.project,
                    name=config.run_name or run_dir.resolve().name,
                    group=config.group,
                    config=dict(resolved_config),
                    id=run_id,
                    resume="allow" if run_id else None,
                    mode=attempt,  # type: ignore[arg-type]  # "online" | "offline"
                    settings=settings,
                )
                sink = cls(run, failures)
                run.define_metric("step", hidden=True)
                run.define_metric("elapsed_s", step_metric="step")
                return sink
            except failures as error:
                log.warning("W&B could not start %s: %s", attempt, _one_line(error))
        log.warning("W&B is not used in this run; metrics.jsonl has everything")
        return None

    def log(self, step: int, elapsed_s: float, metrics: Mapping[str, float | str]) -> None:
        """Copy one record."""

        def write(run: Any) -> None:
            for family in {name.split("/", 1)[0] for name in metrics if "/" in name} - self._families:
                run.define_metric(f"{family}/*", step_metric="step")
                self._families.add(family)
            run.log({**metrics, "step": step, "elapsed_s": elapsed_s})

        self._guarded("log", write)

    def summary(self, values: Mapping[str, float | str]) -> None:
        """Set the run's summary values."""
        self._guarded("summary", lambda run: run.summary.update(dict(values)))

    def finish(self, exit_code: int) -> None:
        """Upload what is left, within :data:`FINISH_TIMEOUT_S`, and end wandb's own processes."""
        import wandb

        self._guarded("finish", lambda run: run.finish(exit_code=exit_code))
        self._run = None
        try:
            wandb.teardown(exit_code)
        except self._failures as error:
            log.warning("W&B did not end cleanly: %s", _one_line(error))

    def _guarded(self, what: str, call: Callable[[Any], Result]) -> None:
        if self._run is None:
            return
        try:
            call(self._run)
        except self._failures as error:
            self._run = None
            log.warning("W&B failed in %s and is not used any more in this run (metrics.jsonl goes on): %s", what, _one_line(error))


def choose_mode(asked: WandbMode, environment: Mapping[str, str]) -> str | None:
    """``"online"``, ``"offline"`` or None (not at all).

    ``WANDB_MODE`` decides for ``auto``, as wandb's users expect. Online needs a key; without one it is offline.
    """
    if asked is WandbMode.off:
        return None
    wish = str(asked)
    if asked is WandbMode.auto:
        wish = environment.get("WANDB_MODE", "online").strip().lower()
        if wish in ("disabled", "dryrun"):
            return None if wish == "disabled" else "offline"
    return "online" if wish != "offline" and has_key(environment) else "offline"


def has_key(environment: Mapping[str, str]) -> bool:
    """Is there an API key, in ``WANDB_API_KEY`` or in the netrc file that ``wandb login`` writes? The key itself is not looked at."""
    if environment.get("WANDB_API_KEY"):
        return True
    host = urlparse(environment.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    file = Path(environment.get("NETRC") or Path(environment.get("HOME", "~")).expanduser() / ".netrc")
    try:
        return netrc.netrc(str(file)).hosts.get(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _failures() -> tuple[type[Exception], ...]:
    """What wandb raises when its service, its files or its network fail. A mistake of ours (TypeError, …) is not among them."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError, WandbAttachFailedError
    from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

    return (
        wandb.Error,
        OSError,  # a full disk, a broken pipe, a refused connection, a time-out
        HandleAbandonedError,
        MailboxClosedError,
        ServerResponseError,
        WandbApiFailedError,
        WandbAttachFailedError,
        WandbServiceConnectionError,
    )


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
