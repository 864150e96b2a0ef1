"""Everything that a start asks is asked before it: by one function, a line for each finding, and nothing is changed by asking."""

from __future__ import annotations

import copy
import fcntl
import functools
import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chemr.cli import main
from chemr.config import ChemrConfig, Stage, load
from chemr.config_warnings import warnings
from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.doctor import start
from chemr.run_directory import Resume
from learner.config import Correction, Loss
from tests.chemr.playground.scripted import write_tiny_model

SMOKE = ["experiment=smoke", "distill.documents_per_step=4", "foundation.documents_per_step=4"]


def rows(count: int) -> list[Example]:
    return [Example(f"u{number}", "smiles2formula", {"smiles": "CCO"}, {"answer": "C2H6O"}, 0.0, "CCO", "test") for number in range(count)]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "load_data", lambda config: TaskData(rows(40), rows(2), rows(2)))
    monkeypatch.setattr(start, "check_curriculum_tasks", lambda config, data: None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@functools.cache
def smoke() -> ChemrConfig:
    return load(SMOKE)[0]


def changed(*overrides: str) -> ChemrConfig:
    """Without Hydra, whose composing takes longer than what is tested."""
    config = copy.deepcopy(smoke())
    for override in overrides:
        name, _, value = override.partition("=")
        *sections, last = name.split(".")
        section = functools.reduce(getattr, sections, config)
        setattr(
            section,
            last,
            PARSED[value] if value in PARSED else json.loads(value) if re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", value) else value,
        )
    return config


PARSED: dict[str, Any] = {"auto": Resume.auto, "false": False, "true": True, "FG": [Stage.foundation, Stage.grpo]} | {
    str(member): member for kind in (Loss, Correction) for member in kind
}


def findings(*overrides: str) -> list[str]:
    try:
        start.ask(changed(*overrides)).require()
    except start.StartRefused as refused:
        return str(refused).splitlines()
    return []


def only(lines: list[str], *words: str) -> None:
    assert len(lines) == 1, f"one line was expected: {lines}"
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"


def test_a_start_in_order_has_no_finding_and_leaves_nothing_behind(tmp_path: Path, model: Path) -> None:
    assert findings(f"run.root={tmp_path / 'runs'}") == []
    assert findings(f"run.root={tmp_path / 'runs'}", f"policy.path={model}", "generator.max_model_len=96") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("command", [["train"], ["train", "--dry-run"], ["doctor"]])
def test_train_its_dry_run_and_doctor_ask_the_same(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "config.yaml").write_text("run: {}\n")
    assert main([*command, *SMOKE, f"run.root={tmp_path}"]) != 0
    said = "".join(capsys.readouterr())
    assert "already holds a run" in " ".join(said.split()) and "Traceback" not in said
    assert [path.name for path in (tmp_path / "smoke").iterdir()] == ["config.yaml"], "a start that is refused changes nothing"


# the run's folder


def test_a_name_that_is_taken_may_be_continued(tmp_path: Path) -> None:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "config.yaml").touch()
    only(findings(f"run.root={tmp_path}"), "already holds a run", "run.resume=auto", "run.name")
    assert findings(f"run.root={tmp_path}", "run.resume=auto") == []


def test_a_folder_that_another_process_runs_in_is_busy(tmp_path: Path) -> None:
    (tmp_path / "smoke").mkdir()
    with (tmp_path / "smoke" / "run.lock").open("w") as held:
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        only(findings(f"run.root={tmp_path}"), "in use by process 4711")
    assert findings(f"run.root={tmp_path}") == []


@pytest.mark.parametrize("root", ["/proc/foo", "/proc/self/mem", "/dev/null", "/sys/kernel/x"])
def test_a_root_that_cannot_be_written_is_refused(root: str) -> None:
    only(findings(f"run.root={root}"), root.rsplit("/", 1)[0], "run.root=DIR")


def test_a_file_a_circle_of_links_or_an_endless_name_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    only(findings(f"run.root={tmp_path / 'file'}"), "is a file, and a folder was expected")
    assert len(findings(f"run.root={tmp_path / 'circle'}")) == 1
    assert len(findings(f"run.root={tmp_path / ('x' * 300)}")) == 1
    (tmp_path / "smoke").touch()
    only(findings(f"run.root={tmp_path}"), "smoke is a file")


