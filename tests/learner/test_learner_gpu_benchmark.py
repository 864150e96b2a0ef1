"""benchmarks/learner_gpu.py runs with torch, transformers and deepspeed alone, compares like with like, and says so where it cannot."""

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import learner_gpu as benchmark
from benchmarks import learner_gpu_sides as sides
from learner.batch import Completion, Document

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "learner_gpu.py"
UNWANTED = {"rich", "hydra", "omegaconf", "ray", "vllm", "rdkit", "wandb", "chemr", "actors", "rewards"}
HIDING = """
import importlib.machinery

find_spec, HIDDEN = importlib.machinery.PathFinder.find_spec, frozenset({hidden!r})


def find(name, path=None, target=None):
    return None if name.split(".")[0] in HIDDEN else find_spec(name, path, target)


importlib.machinery.PathFinder.find_spec = find
"""


def required_by(*names):
    """These distributions and all that they need."""
    found, waiting = set(), [Requirement(name) for name in names]
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        if name in found:
            continue
        found.add(name)
        for text in requires(name) or []:
            further = Requirement(text)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in ("", *needed.extras)):
                waiting.append(further)
    return found


def hidden_modules():
    """Top-level modules that an environment with only torch, transformers and deepspeed would not have."""
    there = required_by("torch", "transformers", "deepspeed")
    others = {module for module, owners in packages_distributions().items() if not there & {canonicalize_name(owner) for owner in owners}}
    return sorted((others | UNWANTED) - {"learner"})


def documents_of(shape, tokens, seed=0, step=0, group=1):
    return sides.make_documents(shape, SimpleNamespace(tokens_per_step=tokens, seed=seed, group=group), step)


def run(tmp_path, *arguments):
    (tmp_path / "sitecustomize.py").write_text(HIDING.format(hidden=hidden_modules()))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_it_runs_with_three_packages_and_both_sides_agree(tmp_path):
    figures = tmp_path / "figures.json"
    sizes = ("--steps", "1", "--threads", "1", "--tokens-per-step", "1500", "--group", "3")
    done = run(tmp_path, "--device", "cpu", "--shapes", "tiny", *sizes, "--json", figures)
    assert done.returncode == 0, f"the benchmark failed:\n{done.stdout}\n{done.stderr}"
    assert "tokens/s packed" in done.stdout, "without rich the table is printed plainly"
    result = json.loads(figures.read_text())
    assert result["versions"].keys() >= {"torch", "transformers", "deepspeed"} and result["hardware"]["cpu"], "a figure needs its machine"
    row = result["shapes"]["tiny"]
    for name in ("tokens_per_s", "mfu", "peak_gib"):
        assert row[f"packed_{name}"] > 0 and row[f"padded_{name}"] > 0, f"{name} was not measured"
    assert row["ratio"] == pytest.approx(row["packed_tokens_per_s"] / row["padded_tokens_per_s"]), "the ratio is packed over padded"
    assert row["packed_mfu"] / row["padded_mfu"] == pytest.approx(row["ratio"]), "both sides are measured by the same work"
    assert row["loss_difference"] < 1e-4 and row["logprob_difference"] < 1e-4, "both sides train the same thing"
    assert 0.2 < row["padded_fill"] < 1, "documents of unequal length leave padding"


def test_the_hidden_packages_are_really_hidden(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDING.format(hidden=hidden_modules()))
    program = f"import importlib.util\nprint(sorted(name for name in {sorted(UNWANTED)!r} if importlib.util.find_spec(name)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=240, check=True)
    assert found.stdout.strip() == "[]", f"the test above would prove nothing: {found.stdout.strip()} can still be imported"


def test_documents_have_the_lengths_of_chemistry_rows_and_a_seed():
    shape = sides.SHAPES["1b"]
    documents = documents_of(shape, 1_000_000)
    lengths = np.array([len(document.prompt_ids) + document.targets for document in documents])
    assert 330 < lengths.mean() < 370, f"the mean is {lengths.mean():.0f} tokens instead of about 350"
    assert lengths.max() == 2048 and np.median(lengths) < 0.8 * lengths.mean(), "a long tail, cut at 2,048"
    for document in documents[:50]:
        document.check(2048)
    again, later = (documents_of(shape, 5000, step=step) for step in (0, 1))
    assert np.array_equal(again[0].prompt_ids, documents[0].prompt_ids), "both sides must draw the same documents"
    assert not np.array_equal(later[0].prompt_ids, documents[0].prompt_ids), "every update has documents of its own"


def test_groups_share_a_prompt_and_keep_within_the_model():
    documents = documents_of(sides.SHAPES["tiny"], 3000, group=4)
    for document in documents:
        document.check(256)
        assert len(document.completions) == 4, "a document is a group"
    sequences = sides.sequences_of(documents)
    tokens = sum(map(sides.trained_tokens, documents))
    assert tokens == sum(len(sequence.prompt_ids) + sequence.targets for sequence in sequences) >= 3000, "padded trains the same tokens"


@pytest.mark.parametrize("grouped", [False, True])
def test_padded_batches_hold_every_document_once_within_the_budget(grouped):
    documents = documents_of(sides.SHAPES["tiny"], 3000, seed=1)
    plan = sides.padded_plan(documents, 512, grouped)
    members = [document for batch in plan for document in batch]
    assert sorted(map(id, members)) == sorted(map(id, documents)), "a document was lost or computed twice"
    for batch in plan:
        ids, mask, _ = sides.padded_batch(batch)
        assert ids.numel() <= 512, f"a batch of {ids.numel()} tokens with padding exceeds the budget"
        assert int(mask.sum()) == sum(len(document.prompt_ids) + document.targets for document in batch), "the mask shows real tokens"
    if not grouped:
        assert members == documents, "without --grouped, documents keep the order they come in"


