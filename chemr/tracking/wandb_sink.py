"""Weights & Biases as a copy of ``metrics.jsonl``: offline without a key, and never a reason for a run to stop.

wandb drops a record whose ``step`` is smaller than the one before, silently. So its own step is not used: our step is logged as a value
and every family of metrics (``train/*``, ``eval/*``, …) is defined over it.
"""

from __future__ import annotations

import json
import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from chemr.tracking.alerts import Alert
from chemr.tracking.config import ArtifactMode, TrackingConfig, WandbMode
from chemr.tracking.mirror import one_line
from chemr.tracking.sink import Folder, Record

log = logging.getLogger(__name__)

COMPLETIONS = "completions"
TITLE_CHARS = 63  # of an alert
START_TIMEOUT_S = 20.0  # an unreachable server costs this once, then the run is recorded offline
FINISH_TIMEOUT_S = 30.0  # a server that went away must not hold a finished run


class WandbSink:
    """One W&B run."""

    def __init__(self, run: Any, failures: tuple[type[Exception], ...], config: TrackingConfig) -> None:
        self._run = run
        self._config = config
        self._families: set[str] = set()
        self._table: Any = None
        self.failures = failures
        run.define_metric("step", hidden=True)
        run.define_metric("time", hidden=True)
        for name in ("elapsed_s", COMPLETIONS):
            run.define_metric(name, step_metric="step")

    @classmethod
    def start(cls, run_dir: Path, config: TrackingConfig, shown_config: Mapping[str, Any], run_id: str, resumed: bool) -> WandbSink | None:
        """Start the W&B run ``run_id``, or continue it; None (after a warning that says why) when wandb cannot be used here."""
        try:
            import wandb

            failures = wandb_failures()
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
                    job_type=config.job_type,
                    tags=list(config.tags) or None,
                    config=dict(shown_config),
                    id=run_id,
                    resume="allow" if resumed else None,
                    mode=attempt,  # type: ignore[arg-type]  # "online" | "offline"
                    settings=settings,
                )
                return cls(run, failures, config)
            except failures as error:
                log.warning("W&B could not start %s: %s", attempt, one_line(error))
                _teardown(failures)  # its service would refuse the next attempt: the run's id is in use
        log.warning("W&B is not used in this run; metrics.jsonl has everything")
        return None

    def record(self, record: Record) -> None:
        self._define(record.metrics)
        self._run.log({**record.metrics, "step": record.step, "time": record.wall, "elapsed_s": record.elapsed_s})

    def distributions(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        import wandb

        self._define(values)
        self._run.log({name: wandb.Histogram(list(numbers)) for name, numbers in values.items()} | {"step": step})

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows to the run's one table, of which each call sends the new rows only."""
        import wandb
        from PIL import Image  # comes with RDKit

        from chemr.tracking.completions import COLUMNS, DRAWN, cells
        from chemr.tracking.molecule_drawings import drawings

        if self._table is None:
            types = [wandb.Image if name in DRAWN else COLUMNS[name] for name in COLUMNS]
            self._table = wandb.Table(columns=list(COLUMNS), dtype=types, optional=True, log_mode="INCREMENTAL")
        table = [cells(step, row) for row in rows]
        pictures = drawings({shown[name] for shown in table for name in DRAWN if shown[name] is not None})
        for shown in table:
            for name in DRAWN:
                picture = pictures.get(shown[name])
                shown[name] = None if picture is None else wandb.Image(Image.open(BytesIO(picture)))
            self._table.add_data(*(shown[name] for name in COLUMNS))
        self._run.log({COMPLETIONS: self._table, "step": step})

    def alert(self, step: int, alert: Alert) -> None:
        self._run.alert(f"{alert.kind} {alert.subject}".strip()[:TITLE_CHARS], f"step {step}: {alert.text}", level="WARN")

    def data(self, description: Mapping[str, Any]) -> None:
        """The input of the run. Runs on the same rows share a version of the artifact, since its content is the same."""
        import wandb

        artifact = wandb.Artifact(f"data-{description['kind'] or 'rows'}", "dataset", metadata=dict(description))
        with artifact.new_file("data.json") as file:
            json.dump(description, file, indent=2, sort_keys=True, default=str)
        # Not use_artifact(): offline it refuses, and online it waits for the server without a limit. This is what it does besides.
        try:
            self._run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
        except (AttributeError, TypeError):  # it is wandb's own business; then the rows are shown as an output
            self._run.log_artifact(artifact)

    def folder(self, folder: Folder) -> None:
        """An output of the run. A folder that cannot be read costs its artifact only."""
        import wandb

        mode = self._config.artifacts.model if folder.kind == "model" else self._config.artifacts.checkpoints
        artifact = wandb.Artifact(f"{folder.kind}-{self._run.id}", folder.kind, metadata={**folder.metadata, "step": folder.step})
        try:
            if mode is ArtifactMode.reference:
                artifact.add_reference(folder.path.resolve().as_uri())
            else:
                # A checkpoint is removed while it is still being sent, so it is copied first; the model stays.
                artifact.add_dir(str(folder.path), policy="immutable" if folder.kind == "model" else "mutable")
            self._run.log_artifact(artifact, aliases=["latest", f"step-{folder.step}"])
        except (OSError, ValueError) as error:
            log.warning("W&B did not get the %s of step %d: %s", folder.kind, folder.step, one_line(error))

    def rewind(self, step: int) -> None:
        """W&B cannot forget: it shows both passes over the steps."""

    def summary(self, values: Mapping[str, float | str]) -> None:
        self._run.summary.update(dict(values))

    def finish(self, exit_code: int) -> None:
        """Upload what is left, within :data:`FINISH_TIMEOUT_S`, and end wandb's own processes."""
        import wandb

        self._run.finish(exit_code=exit_code)
        wandb.teardown(exit_code)

    def abandon(self) -> None:
        _teardown(self.failures)

    def _define(self, names: Mapping[str, Any]) -> None:
        for family in {name.split("/", 1)[0] for name in names if "/" in name} - self._families:
            self._run.define_metric(f"{family}/*", step_metric="step")
            self._families.add(family)


def _teardown(failures: tuple[type[Exception], ...]) -> None:
    """End wandb's own processes after a failure."""
    import wandb

    try:
        wandb.teardown(1)
    except failures as error:
        log.warning("W&B did not end cleanly: %s", one_line(error))


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


def wandb_failures() -> tuple[type[Exception], ...]:
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
