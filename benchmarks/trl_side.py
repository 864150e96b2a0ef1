"""TRL's side of the benchmark: GRPOTrainer on the CPU, timed step by step; prints one JSON object as the last line of its output.

Stand-alone on purpose: it runs under the Python of TRL's own virtual environment (requirements-trl.txt) and imports nothing of chemr but
the toy reward beside it. The trainer is TRL's, unmodified; the subclass below only hands it ready token ids (saving it the tokenizer's
time) and reads the clock. Settings TRL may profit from are arguments, so that the driver can look for its best. With --processes above 1
the script starts itself under torchrun, one data-parallel rank per process: a rank of one thread wastes no time at thread barriers.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from toy_reward import reward, zero_variance_share


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line; lengths are in tokens, batch sizes in samples (completions)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder with model and tokenizer")
    parser.add_argument("--prompts", type=Path, required=True, help='JSONL of {"prompt": rendered text} or {"prompt_ids": [int, ...]}')
    parser.add_argument("--group-size", type=int, default=8, help="completions per prompt")
    parser.add_argument("--samples-per-step", type=int, default=128, help="completions per optimizer update")
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--length", choices=("natural", "fixed"), default="natural", help="fixed: exactly --max-new-tokens, without EOS")
    parser.add_argument("--warmup-steps", type=int, default=2)
    parser.add_argument("--timed-steps", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2, help="torch threads of all processes together")
    parser.add_argument("--processes", type=int, default=2, help="data-parallel ranks (gloo); each gets cores / processes threads")
    parser.add_argument("--micro-batch", type=int, default=32, help="samples per forward and backward pass of one process")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--continuous-batching", action="store_true", help="generate with transformers' continuous batching")
    parser.add_argument("--cache-implementation", choices=("dynamic", "static"), default="dynamic", help="key-value cache of generate()")
    arguments = parser.parse_args(argv)
    pass_size = arguments.micro_batch * arguments.processes
    if arguments.samples_per_step % pass_size or arguments.samples_per_step % arguments.group_size:
        parser.error(
            f"--samples-per-step {arguments.samples_per_step} must be a multiple of --micro-batch x --processes = {pass_size} "
            f"and of --group-size {arguments.group_size}"
        )
    if arguments.continuous_batching and arguments.length == "fixed":
        parser.error("--continuous-batching cannot be had with --length fixed: transformers' engine lets EOS end a completion early")
    if arguments.cores % arguments.processes:
        parser.error(f"--cores {arguments.cores} must be a multiple of --processes {arguments.processes}")
    if arguments.warmup_steps < 1 or arguments.timed_steps < 1:
        parser.error("--warmup-steps and --timed-steps must be at least 1: the window starts at the end of the last warm-up step")
    return arguments


def read_prompts(path: Path, tokenizer: Any, count: int) -> list[list[int]]:
    """Return `count` prompts as token ids in file order, over and over if need be; rendered text gets no further special tokens."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not rows:
        raise ValueError(f"{path} holds no prompt.")
    ids = [row["prompt_ids"] if "prompt_ids" in row else tokenizer(row["prompt"], add_special_tokens=False)["input_ids"] for row in rows]
    return [ids[index % len(ids)] for index in range(count)]


@dataclass
class StepRecorder:
    """What one rank saw in every step: the clocks at the step's end, lengths and rewards of its samples, the time its generation took."""

    end_wall_s: list[float] = field(default_factory=list)
    end_cpu_s: list[float] = field(default_factory=list)
    generation_wall_s: list[float] = field(default_factory=list)
    generation_cpu_s: list[float] = field(default_factory=list)
    prompt_lengths: list[list[int]] = field(default_factory=list)
    completion_lengths: list[list[int]] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)