def test_labels_are_the_completions_tokens():
    documents = [Document(np.array([5, 6]), [Completion(np.array([7, 8, 1]))]), Document(np.array([9]), [Completion(np.array([4]))])]
    ids, mask, labels = sides.padded_batch(documents)
    assert ids.tolist() == [[5, 6, 7, 8, 1], [9, 4, 2, 2, 2]], "padding stands on the right"
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], "attention sees what is real"
    assert labels.tolist() == [[-100, -100, 7, 8, 1], [-100, 4, -100, -100, -100]], "neither prompts nor padding are learnt"


def test_the_shapes_have_the_sizes_of_their_names():
    from transformers import AutoConfig, AutoModelForCausalLM

    for name, billions in (("0.5b", 0.494), ("1b", 1.236), ("3b", 3.213), ("8b", 8.030)):
        fields = dict(sides.SHAPES[name].config)
        config = AutoConfig.for_model(fields.pop("model_type"), bos_token_id=0, eos_token_id=1, pad_token_id=2, **fields)
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
        assert parameters / 1e9 == pytest.approx(billions, abs=5e-4), f"{name} has {parameters:,} parameters"


RAN = {"tokens": 100, "flops": 5e9, "seconds": 2.0, "losses": [6.0], "logprobs": [[-6.0, -5.0]], "peak_gib": 1.0}


def test_a_side_that_does_not_fit_is_a_row():
    row = benchmark.make_row({"error": "does not fit: CUDA out of memory"}, RAN, 1e10, "bf16")
    assert row["packed_tokens_per_s"] is None and row["ratio"] is None, "nothing is reported that was not measured"
    assert row["padded_tokens_per_s"] == 50 and row["padded_mfu"] == 0.25, "the other side keeps its figures"
    assert benchmark.cells("8b", row) == ["8b", "does not fit", "50", "–", "does not fit", "25.0%", "does not fit", "1.00"]
    assert benchmark.problems_of(row) == [], "to lack memory is a result"


def test_a_side_that_fails_is_a_problem():
    row = benchmark.make_row(RAN, {"error": "failed: the padded side ended with status 1"}, 1e10, "bf16")
    assert benchmark.problems_of(row) == ["failed: the padded side ended with status 1"]


def test_only_what_exceeds_the_gpu_is_offloaded():
    assert benchmark.needs_offload(8_030_261_248, 79.2), "8b with float32 states is twice an 80 GB card"
    assert not benchmark.needs_offload(3_212_749_824, 79.2), "3b fits"
    assert not benchmark.needs_offload(8_030_261_248, None), "a CPU has the optimizer in main memory anyway"


def test_an_unknown_peak_means_no_utilisation():
    row = benchmark.make_row(RAN, RAN, None, "fp32")
    assert row["packed_mfu"] is None and benchmark.cells("1b", row)[4] == "–", "a peak is never guessed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losses": [6.1]}, "losses of the first update differ by 1.00e-01 nats"),
        ({"losses": [float("nan")]}, "losses of the first update differ by nan"),
        ({"logprobs": [[-6.0, -5.5]]}, "log-probs of a token before training (mean) differ by 2.50e-01 nats"),
        ({"tokens": 101}, "packed trained on 100 tokens and padded on 101"),
    ],
    ids=["loss", "nan", "logprobs", "tokens"],
)
def test_sides_that_disagree_are_told_apart(change, words):
    assert benchmark.make_row(RAN, RAN, None, "fp32")["disagreement"] is None, "equal sides agree"
    (problem,) = benchmark.problems_of(benchmark.make_row(RAN, {**RAN, **change}, None, "fp32"))
    assert words in problem, f"the message does not say what differs: {problem}"


def test_the_peak_is_that_of_all_updates():
    peaks = [{"peak_gib": 1.0, "reserved_gib": 3.0}, {"peak_gib": 2.0, "reserved_gib": 2.0}, {"peak_gib": 1.5, "reserved_gib": 2.5}]
    assert sides.highest(peaks) == {"peak_gib": 2.0, "reserved_gib": 3.0}
    assert sides.highest([{"peak_gib": None}]) == {"peak_gib": None}, "nothing is made up where the system does not tell"


def test_want_of_memory_is_recognised_by_its_words():
    assert sides.lacks_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")), "CUDA's allocator"
    assert sides.lacks_memory(MemoryError()), "Python's own"
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert sides.lacks_memory(caught.value), f"the CPU's allocator: {caught.value}"
    assert not sides.lacks_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")), "a fault is not want of memory"


def test_a_child_without_memory_reports_it_and_any_other_fault_ends_it(tmp_path, monkeypatch):
    options = SimpleNamespace(side="packed", result=tmp_path / "packed.json")

    def fault(error):
        def side(_):
            raise error

        monkeypatch.setitem(sides.SIDES, "packed", side)

    fault(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nIf reserved memory is large ..."))
    sides.run_side(options)
    assert json.loads(options.result.read_text()) == {"error": "does not fit: CUDA out of memory. Tried to allocate 2.00 GiB."}
    fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        sides.run_side(options)
