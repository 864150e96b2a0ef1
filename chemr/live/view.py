"""A run's folder, looked at again and again: its configuration, its new records, and whether it goes on."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from rich.console import RenderableType

from chemr.conf_files import ConfFileError
from chemr.finished_run import CONFIG, stored_config
from chemr.live.frame import frame
from chemr.live.liveness import Life, Watcher
from chemr.live.progress import StagePlan, plan_of
from chemr.live.run_state import RunState
from chemr.live.tail import LinesTail, is_metrics
from chemr.run_notes import NOTES, is_note

KEPT_NOTES = 3


class LiveView:
    """What is known of the run. :meth:`look` brings it up to date; nothing is read twice."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.state = RunState()
        self.life = Life.not_begun
        self.plan: list[StagePlan] = []
        self._watcher = Watcher(run)
        self.notes: deque[str] = deque(maxlen=KEPT_NOTES)  # what the run told people, newest last
        self._tail = LinesTail(run / "metrics.jsonl", is_metrics)
        self._noted = LinesTail(run / NOTES, is_note)
        self._generation = 0
        self._config_at = 0  # mtime of what was read, ns

    @property
    def damaged(self) -> int:
        """Lines of the metrics that are no records."""
        return self._tail.damaged

    def look(self) -> None:
        """Raises OSError when a file of the run cannot be read."""
        self._read_config()
        # The end is seen before the last records are read, so that none of them is missed.
        life = self._watcher.look(self.state.time)
        for record in self._tail.read():
            self._begin_again_if_rewound()
            self.state.fold(record)
        self._begin_again_if_rewound()
        self.notes.extend(" ".join(note["text"].split()) for note in self._noted.read())
        self.life = life

    def picture(self, width: int, height: int) -> RenderableType:
        return frame(self.run, self.plan, self.state, self.life, self.damaged, width, height, list(self.notes))

    def close(self) -> None:
        self._tail.close()
        self._noted.close()

    def _begin_again_if_rewound(self) -> None:
        if self._tail.generation != self._generation:  # the run went back to a checkpoint
            self._generation = self._tail.generation
            self.state = RunState()

    def _read_config(self) -> None:
        path = self.run / CONFIG
        try:
            changed = path.stat().st_mtime_ns
            if changed == self._config_at:
                return
            self.plan = plan_of(stored_config(self.run) or {})
        except (FileNotFoundError, ConfFileError):
            return  # not there yet, or half-written: the next look reads it
        self._config_at = changed
