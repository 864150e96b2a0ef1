"""A model that says what it is told to, and a tiny one of random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chemr.playground.model import Sampling, Written
from chemr.tokenization import BOS, EOS, PAD, train_tokenizer

FORMULA = "<think>1. **Heavy atoms**: C3O2\n2. **Unsaturation**: 2</think><answer>C3H6O2</answer>"
PROSE = (
    "<think>1. **Look**: The molecule contains an ester. It has two rings; the molecular formula is C4H8O2.\n"
    "2. **Edit**: The product has a hydroxyl group, but no ketone.</think><answer>CC(=O)OCCO</answer>"
)
HOSTILE = "<think></script><script>document.title='taken'</script><img src=x onerror=alert(1)></think><answer><b>CC</b>"
ENDLESS = "endless"


class ScriptedModel:
    """Answers with ``text``; with :data:`ENDLESS` until it is stopped."""

    device = "paper"

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []
        self.stopped = False

    def answer(
        self,
        messages: Sequence[dict[str, str]],
        sampling: Sampling,
        on_text: Callable[[str], None] = lambda text: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Written:
        self.asked.append(messages[0]["content"])
        self.stopped = False
        if self.text == ENDLESS:
            while not stopped():
                on_text("more ")
                time.sleep(0.01)
            self.stopped = True
            return Written("more", 1, 1, "by the person", 0.1)
        for start in range(0, len(self.text), 7):
            on_text(self.text[start : start + 7])
        return Written(self.text, len(self.text), 5, "by itself", 0.25)


def write_tiny_model(folder: Path) -> Path:
    """A Llama of random weights with a tokenizer of ours."""
    from learner.config import ModelConfig
    from learner.policy import create_model

    tokenizer = train_tokenizer(["Formula of CCO", "<think>1. **Heavy atoms**: C2O</think><answer>C2H6O</answer>"] * 3, folder, 512)
    shape = ModelConfig(
        hidden_size=32, layers=2, heads=4, kv_heads=2, head_dim=8, intermediate_size=48, max_position_embeddings=96, initializer_range=0.2
    )
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}
    assert {BOS, EOS, PAD} and create_model(folder, shape, 512, ids, seed=1) > 0
    return folder
