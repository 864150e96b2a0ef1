"""Nodes that have a run directory of their own under the same name are found before anything is loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.shared_directory import FOLDER, NotSharedError, look, require_shared


class Nodes:
    """Nodes that see ``shared``, or a folder of their own of the same name."""

    def __init__(self, shared: Path, **own: Path) -> None:
        self.shared, self.own = shared, own

    async def ask(self, node: str) -> tuple[str, str]:
        folder = self.own.get(node, self.shared) / FOLDER
        token = (self.shared / FOLDER / "driver").read_text()
        _, problem = await asyncio.to_thread(look, str(folder), node, token, 0.0)
        return f"host-of-{node}", problem


async def test_nodes_that_share_the_directory_pass_and_leave_nothing_there(tmp_path: Path) -> None:
    await require_shared(tmp_path, ["a", "b"], Nodes(tmp_path).ask, 0.0)
    assert not list(tmp_path.iterdir())


async def test_a_node_with_a_directory_of_its_own_is_named(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    nodes = Nodes(tmp_path / "shared", b=tmp_path / "of-b")
    with pytest.raises(NotSharedError, match=r"host-of-b does not see.*run\.root") as refused:
        await require_shared(tmp_path / "shared", ["a", "b"], nodes.ask, 0.0)
    assert "host-of-a" not in str(refused.value) and "\n" not in str(refused.value)
    assert not list((tmp_path / "shared").iterdir()), "nothing is left there"


async def test_a_snapshot_that_a_node_writes_into_alone_is_noticed(tmp_path: Path) -> None:
    """It reads the driver's token (an overlay, a copy) and its own writes go elsewhere."""
    (tmp_path / "shared").mkdir()

    async def ask(node: str) -> tuple[str, str]:
        copy = tmp_path / f"copy-of-{node}"
        copy.mkdir()
        token = (tmp_path / "shared" / FOLDER / "driver").read_text()
        (copy / "driver").write_text(token)
        return f"host-of-{node}", (await asyncio.to_thread(look, str(copy), node, token, 0.0))[1]

    with pytest.raises(NotSharedError, match="what host-of-a writes there is not seen here"):
        await require_shared(tmp_path / "shared", ["a"], ask, 0.0)


def test_a_node_that_cannot_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "driver").write_text("token")
    (tmp_path / "a").mkdir()  # where its token would go
    host, problem = look(str(tmp_path), "a", "token", 0.0)
    assert host and "cannot write there" in problem


async def test_one_node_that_is_the_drivers_own_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Context:
        def get_node_id(self) -> str:
            return "own"

    monkeypatch.setattr("ray.get_runtime_context", Context)
    await require_shared(tmp_path, ["own"])
    assert not list(tmp_path.iterdir())
