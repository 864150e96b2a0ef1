"""A model folder never runs anything, and nobody is asked whether it may."""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from actors.generator_config import GeneratorConfig, engine_arguments
from chemr.mining.errors import MiningInputError
from chemr.mining.vectors import _embedded
from chemr.playground.errors import ModelFolderError
from chemr.playground.model import ChatModel
from chemr.tokenization import train_tokenizer
from learner.config import LearnerConfig, ModelConfig
from learner.model_files import check_model_files
from learner.policy import Policy, create_model

ROOT = Path(__file__).parents[2]
LOADING = re.compile("from_pretrained|from_config|torch.load|pickle|joblib|dill")
CODE = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import LlamaConfig as OwnConfig, LlamaForCausalLM as OwnModel, PreTrainedTokenizerFast as OwnTokenizer
"""
LOADERS: dict[str, Callable[[Path], object]] = {
    "learner": lambda folder: Policy.load(folder, LearnerConfig()),
    "chat": ChatModel.load,
    "embeddings": lambda folder: _embedded(["a text"], folder),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    tokenizer = train_tokenizer(["Formula of CCO"] * 3, folder)
    shape = ModelConfig(hidden_size=32, layers=1, heads=1, intermediate_size=32, max_position_embeddings=64)
    create_model(folder, shape, tokenizer.vocab_size, {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}, seed=0)
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "model"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked: list[str] = []

    def answer(prompt: str = "") -> str:
        asked.append(prompt)
        return "y"

    monkeypatch.setattr("builtins.input", answer)
    yield
    assert not asked, f"somebody was asked: {asked}"


def with_own_code(folder: Path, mark: Path, model_type: str) -> Path:
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE.format(mark=str(mark)) + "\ndef generate(*_, **__): ...\n")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": model_type}
    config["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModel": "own.OwnModel",
        "AutoModelForCausalLM": "own.OwnModel",
        "AutoTokenizer": ["own.OwnTokenizer", None],
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text()) | {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_code_in_a_folder_of_an_unknown_model_is_never_run_and_said_in_one_line(
    folder: Path, mark: Path, load: Callable[[Path], object]
) -> None:
    with pytest.raises((ValueError, ModelFolderError, MiningInputError), match="Python code of its own") as caught:
        load(with_own_code(folder, mark, "molformer_xl"))
    assert not mark.exists() and "\n" not in str(caught.value) and "trust_remote_code" not in str(caught.value)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_a_known_model_is_loaded_with_transformers_code_whatever_its_folder_brings(
    folder: Path, mark: Path, load: Callable[[Path], object]
) -> None:
    load(with_own_code(folder, mark, "llama"))
    assert not mark.exists()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, ...]:
        return (Path(self.mark).write_text, ("ran",))


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_pickled_weights_are_not_read(folder: Path, mark: Path, load: Callable[[Path], object]) -> None:
    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.save({"weight": Bomb(mark)}, folder / "pytorch_model.bin", pickle_module=pickle)
    with pytest.raises((ValueError, ModelFolderError, MiningInputError), match=r"holds no \*\.safetensors") as caught:
        load(folder)
    assert not mark.exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_an_adapter_is_refused_before_its_settings_name_another_folder(folder: Path, load: Callable[[Path], object]) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "/elsewhere"}))
    with pytest.raises((ValueError, ModelFolderError, MiningInputError), match="holds an adapter"):
        load(folder)


@pytest.mark.parametrize(("content", "message"), [("{", "is not JSON"), ("[]", "holds list"), ("[" * 100_000, "is not JSON")])
def test_a_config_that_is_none_is_said_with_its_file(folder: Path, content: str, message: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"config.json {message}"):
        check_model_files(folder)


def test_engines_are_told_the_same() -> None:
    arguments = engine_arguments(GeneratorConfig(), Path("m"), 0)
    assert (arguments["trust_remote_code"], arguments["load_format"]) == (False, "safetensors")


def calls() -> Iterator[tuple[str, str, dict[str, ast.expr | None]]]:
    """(place, name, keyword arguments) of every call of the product's and the benchmarks' code; key "**" holds what is unpacked."""
    for package in ("chemr", "actors", "learner", "rewards", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not LOADING.search(text):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", name, {keyword.arg or "**": keyword.value for keyword in node.keywords}


def test_every_loader_in_the_code_says_that_no_code_is_run_and_no_pickle_read() -> None:
    def is_false(value: ast.expr | None) -> bool:
        return isinstance(value, ast.Constant) and value.value is False

    def is_true(value: ast.expr | None) -> bool:
        return isinstance(value, ast.Constant) and value.value is True

    loaders = 0
    for place, name, given in calls():
        last = name.rpartition(".")[2]
        safe = "**" in given and ast.unparse(given["**"] or ast.Constant(None)) == "SAFE"
        if last in ("from_pretrained", "from_config"):
            loaders += 1
            is_model = last == "from_pretrained" and "Model" in name
            gguf = "import_gguf" in place  # a format of its own, without pickles
            assert safe or is_false(given.get("trust_remote_code")), f"{place}: {name} without trust_remote_code=False"
            assert safe or gguf or not is_model or is_true(given.get("use_safetensors")), f"{place}: {name} without use_safetensors=True"
        assert name != "torch.load" or is_true(given.get("weights_only")), f"{place}: torch.load without weights_only=True"
        assert not is_true(given.get("allow_pickle")), f"{place}: {name} reads pickles"
        assert name not in ("pickle.load", "pickle.loads", "joblib.load", "dill.load", "dill.loads"), f"{place}: {name}"
    assert loaders >= 8
