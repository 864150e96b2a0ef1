"""Packaging, pins and layers are what pyproject.toml, the Makefile and CI say they are."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("chemr", "actors", "learner", "rewards")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins() -> ModuleType:
    spec = spec_from_file_location("requirements_check", ROOT / "requirements" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``statement``."""
    program = f"{statement}\nimport sys\nprint('\\n'.join({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, f"{statement!r} failed:\n{result.stderr}"
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import chemr, chemr.cli", {"torch", "vllm", "ray", "deepspeed", "transformers", "rdkit", "wandb", "hydra", "rich"}),
        ("import chemr.config", {"torch", "vllm", "ray", "deepspeed", "transformers", "rdkit", "wandb"}),
        ("import rewards.registry; rewards.registry.task_names()", {"torch", "ray", "rdkit", "transformers", "chemr", "actors", "learner"}),
        ("import actors.trajectory, actors.buffer, actors.ledger", {"torch", "ray", "vllm", "chemr"}),
    ],
)
def test_importing_is_light(statement: str, unwanted: set[str]) -> None:
    heavy = loaded_by(statement) & unwanted
    assert not heavy, f"{statement!r} loads {', '.join(sorted(heavy))}; import them where they are used"


def test_requirements_are_exact_and_agree_with_pyproject(pins: ModuleType) -> None:
    assert pins.disagreements(ROOT) == []


def test_a_pin_that_pyproject_excludes_is_noticed(pins: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    for name in {name for files, _ in pins.ENVIRONMENTS for name in files}:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("ray==2.60.0", "ray==2.59.0").replace("rich==", "rich>=")
        (tmp_path / "requirements" / name).write_text(text, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    problems = "\n".join(pins.disagreements(tmp_path))
    assert "ray==2.60.0 excludes the pinned 2.59.0" in problems
    assert "'rich>=15.0.0' is not an exact pin" in problems


def test_vllms_image_and_audio_companions_stay_out() -> None:
    text = (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8")
    for name in ("torchvision", "torchaudio", "torchcodec"):
        assert f"\n{name}==" not in text, f"{name} is pinned; it breaks the text-only environment (see the head of the file)"


def test_our_top_level_packages_belong_to_nobody_else() -> None:
    owners = packages_distributions()
    for floor in FLOORS:
        others = set(owners.get(floor, ())) - {"chemr"}
        assert not others, f"the package {floor} is also provided by {', '.join(others)}; uninstall it"


def test_the_console_script_points_at_something() -> None:
    module, _, function = PYPROJECT["project"]["scripts"]["chemr"].partition(":")
    assert find_spec(module) is not None, f"{module} does not exist"
    (script,) = entry_points(group="console_scripts", name="chemr") or [None]
    if script is not None:
        assert callable(script.load()), f"{module}:{function} cannot be called"


def test_the_layers_hold() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert result.returncode == 0, f"an import goes the wrong way:\n{result.stdout}{result.stderr}"


def test_the_wheel_holds_code_configuration_and_pins_and_nothing_of_the_workshop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    result = subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], capture_output=True, text=True, timeout=480, check=False)
    assert result.returncode == 0, f"the wheel does not build:\n{result.stderr}"
    (wheel,) = tmp_path.glob("chemr-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(FLOORS)
    for wanted in (
        "chemr/conf/config.yaml",
        "chemr/conf/experiment/starter.yaml",
        "chemr/requirements/cpu.txt",
        "chemr/cli.py",
        "chemr/model_card.md.jinja",
        "chemr/report/assets/page.js",
    ):
        assert wanted in names, f"{wanted} is missing from the wheel"
    assert any(name.endswith("licenses/LICENSE") for name in names), "the licence is missing from the wheel"


def test_the_version_is_one() -> None:
    from importlib.metadata import version

    try:
        installed = version("chemr")
    except PackageNotFoundError:
        pytest.skip("chemr is not installed here (tests run from the source tree)")
    assert installed == PYPROJECT["project"]["version"], "make setup"


def test_make_knows_every_target_and_demo_continues_an_interrupted_run() -> None:
    targets = ("setup", "demo", "test", "check", "docs", "bench", "clean")
    result = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr
    assert "train experiment=starter run.name=starter run.resume=auto" in result.stdout


def test_no_path_of_somebodys_machine_is_in_a_tracked_file() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    machine_path = re.compile(r"(?<![\w.])/(?:root|work|opt)/[\w.-]+|/home/(?!ray\b)\w+")
    for name in listing.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".toml", ".yaml", ".yml", ".md", ".txt", ".sh", ".cfg", ""} and path.is_file():
            found = machine_path.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert found is None, f"{name} holds the machine path {found and found[0]}"


def test_what_the_readme_links_to_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / target).exists(), f"README.md links to {target}, which does not exist"