def continuous_batching_limits(arguments: argparse.Namespace, longest_prompt: int) -> dict[str, int] | None:
    """Return a key-value cache that holds one rank's whole generation batch at full length, or None without continuous batching.

    Without explicit sizes every rank would take a share of the machine's free memory; on the CPU two ranks took all of it.
    """
    if not arguments.continuous_batching:
        return None
    samples = arguments.samples_per_step // arguments.processes
    page_size = 32
    blocks_per_sample = -(-(longest_prompt + arguments.max_new_tokens) // page_size) + 1
    return {
        "page_size": page_size,
        "num_blocks": samples * blocks_per_sample,
        "max_batch_tokens": max(1024, samples),
        "max_requests_per_batch": samples,
    }


def build_trainer(arguments: argparse.Namespace, recorder: StepRecorder, output_dir: str) -> Any:
    """Return TRL's GRPOTrainer without what costs time and is not the work: logging, saving, progress bars, a reference model."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from transformers.trainer_callback import PrinterCallback, ProgressCallback
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(arguments.model, padding_side="left", trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False, use_safetensors=True
    )
    steps = arguments.warmup_steps + arguments.timed_steps
    prompts = read_prompts(arguments.prompts, tokenizer, steps * arguments.samples_per_step // arguments.group_size)

    class TimedTrainer(GRPOTrainer):
        """GRPOTrainer that takes its prompts as token ids (the dataset's text is their index) and times its generation."""

        def _tokenize_prompts(self, prompt_indices: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            ids = [prompts[int(index)] for index in prompt_indices]
            recorder.prompt_lengths.append([len(row) for row in ids])
            return ids, None, {}

        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            result = super()._generate_single_turn(*args, **kwargs)
            recorder.generation_wall_s.append(time.perf_counter() - wall)
            recorder.generation_cpu_s.append(time.process_time() - cpu)
            return result

    class StepClock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            recorder.end_wall_s.append(time.perf_counter())
            recorder.end_cpu_s.append(time.process_time())

    def toy(completion_ids: list[list[int]], **_: Any) -> list[float]:
        values = [reward(ids) for ids in completion_ids]
        recorder.completion_lengths.append([len(ids) for ids in completion_ids])
        recorder.rewards.append(values)
        return values

    config = GRPOConfig(
        output_dir=output_dir,
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=arguments.micro_batch,
        gradient_accumulation_steps=arguments.samples_per_step // (arguments.micro_batch * arguments.processes),
        ddp_backend="gloo" if arguments.processes > 1 else None,
        ddp_find_unused_parameters=False,
        gradient_checkpointing=arguments.gradient_checkpointing,
        num_generations=arguments.group_size,
        max_completion_length=arguments.max_new_tokens,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        generation_kwargs={"min_new_tokens": arguments.max_new_tokens} if arguments.length == "fixed" else None,
        use_vllm=False,
        use_transformers_continuous_batching=arguments.continuous_batching,
        transformers_continuous_batching_config=continuous_batching_limits(arguments, max(map(len, prompts))),
        cache_implementation=None if arguments.cache_implementation == "dynamic" else arguments.cache_implementation,
        beta=0.0,
        num_iterations=1,
        max_steps=steps,
        learning_rate=arguments.lr,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        shuffle_dataset=False,
        seed=arguments.seed,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    dataset = Dataset.from_dict({"prompt": [str(index) for index in range(len(prompts))]})
    trainer = TimedTrainer(
        model=model, reward_funcs=toy, args=config, train_dataset=dataset, processing_class=tokenizer, callbacks=[StepClock()]
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def summarise(arguments: argparse.Namespace, ranks: list[StepRecorder]) -> dict[str, Any]:
    """Return the result: rates over the window from the end of the last warm-up step to the end of the last timed step.

    `ranks` holds every rank's recorder, rank 0 first; the ranks work in lockstep, so rank 0's clock is the run's. Core seconds are the
    processor time of all ranks and all their threads.
    """
    first = arguments.warmup_steps
    samples = arguments.timed_steps * arguments.samples_per_step
    ends = ranks[0].end_wall_s[first - 1 :]
    window_s = ends[-1] - ends[0]
    core_s = sum(rank.end_cpu_s[-1] - rank.end_cpu_s[first - 1] for rank in ranks)
    generation_core_s = sum(sum(rank.generation_cpu_s[first:]) for rank in ranks)
    # A rank pads its share of a generation batch to its own longest prompt and longest completion; every micro-batch keeps that width.
    batches = [batch for rank in ranks for batch in zip(rank.prompt_lengths[first:], rank.completion_lengths[first:], strict=True)]
    computed = sum(len(prompts) * (max(prompts) + max(completions)) for prompts, completions in batches)
    prompt_tokens = sum(sum(prompts) for prompts, _ in batches)
    completion_tokens = sum(sum(completions) for _, completions in batches)
    rewards = [value for rank in ranks for step in rank.rewards[first:] for value in step]
    return {
        "side": "trl",
        "samples_per_s": samples / window_s,
        "window_s": window_s,
        "trained_samples": samples,
        "generated_samples": len(rewards),
        "step_seconds": [after - before for before, after in pairwise(ends)],
        "core_seconds_per_sample": core_s / samples,
        "generation_core_seconds_per_sample": generation_core_s / samples,
        "training_core_seconds_per_sample": (core_s - generation_core_s) / samples,
        "generation_wall_share": sum(ranks[0].generation_wall_s[first:]) / window_s,
        "prompt_tokens_mean": prompt_tokens / samples,
        "completion_tokens_mean": completion_tokens / samples,
        "completion_tokens_max": max(max(completions) for _, completions in batches),
        "padded_share": 1 - (prompt_tokens + completion_tokens) / computed,
        "reward_mean": sum(rewards) / len(rewards),
        "zero_variance_share": zero_variance_share(rewards, arguments.group_size),
    }


def start_ranks(arguments: argparse.Namespace) -> None:
    """Replace this process by torchrun over this script; every rank sees RANK in its environment and takes the other branch of main."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(arguments.processes)]
    os.execv(sys.executable, [sys.executable, *torchrun, str(Path(__file__).resolve()), *sys.argv[1:]])


def gather_recorders(recorder: StepRecorder, processes: int) -> list[StepRecorder]:
    """Return the recorders of all ranks, rank 0 first."""
    if processes == 1:
        return [recorder]
    from torch import distributed

    gathered: list[Any] = [None] * processes
    distributed.all_gather_object(gathered, recorder)
    distributed.barrier()
    return gathered


def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Train, and return the result on rank 0, None on the others."""
    threads = arguments.cores // arguments.processes
    import torch
    import transformers
    import trl

    torch.set_num_threads(threads)
    recorder = StepRecorder()
    with tempfile.TemporaryDirectory(prefix="trl-side-") as output_dir:
        trainer = build_trainer(arguments, recorder, output_dir)
        trainer.train()
    ranks = gather_recorders(recorder, arguments.processes)
    if int(os.environ.get("RANK", "0")) != 0:
        return None
    result = summarise(arguments, ranks)
    result["parameters"] = sum(parameter.numel() for parameter in trainer.accelerator.unwrap_model(trainer.model).parameters())
    result["settings"] = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    result["versions"] = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }
    return result


def main() -> None:
    """Start the ranks if there are several; in a rank, train and print the result."""
    arguments = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = str(arguments.cores // arguments.processes)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if arguments.processes > 1 and "RANK" not in os.environ:
        start_ranks(arguments)
    result = run(arguments)
    if result is not None:
        print(json.dumps(result), flush=True)
    # Gloo's destructor joins a thread that waits for the interpreter lock it holds: a rank that leaves the ordinary way may hang for ever.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
