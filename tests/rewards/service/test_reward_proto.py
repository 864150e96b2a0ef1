"""The committed stubs are those of the proto, the proto is tidy, and a change that would break clients is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path("rewards/service/v1")


@pytest.fixture
def buf():
    program = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if program is None:
        pytest.skip("buf is not installed (requirements/dev.txt has it)")

    def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False)

    return run


def test_the_committed_stubs_are_those_of_the_proto(tmp_path):
    pytest.importorskip("grpc_tools")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    command += [f"--grpc_python_out={tmp_path}", f"--descriptor_set_out={tmp_path / 'reward.binpb'}", str(FOLDER / "reward.proto")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240)
    made = {path.name: path.read_bytes() for path in [*(tmp_path / FOLDER).iterdir(), tmp_path / "reward.binpb"]}
    assert set(made) == {"reward_pb2.py", "reward_pb2.pyi", "reward_pb2_grpc.py", "reward.binpb"}
    for name, content in made.items():
        assert (ROOT / FOLDER / name).read_bytes() == content, f"{FOLDER / name} is not that of the proto; run `make stubs`"


def test_the_proto_is_tidy_and_breaks_no_client(buf):
    for arguments in (["lint"], ["breaking", "--against", str(FOLDER / "reward.binpb")]):
        result = buf(*arguments)
        assert result.returncode == 0, f"buf {' '.join(arguments)}:\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string reason = 2;", "string reason = 5;"),
        ("string completion = 2;", "bytes completion = 2;"),
        ("  rpc ListTasks(ListTasksRequest) returns (ListTasksResponse);\n", ""),
    ],
)
def test_a_change_that_would_break_clients_is_noticed(buf, tmp_path, old, new):
    text = (ROOT / FOLDER / "reward.proto").read_text()
    assert old in text
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "reward.proto").write_text(text.replace(old, new))
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    assert buf("breaking", "--against", str(ROOT / FOLDER / "reward.binpb"), folder=tmp_path).returncode != 0