def test_too_little_room_is_said_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage
    small = SimpleNamespace(total=1 << 30, used=0, free=3 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path) if str(path) == "/dev/shm" else small)
    only(findings(f"run.root={tmp_path}"), "has 3 MiB free", "run.keep_checkpoints")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small if str(path) == "/dev/shm" else real(path))
    only(findings(f"run.root={tmp_path}"), "pool.object_store_mb=256", "3 MB free")


# addresses


def test_a_port_that_is_taken_is_said_before_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        root = f"run.root={tmp_path}"
        only(findings(root, f"control.address=127.0.0.1:{port}"), f"control.address=127.0.0.1:{port}", "name another port")
        only(findings(root, f"tracking.prometheus_port={port}"), f"tracking.prometheus_port=127.0.0.1:{port}", "null for none")
        assert findings(root, f"control.address=127.0.0.1:{port}", "control.enabled=false") == []
    assert findings(root, f"control.address=127.0.0.1:{port}") == []
    same = findings(root, f"control.address=127.0.0.1:{port}", f"tracking.prometheus_port={port}")
    only(same, "name the same port")


def test_an_address_of_another_machine_or_a_folder_that_is_not_there_cannot_be_listened_on(tmp_path: Path) -> None:
    root = f"run.root={tmp_path}"
    only(findings(root, "control.address=192.0.2.1:5000", "control.plaintext=true"), "192.0.2.1")
    only(findings(root, f"control.address=unix:{tmp_path}/none/x"), "there is no folder")
    (tmp_path / "file").touch()
    only(findings(root, f"control.address=unix:{tmp_path}/file"), "no socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        only(findings(root, f"control.address=unix:{tmp_path}/socket"), "another process")
    assert findings(root, f"control.address=unix:{tmp_path}/socket") == [], "what a process left behind may be used"


def test_a_secret_that_is_not_there_and_a_certificate_that_is_none_are_said(tmp_path: Path) -> None:
    root = f"run.root={tmp_path}"
    only(findings(root, "control.token_env=NO_SUCH_TOKEN_X"), "NO_SUCH_TOKEN_X", "not set")
    (tmp_path / "pem").write_text("nothing")
    only(findings(root, f"control.tls_certificate={tmp_path}/pem", f"control.tls_key={tmp_path}/pem"), "control.tls_", "PEM")


# the model


def edit(**changes: Any) -> Callable[[Path], object]:
    def work(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({k: v for k, v in (config | changes).items() if v is not None}))

    return work


def cut(name: str, size: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).open("r+b").truncate(size) and None


def put(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content) and None


def instead(name: str) -> Callable[[Path], object]:
    def work(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return work


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def foreign_template(source: str) -> Callable[[Path], object]:
    def work(folder: Path) -> None:
        content = (folder / "tokenizer.json").read_text().replace("<|user|>", "<|human|>")
        (folder / "tokenizer.json").write_text(content)
        (folder / "chat_template.jinja").write_text(source)

    return work


BROKEN: list[tuple[Callable[[Path], object], list[str]]] = [
    (lambda folder: shutil.rmtree(folder), ["config.json"]),
    (remove("tokenizer.json"), ["tokenizer.json"]),
    (put("config.json", b"{"), ["config.json is not JSON"]),
    (put("config.json", b"\xff\xfe\x00"), ["config.json is not JSON"]),
    (put("config.json", b"[]"), ["config.json holds list"]),
    (put("config.json", b"{}"), ["no model_type"]),
    (edit(model_type="nonesuch"), ["model_type = 'nonesuch'", "take a model of one of"]),
    (edit(model_type="gpt_oss", num_local_experts=32), ["mixture of experts", "take a model of one of"]),
    (edit(a_setting_nobody_knows=True), ["a_setting_nobody_knows"]),
    (edit(model_type="nonesuch", auto_map={"AutoModel": "m.M"}), ["never run"]),
    (edit(text_config={"hidden_size": 8}), ["text_config", "language model"]),
    (edit(llm_config={"model_type": "llama"}), ["llm_config", "language model"]),
    (edit(quantization_config={"bits": 4}), ["quantization_config"]),
    (edit(attention_dropout=0.1), ["attention_dropout = 0.1"]),
    (edit(max_position_embeddings=64), ["generator.max_model_len=96", "64 positions"]),
    (edit(vocab_size=100), ["tokens, and the model", "100"]),
    (put("tokenizer.json", b"{}"), ["tokenizer"]),
    (put("tokenizer.json", b"not json"), ["tokenizer.json is not JSON"]),
    (put("tokenizer_config.json", b"{,"), ["tokenizer_config.json is not JSON"]),
    (put("generation_config.json", b"[1]"), ["generation_config.json holds list"]),
    (instead("tokenizer.json"), ["tokenizer.json cannot be read", "directory"]),
    (remove("model.safetensors"), ["holds no *.safetensors"]),
    (lambda folder: (folder / "model.safetensors").rename(folder / "other.safetensors") and None, ["model.safetensors is missing"]),
    (put("adapter_config.json", b"{}"), ["holds an adapter", "merge"]),
    (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin") and None, ["pytorch_model.bin", "run code"]),
    (cut("model.safetensors", 0), ["model.safetensors is not a whole safetensors file"]),
    (cut("model.safetensors", 5000), ["model.safetensors has 5,000 bytes"]),
    (put("model.safetensors", b"\x08" + b"\0" * 7 + b"no json!"), ["header cannot be read"]),
    (put("model.safetensors", b"\xff" * 64), ["not a whole safetensors file"]),
    (put("model.safetensors.index.json", b'{"weight_map": {"a": "part-1.safetensors"}}'), ["part-1.safetensors is missing"]),
    (put("model.safetensors.index.json", b'{"weight_map": {"a": "../../etc/passwd"}}'), ["not in the folder"]),
    (put("model.safetensors.index.json", b"{}"), ["no weight_map"]),
    (foreign_template("{% for m in messages %}{{ m.content }}"), ["chat template"]),
    (foreign_template("{{ raise_exception('no users here') }}"), ["no users here"]),
    (foreign_template("{{ nothing.at.all }}"), ["chat template"]),
    (foreign_template("{{ 1 // 0 }}"), ["chat template"]),
]


@pytest.mark.parametrize(("breaks", "words"), BROKEN)
def test_a_model_folder_that_cannot_be_trained_is_refused_in_one_line(
    breaks: Callable[[Path], object], words: list[str], model: Path, tmp_path: Path
) -> None:
    breaks(model)
    only(findings(f"run.root={tmp_path}", f"policy.path={model}", "generator.max_model_len=96"), "policy.path", *words)


def test_heads_are_dealt_evenly_and_a_vocabulary_has_room_for_bytes(model: Path, tmp_path: Path) -> None:
    root = f"run.root={tmp_path}"
    lines = findings(root, f"policy.path={model}", "generator.max_model_len=96", "generator.tensor_parallel=3")
    only(lines, "attention heads", "generator.tensor_parallel=3")
    only(findings(root, "policy.vocab_size=100"), "policy.vocab_size=100", "set that or more")


def test_eval_and_chat_refuse_the_same_folders(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut("model.safetensors", 5000)(model)
    assert main(["eval", *SMOKE, f"model={model}", "generator.max_model_len=96"]) == 2
    only(capsys.readouterr().err.strip().splitlines(), "5,000 bytes")


# data


def test_traces_that_fill_no_step_are_known_before_the_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"run.root={tmp_path}"
    only(findings(root, "distill.documents_per_step=64"), "distill.documents_per_step=64", "traces_per_task")
    assert findings(root, "distill.documents_per_step=64", "stages=FG") == []
    lines = [json.dumps({"uid": f"u{n}", "task": "smiles2formula", "completion": "<answer>C2H6O</answer>"}) for n in range(3)]
    (tmp_path / "traces.jsonl").write_text("\n".join(lines))
    only(findings(root, f"distill.traces={tmp_path}/traces.jsonl"), "at most 3 traces", "distill.documents_per_step=4")
    (tmp_path / "traces.jsonl").write_text(lines[0] + "\n{broken")
    only(findings(root, f"distill.traces={tmp_path}/traces.jsonl"), "traces.jsonl:2")


def test_rows_that_are_missing_or_cannot_be_read_are_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"run.root={tmp_path}"
    monkeypatch.setattr(start, "load_data", lambda config: TaskData(rows(40), [], rows(2)))
    only(findings(root), "no validation row")

    def denied(config: ChemrConfig) -> TaskData:
        raise PermissionError(13, "Permission denied", "/data/x.csv")

    monkeypatch.setattr(start, "load_data", denied)
    only(findings(root), "/data/x.csv", "Permission denied")


def test_all_findings_are_told_at_once_each_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dry-run", *SMOKE, "run.root=/proc/foo", f"policy.path={tmp_path}", "distill.documents_per_step=64"]) == 2
    assert "config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    assert main(["train", "--dry-run", *SMOKE, "run.root=/proc/foo", f"policy.path={tmp_path}", "distill.documents_per_step=64"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("chemr train: ") for line in lines), lines


# what is said and not refused


@pytest.mark.parametrize("experiment", ["starter", "smoke"])
def test_a_shipped_experiment_is_warned_of_nothing(experiment: str) -> None:
    assert warnings(load([f"experiment={experiment}"])[0]) == []


@pytest.mark.parametrize("setting", ["loss=gspo", "loss=cispo", "dual_clip=3.0", "clip_high=0.4", "clip_low=0.1"])
@pytest.mark.parametrize("correction", ["none", "tis", "icepop", "geometric", "bypass"])
@pytest.mark.parametrize("updates", [1, 2])
def test_a_clip_that_cannot_act_is_said_by_name(setting: str, correction: str, updates: int) -> None:
    config = changed(f"grpo.algo.{setting}", f"grpo.algo.correction={correction}", f"grpo.algo.updates_per_step={updates}")
    name = f"grpo.algo.{setting.split('=')[0]}"
    acts = updates > 1 or correction == "bypass"
    assert any(line.startswith(name) for line in warnings(config)) is not acts


def test_the_ratio_that_is_one_is_the_learners_own() -> None:
    """The condition of the warning, held against the learner: at the first update *old* is what the forward pass itself has computed."""
    torch = pytest.importorskip("torch")
    from learner.config import GrpoConfig, Loss
    from learner.losses import policy_loss

    new, segment = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True), torch.tensor([0, 0, 1])
    advantage = torch.tensor([1.0, 1.0, -1.0])
    gradients = []
    for grpo in (
        GrpoConfig(),
        GrpoConfig(loss=Loss.gspo),
        GrpoConfig(loss=Loss.cispo),
        GrpoConfig(dual_clip=3.0),
        GrpoConfig(clip_high=9.0),
    ):
        (gradient,) = torch.autograd.grad(policy_loss(new, new.detach(), advantage, segment, 2, grpo).loss_N.sum(), new)
        gradients.append(gradient)
    assert all(torch.allclose(gradient, gradients[0]) for gradient in gradients)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["grpo.algo.tis_cap=3", "grpo.algo.correction=none"], "grpo.algo.tis_cap"),
        (["grpo.algo.icepop_high=3"], "grpo.algo.icepop_high"),
        (["grpo.algo.geometric_low=0.9"], "grpo.algo.geometric_low"),
        (["grpo.algo.constant_length=7"], "grpo.algo.constant_length"),
        (["grpo.harvest.per_task=7"], "grpo.harvest.per_task"),
        (["grpo.curriculum.temperature=0.5"], "grpo.curriculum.temperature"),
        (["learner.lora_alpha=7"], "learner.lora_alpha"),
        (["tracking.prometheus_address=0.0.0.0"], "tracking.prometheus_address"),
    ],
)
def test_a_setting_that_nothing_reads_is_said_by_name(overrides: list[str], name: str) -> None:
    (line,) = warnings(changed(*overrides))
    assert line.startswith(name) and "has no effect" in line


def test_a_pretrained_model_that_meets_the_starters_rates_is_warned_of(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"run.root={tmp_path}", f"policy.path={model}", "generator.max_model_len=96"]
    assert [line.split("=")[0] for line in warnings(changed(*settings))] == [
        f"{name}.optim.lr" for name in ("foundation", "distill", "grpo")
    ]
    mild = [f"{stage}.optim.lr=1e-4" for stage in ("foundation", "distill", "grpo")]
    assert warnings(changed(*settings, *mild)) == []
    assert warnings(changed(*settings, *mild, "learner.lora_rank=8", "grpo.optim.lr=5e-4")) == []
    assert main(["train", "--dry-run", *SMOKE, *settings]) == 0
    assert capsys.readouterr().out.count("warning: ") == 3
