"""The other side of benchmarks/learner.py: transformers' Trainer (documents) or TRL's GRPOTrainer (stored rollouts), on the CPU in fp32.

Stand-alone on purpose: it runs under the Python of TRL's own virtual environment and imports nothing of chemr. Both trainers are as they
are, with their own defaults but for what the driver matches (see there); the subclasses below hand over stored data and read clocks.
Prints one JSON object as the last line of its output.

GRPOTrainer pads all completions of an update to one width and shuffles them over the micro-batches. With --grouped, its micro-batches are
sorted instead and cut to their own longest prompt and completion, which TRL itself has no setting for.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MICRO_BATCH = 8  # the default of both trainers
Line = dict[str, Any]


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder with model and tokenizer")
    parser.add_argument("--data", type=Path, required=True, help="JSONL of learner_workload.py")
    parser.add_argument("--kind", choices=("sft", "grpo"), required=True)
    parser.add_argument("--grouped", action="store_true", help="micro-batches of similar length")
    parser.add_argument("--no-checkpointing", action="store_true", help="grpo: keep activations instead of computing them twice")
    parser.add_argument("--warmup-steps", type=int, required=True, help="updates before the timed ones, at least 1")
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


class Recorder:
    """What is seen of a run, one entry an update: loss, gradient norm, the clock at its end, tokens computed (padding included), and the
    seconds that belong to generation and rewards."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.grad_norms: list[float] = []
        self.end_s: list[float] = []
        self.computed_tokens: list[int] = []
        self.excluded_s: list[float] = []
        self.loss = 0.0
        self.computed = 0
        self.excluded = 0.0

    def end_step(self) -> None:
        """Close the books of an update."""
        self.end_s.append(time.perf_counter())
        self.losses.append(self.loss)
        self.computed_tokens.append(self.computed)
        self.excluded_s.append(self.excluded)
        self.loss, self.computed, self.excluded = 0.0, 0, 0.0

    def result(self, warmup_steps: int) -> dict[str, Any]:
        """Return the JSON object: the window from the end of the last warm-up update to the end, less what is not the update's."""
        excluded = sum(self.excluded_s[warmup_steps:])
        return {
            "window_s": self.end_s[-1] - self.end_s[warmup_steps - 1] - excluded,
            "excluded_s": excluded,
            "losses": self.losses,
            "grad_norms": self.grad_norms,
            "computed_tokens": sum(self.computed_tokens[warmup_steps:]),
        }


