"""Clusters of steps: their number by silhouette, the same every time, and sensible where there is next to nothing to cluster."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chemr.mining.config import ClusterConfig
from chemr.mining.errors import MiningInputError
from chemr.mining.grouping import cluster, medoid, shared_groups
from chemr.mining.protocol_steps import common_title, merged_protocols
from chemr.mining.vectors import step_text, vectors

STEPS = [
    *[step_text("Count the carbon atoms", f"There are {n} carbon atoms in the chain") for n in range(6)],
    *[step_text("Count carbons", f"carbon atoms counted: {n}") for n in range(6)],
    *[step_text("Find the functional groups", "The molecule contains a hydroxyl group") for _ in range(6)],
    *[step_text("Identify functional groups", "There is an ester and an amide") for _ in range(6)],
    *[step_text("Write the formula", "Put together in Hill order") for _ in range(6)],
]


def test_steps_of_one_kind_come_together() -> None:
    points = vectors(STEPS, None, 0)
    labels, silhouette = cluster(points, 8, 0)
    assert silhouette is not None and silhouette > 0.2
    kinds = [0] * 12 + [1] * 12 + [2] * 6
    for label in set(labels.tolist()):
        members = {kind for kind, found in zip(kinds, labels, strict=True) if found == label}
        assert len(members) == 1, "steps of different kinds are in one cluster"


def test_clusters_are_the_same_every_time() -> None:
    one, other = (cluster(vectors(STEPS, None, 3), 8, 3)[0] for _ in range(2))
    assert one.tolist() == other.tolist()


def test_next_to_nothing_is_clustered_too() -> None:
    assert cluster(vectors([], None, 0), 5, 0)[0].tolist() == []
    assert cluster(vectors(["a b"], None, 0), 5, 0)[0].tolist() == [0]
    assert cluster(vectors(["a b"] * 7, None, 0), 5, 0)[0].tolist() == [0] * 7, "all equal are one"
    assert cluster(vectors(["carbon atoms", "ester groups"], None, 0), 5, 0)[0].tolist() == [0, 1]
    assert cluster(vectors(["carbon atoms", "carbon atom"], None, 0), 5, 0)[0].tolist() == [0, 0]
    assert len(set(cluster(vectors(["", " ", "?"], None, 0), 5, 0)[0].tolist())) >= 1, "texts without a word"
    assert cluster(vectors(["carbon count", "carbon count", "ester found"], None, 0), 5, 0)[0].tolist() == [0, 0, 1]


def test_the_medoid_is_the_typical_one() -> None:
    assert medoid(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])) == 1


def test_clusters_are_shared_between_tasks_not_within_one() -> None:
    same, near, far = [1.0, 0.0], [0.98, 0.2], [0.0, 1.0]
    assert shared_groups(["a", "b", "c"], np.array([same, near, far]), 0.9) == [[0, 1]]
    assert shared_groups(["a", "a", "b"], np.array([same, near, far]), 0.9) == [], "two steps of one task stay two"
    assert shared_groups(["a"], np.array([same]), 0.9) == []


def row(task: str, title: str, keys: list[str], position: float, centroid: list[float], traces: int = 4) -> dict:
    return {
        "task": task, "cluster": 0, "task_traces": traces, "silhouette": 0.5, "size": len(keys), "keys": keys, "position": position,
        "titles": {title: len(keys)}, "claim": f"{title} of it", "sources": ["u/1"], "centroid": centroid,
    }  # fmt: skip


def test_protocols_hold_what_many_traces_do_in_their_order() -> None:
    clusters = [
        row("retro", "Write reactants", ["a", "b", "c", "d"], 1.0, [0.0, 1.0, 0.0]),
        row("retro", "Find the groups", ["a", "b", "c"], 0.1, [1.0, 0.0, 0.0]),
        row("retro", "Find groups", ["d"], 0.1, [0.9, 0.1, 0.0]),
        row("retro", "Rarely done", ["a"], 0.5, [0.0, 0.0, 1.0]),
        row("forward", "Groups found", ["x", "y"], 0.0, [1.0, 0.05, 0.0], traces=2),
    ]
    protocols, hints, dropped = merged_protocols(clusters, ClusterConfig(min_support=0.5, share_at=0.9))
    found = {protocol.task: protocol for protocol in protocols}
    assert [step.title for step in found["retro"].steps] == ["Find the groups", "Write reactants"]
    assert found["retro"].steps[0].statistics["share"] == 1.0, "two clusters of one title count together"
    assert dropped == {"another name of a step": 1, "in too few traces": 1}
    (name,) = hints
    assert hints[name].tasks == ("forward", "retro") and found["retro"].steps[0].shared == name == found["forward"].steps[0].shared
    assert found["retro"].steps[1].shared is None and "Write reactants of it" in found["retro"].steps[1].establish


def test_a_step_under_two_names_is_one_and_an_alternative_is_left_out() -> None:
    ways = [f"t{number}" for number in range(10)]
    clusters = [
        row("retro", "Find the bond to cut", ways[:4], 0.0, [1.0, 0.0, 0.0], traces=10),
        row("retro", "Bond that is cut", ways[4:7], 0.1, [0.8, 0.6, 0.0], traces=10),
        row("retro", "Look it up", ways[7:], 0.0, [0.0, 0.0, 1.0], traces=10),
        row("retro", "Write reactants", ways, 1.0, [0.0, 0.1, 0.9], traces=10),
    ]
    (protocol,), _, dropped = merged_protocols(clusters, ClusterConfig(min_support=0.3, share_at=0.9))
    assert [step.title for step in protocol.steps] == ["Find the bond to cut", "Write reactants"]
    assert protocol.steps[0].also_called == ("Bond that is cut",) and protocol.steps[0].statistics["traces"] == 7
    assert dropped == {"another name of a step": 1, "an alternative to a more frequent step": 1}


def test_the_common_title_takes_spellings_together() -> None:
    titles = Counter({"Count carbon atoms": 2, "Count the carbon atoms": 2, "Counting": 3})
    assert common_title(titles) == "Count carbon atoms"


def test_a_local_embedding_model_gives_vectors_too(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = sorted({word for text in STEPS for word in text.lower().split()})
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["[UNK]", "[PAD]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape = BertConfig(vocab_size=len(words) + 2, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(shape).save_pretrained(tmp_path)
    found = vectors(["count carbon", "a much longer text about carbon atoms", "count carbon"], tmp_path, 0)
    assert found.shape == (3, 16) and np.allclose(np.linalg.norm(found, axis=1), 1.0)
    assert np.array_equal(found[0], found[2])
    alone = vectors(["count carbon"], tmp_path, 0)
    assert np.allclose(found[0], alone[0], atol=1e-5), "padding beside a longer text must not change a vector"


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(MiningInputError, match=r"embedding_model=.*cannot be loaded"):
        vectors(["a"], tmp_path, 0)
