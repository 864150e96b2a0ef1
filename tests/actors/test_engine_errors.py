"""What an engine says when vLLM ends a request in a way that has no samples. No vLLM here."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from actors.engine import Engine, EngineFailedError, ModelFacts
from actors.engine_load import EngineLoad
from actors.generator_config import GeneratorConfig


def test_a_request_that_ended_before_its_first_token_is_a_failed_engine_and_no_key_error(tmp_path: Path) -> None:
    engine = Engine(cast("Any", None), GeneratorConfig(), tmp_path, ModelFacts((1,), 8), 0, EngineLoad())
    with pytest.raises(EngineFailedError, match="before its first token"):
        engine._spans(cast("Any", SimpleNamespace(kv_transfer_params=None)))


async def test_an_engine_that_has_to_be_killed_leaves_no_zombie(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=signal.pause)
    child.start()
    assert child.pid is not None
    (tmp_path / "engine").mkdir()
    llm = SimpleNamespace(shutdown=lambda timeout: os.kill(cast("int", child.pid), signal.SIGKILL))
    await Engine(cast("Any", llm), GeneratorConfig(), tmp_path / "engine", ModelFacts((1,), 8), 0, EngineLoad()).stop()
    assert not psutil.pid_exists(child.pid)