def recorded(trainer: type, recorder: Recorder) -> type:
    """Return a subclass of a Trainer that reports to `recorder`."""

    class Recorded(trainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            recorder.loss += float(loss)
            return loss

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            recorder.computed += sum(inputs[name].numel() for name in ("input_ids", "prompt_ids", "completion_ids") if name in inputs)
            return super().compute_loss(model, inputs, *args, **kwargs)

        def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
            norm = super()._get_grad_norm(*args, **kwargs)
            recorder.grad_norms.append(float(norm))
            return norm

    return Recorded


def common_settings(arguments: argparse.Namespace, lines: list[Line], output_dir: str) -> dict[str, Any]:
    """Return what is asked of both trainers: the CPU, updates of the same documents, the matched optimizer, and no reports."""
    steps = lines[-1]["step"] + 1
    sequences = sum(len(line["completions"]) for line in lines) // steps
    if sequences % MICRO_BATCH:
        raise ValueError(f"{sequences} sequences an update are no multiple of {MICRO_BATCH}")
    return {
        "output_dir": output_dir,
        "use_cpu": True,
        "gradient_accumulation_steps": sequences // MICRO_BATCH,
        "max_steps": steps,
        "learning_rate": arguments.lr,
        "lr_scheduler_type": "constant",
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def sft_trainer(arguments: argparse.Namespace, lines: list[Line], model: Any, tokenizer: Any, recorder: Recorder, output_dir: str) -> Any:
    """Return transformers' Trainer on the documents in their order or, grouped, sorted by length within each update.

    Sorted so, both sides have the same documents in every update. It is the order that train_sampling_strategy="group_by_length" gives
    to a data set of fewer than eight updates; on larger ones it sorts over several updates.
    """
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    if arguments.grouped:
        lines = sorted(lines, key=lambda line: (line["step"], -len(line["prompt"]) - len(line["completions"][0])))
    rows = [
        {"input_ids": line["prompt"] + line["completions"][0], "labels": [-100] * len(line["prompt"]) + line["completions"][0]}
        for line in lines
    ]
    config = TrainingArguments(train_sampling_strategy="sequential", **common_settings(arguments, lines, output_dir))
    return recorded(Trainer, recorder)(
        model=model, args=config, train_dataset=Dataset.from_list(rows), data_collator=DataCollatorForSeq2Seq(tokenizer)
    )


def grpo_trainer(arguments: argparse.Namespace, lines: list[Line], model: Any, tokenizer: Any, recorder: Recorder, output_dir: str) -> Any:
    """Return TRL's GRPOTrainer whose completions and rewards are the stored ones; the time it spends on getting them is excluded."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    class Stored(recorded(GRPOTrainer, recorder)):  # type: ignore[misc]
        """The dataset's prompts are numbers of lines; a line's number comes once for each of its completions, in a row."""

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            self.numbers = [int(number) for number in prompts]
            return [lines[number]["prompt"] for number in self.numbers], None, {}

        def _generate_single_turn(self, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
            return [ids for number in self.numbers[:: self.num_generations] for ids in lines[number]["completions"]], None

        def _generate(self, *args: Any) -> Any:
            began = time.perf_counter()
            result = super()._generate(*args)
            recorder.excluded += time.perf_counter() - began
            return result

        def _calculate_rewards(self, *args: Any) -> Any:
            began = time.perf_counter()
            result = super()._calculate_rewards(*args)
            recorder.excluded += time.perf_counter() - began
            return result

    def stored_rewards(prompts: list[str], **_: Any) -> list[float]:
        numbers = [int(number) for number in prompts]
        return [value for number in numbers[:: len(lines[0]["rewards"])] for value in lines[number]["rewards"]]

    if arguments.grouped:
        group_micro_batches()
    settings = {"gradient_checkpointing": False} if arguments.no_checkpointing else {}
    config = GRPOConfig(bf16=False, shuffle_dataset=False, **settings, **common_settings(arguments, lines, output_dir))
    return Stored(
        model=model,
        reward_funcs=stored_rewards,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(len(lines))]}),
        processing_class=tokenizer,
    )


def group_micro_batches() -> None:
    """Sort the sequences of an update by length of prompt, then of completion, and cut the padding that a micro-batch does not need."""
    from trl.trainer import grpo_trainer as module

    split = module.split_tensor_dict

    def grouped_split(batch: dict[str, Any], count: int) -> list[dict[str, Any]]:
        lengths = zip(batch["prompt_mask"].sum(1).tolist(), batch["completion_mask"].sum(1).tolist(), strict=True)
        order = [index for _, index in sorted((length, index) for index, length in enumerate(lengths))]
        parts = split({name: value[order] if value.ndim else value for name, value in batch.items()}, count)
        for part in parts:
            prompt, completion = (int(part[f"{name}_mask"].sum(1).max()) for name in ("prompt", "completion"))
            for name in ("ids", "mask"):
                part[f"prompt_{name}"] = part[f"prompt_{name}"][:, -prompt:]
                part[f"completion_{name}"] = part[f"completion_{name}"][:, :completion]
        return parts

    module.split_tensor_dict = grouped_split


def run(arguments: argparse.Namespace, output_dir: str) -> dict[str, Any]:
    """Train, and return the result."""
    import torch
    import transformers
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    torch.set_num_threads(arguments.threads)
    lines = [json.loads(line) for line in arguments.data.read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False, use_safetensors=True
    )
    recorder = Recorder()

    class StepClock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            recorder.end_step()

    build = sft_trainer if arguments.kind == "sft" else grpo_trainer
    trainer = build(arguments, lines, model, tokenizer, recorder, output_dir)
    trainer.add_callback(StepClock())
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.train()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}
    checkpointing = bool(trainer.args.gradient_checkpointing)
    return {**recorder.result(arguments.warmup_steps), "versions": versions, "gradient_checkpointing": checkpointing}


def main() -> None:
    """Train in a temporary folder and print the result."""
    arguments = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(prefix="learner-trainer-side-") as output_dir:
        print(json.dumps(run(arguments, output_dir)), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
