"""The committed stubs are those of the control proto, and a change that would break clients is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path("actors/control/v1")


def test_the_committed_stubs_are_those_of_the_proto(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    command += [f"--grpc_python_out={tmp_path}", f"--descriptor_set_out={tmp_path / 'control.binpb'}", str(FOLDER / "control.proto")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240)
    made = {path.name: path.read_bytes() for path in [*(tmp_path / FOLDER).iterdir(), tmp_path / "control.binpb"]}
    assert set(made) == {"control_pb2.py", "control_pb2.pyi", "control_pb2_grpc.py", "control.binpb"}
    for name, content in made.items():
        assert (ROOT / FOLDER / name).read_bytes() == content, f"{FOLDER / name} is not that of the proto; run `make stubs`"


def test_the_proto_breaks_no_client_and_would_not_go_unnoticed(tmp_path: Path) -> None:
    program = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if program is None:
        pytest.skip("buf is not installed (requirements/dev.txt has it)")

    def breaking(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [program, "breaking", "--against", str(ROOT / FOLDER / "control.binpb")]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)

    unchanged = breaking(ROOT)
    assert unchanged.returncode == 0, f"{unchanged.stdout}{unchanged.stderr}"
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / "rewards" / "service").mkdir(parents=True)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    text = (ROOT / FOLDER / "control.proto").read_text()
    (tmp_path / FOLDER / "control.proto").write_text(text.replace("uint32 version = 8;", "string version = 8;"))
    assert breaking(tmp_path).returncode != 0
