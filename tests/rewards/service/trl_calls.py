"""Run by TRL's own interpreter: lets the real GRPOTrainer ask the reward service, and prints what it made of the answers.

    python trl_calls.py TARGET

Only the part of the trainer that calls reward functions is used (``_calculate_rewards``): no model, no step.
"""

import json
import sys
from types import SimpleNamespace

import torch
from accelerate import PartialState
from datasets import Dataset
from trl import GRPOTrainer
from trl.trainer import grpo_trainer

from rewards.service.client import RewardClient
from rewards.service.trl_reward import trl_reward

ROWS = [
    {"prompt": "a", "task": "smiles2formula", "inputs": {"smiles": "CCO"}, "reference": {"answer": "C2H6O"}},
    {"prompt": "b", "task": "molcustom_atomnum", "inputs": {"counts": {"C": 2, "O": 1}}, "reference": {"answer": "CCO"}},
    {"prompt": "c", "task": "bad_reference", "inputs": {}, "reference": {}},
]
ANSWERS = ["<answer>C2H6O</answer>", "<answer>CCO</answer>", "<answer>never</answer>"]


def main() -> None:
    PartialState(cpu=True)  # TRL logs through it
    grpo_trainer.gather = lambda tensor: tensor  # one process
    as_text = [row | {"inputs": json.dumps(row["inputs"]), "reference": json.dumps(row["reference"])} for row in ROWS]
    chats = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    found = {}
    with RewardClient(sys.argv[1], timeout_s=60.0) as client:
        trainer = SimpleNamespace(
            accelerator=SimpleNamespace(device=torch.device("cpu"), is_main_process=True),
            reward_funcs=[trl_reward(client)],
            reward_processing_classes=[None],
            reward_func_names=["chemr_reward"],
            state=SimpleNamespace(global_step=0),
            args=SimpleNamespace(report_to=[]),
            environments=None,
            _log_completion_extra=lambda *_: None,
            _log_metric=lambda *_: None,
        )
        for name, rows, completions in (("text", as_text, ANSWERS), ("dicts", ROWS, ANSWERS), ("chat", as_text, chats)):
            inputs = list(Dataset.from_list(rows))
            tensor = GRPOTrainer._calculate_rewards(trainer, inputs, [row["prompt"] for row in inputs], completions, [[0]] * len(inputs))
            found[name] = [None if value != value else value for value in tensor[:, 0].tolist()]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
