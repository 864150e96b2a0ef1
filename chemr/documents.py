"""Examples as training pairs."""

from __future__ import annotations

import numpy as np

from actors.learner_worker import Pair
from chemr.data.example import Example
from chemr.prompts import messages
from chemr.tokenization import ChatTokenizer


def training_pair(tokenizer: ChatTokenizer, example: Example, completion: str) -> Pair:
    """int32 ids of the example's prompt [P] and of one completion [L] with its end token; loss is taken on the completion only."""
    prompt_ids = np.array(tokenizer.encode_prompt(messages(example)), dtype=np.int32)
    return prompt_ids, np.array(tokenizer.encode_completion(completion), dtype=np.int32)
