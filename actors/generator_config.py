"""What a generator can be told, and how that is put to vLLM: environment variables and engine arguments, all in this one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
CPU_BATCHED_TOKENS = 2048
ENGINE_DIR_LIMIT = 60  # characters; a Unix socket path ends at 107 and vLLM appends a UUID

# Mean |log-prob of the engine − log-prob of the learner| that is taken for rounding, by the coarser of their two formats. Measured on a
# 0.7M model: 7e-7 (largest 5e-6) where both are float32; 1e-2 (0.07) where either is bfloat16; 1e-3 (5e-3) with float16. Rare tokens of a
# large model are off by more, an engine with wrong weights by 0.5 and more.
PROBE_TOLERANCE = {"float32": 1e-4, "float16": 0.03, "bfloat16": 0.15}
PROBE_LARGEST = 10.0  # times the mean's tolerance: what a single token may be off


@dataclass
class GeneratorConfig:
    """One rollout engine (one actor).

    Attributes:
        device: "cpu" or "cuda".
        dtype: of weights and activations. Log-probs agree with an fp32 learner to 5e-6 only in float32.
        tensor_parallel: processes (GPUs) one engine is split over, all on one node: the actor's bundle must have as many GPUs
            (``pool.generator_gpus``).
        threads: CPU threads of the engine's computation, of each of its processes.
        max_model_len: prompt + completion, tokens. A longer request is refused.
        max_num_seqs: samples computed in one step; more wait in the engine's queue.
        max_num_batched_tokens: tokens computed in one step; None = the larger of 2048 and ``max_model_len`` on the CPU, vLLM's choice on
            a GPU. On the CPU prompts are never cut into chunks (where the cut falls would depend on the other requests, and so would the
            last bits of the log-probs), so it cannot be smaller than ``max_model_len``.
        kv_cache_mb: key-value cache, MiB. Required on the CPU, where vLLM would take 92 % of the node's memory. None on a GPU: what
            ``gpu_memory_utilization`` leaves.
        gpu_memory_utilization: share of the GPU's memory the engine may use (cuda without ``kv_cache_mb``).
        enforce_eager: no torch.compile and no CUDA graphs. False costs 12 s at start on the CPU and needs a C++ compiler.
        prefix_caching: reuse the keys and values of equal prompt beginnings. Pays when prompts are much longer than a block (16 tokens on
            a GPU, 32 on the CPU). It is emptied at every weight update.
        keep_cache: samples in flight at a weight update go on with the keys and values that older weights computed (in-flight updates of
            PipelineRL, arXiv 2509.19128, §3) instead of computing them again. Costs nothing per update, where the default computes
            every token in flight again. Recorded log-probs stay those the tokens were drawn with; that they belong to a mixture of
            versions shows in ``train/mismatch_kl``.
        probe_tolerance: largest mean |Δ log-prob| over the probe at which a weight update is acknowledged; a single token may be off by
            ten times as much. None = by the coarser of the engine's and the learner's dtype, see PROBE_TOLERANCE.
        start_timeout_s, update_timeout_s, fetch_timeout_s: deadlines for starting an engine, for each phase of a weight update inside
            the engine, and for one bucket of it to come out of the object store.
        log_level: of vLLM.
    """

    device: str = "cpu"
    dtype: str = "float32"
    tensor_parallel: int = 1
    threads: int = 1
    max_model_len: int = 512
    max_num_seqs: int = 256
    max_num_batched_tokens: int | None = None
    kv_cache_mb: int | None = 256
    gpu_memory_utilization: float = 0.85
    enforce_eager: bool = True
    prefix_caching: bool = False
    keep_cache: bool = False
    probe_tolerance: float | None = None
    start_timeout_s: float = 300.0
    update_timeout_s: float = 60.0
    fetch_timeout_s: float = 60.0
    log_level: str = "ERROR"

    def validate(self) -> None:
        """Raises ValueError naming the field, its value and the remedy."""
        _require_choice("device", self.device, DEVICES)
        _require_choice("dtype", self.dtype, DTYPES)
        _require_choice("log_level", self.log_level, LOG_LEVELS)
        for name in ("tensor_parallel", "threads", "max_num_seqs", "max_num_batched_tokens", "kv_cache_mb"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"generator.{name} is {value}; it must be at least 1")
        if self.max_model_len < 2:
            raise ValueError(f"generator.max_model_len is {self.max_model_len}; it must hold at least one prompt and one new token")
        if self.device == "cpu" and self.kv_cache_mb is None:
            raise ValueError(
                "generator.kv_cache_mb is null on device cpu, where vLLM would take 92 % of the node's memory; set it, e.g. 256"
            )
        if self.device == "cuda" and self.kv_cache_mb is None and not 0.05 <= self.gpu_memory_utilization <= 0.98:
            raise ValueError(f"generator.gpu_memory_utilization is {self.gpu_memory_utilization}; it must be within 0.05 .. 0.98")
        if self.max_num_batched_tokens is not None and self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"generator.max_num_batched_tokens is {self.max_num_batched_tokens}, below max_num_seqs = {self.max_num_seqs}; every "
                "running sample needs one token a step"
            )
        if self.device == "cpu" and self.max_num_batched_tokens is not None and self.max_num_batched_tokens < self.max_model_len:
            raise ValueError(
                f"generator.max_num_batched_tokens is {self.max_num_batched_tokens}, below max_model_len = {self.max_model_len}; on the "
                "CPU a prompt is computed in one piece, so that a rollout does not depend on its company"
            )
        if self.keep_cache and self.prefix_caching:
            raise ValueError(
                "generator.keep_cache and generator.prefix_caching are both true: later samples would begin with keys and values of older "
                "weights; set one of them to false"
            )
        if self.probe_tolerance is not None and not self.probe_tolerance > 0:
            raise ValueError(f"generator.probe_tolerance is {self.probe_tolerance}; it must be above 0 (null = by dtype)")
        for name in (field.name for field in fields(self) if field.name.endswith("_timeout_s")):
            if not getattr(self, name) > 0:
                raise ValueError(f"generator.{name} is {getattr(self, name)}; a deadline must be above 0 seconds")

    def tolerance(self, published: Iterable[str]) -> float:
        """The probe tolerance in force for weights of these dtypes."""
        if self.probe_tolerance is not None:
            return self.probe_tolerance
        return max(PROBE_TOLERANCE.get(dtype, 0.0) for dtype in (self.dtype, *published))

    @property
    def own_sampling(self) -> bool:
        """Whether :mod:`actors.sampler` and :mod:`actors.rollout_scheduler` take part: on the CPU. On a GPU vLLM's model runner V2 samples
        by counter itself, and its asynchronous scheduler hides the cost of sending tokens."""
        return self.device == "cpu"

    @property
    def worker_in_core(self) -> bool:
        """Whether the model runs inside vLLM's EngineCore process (one process less, no shared-memory queue)."""
        return self.tensor_parallel == 1


def engine_environment(config: GeneratorConfig, engine_dir: Path) -> dict[str, str]:
    """Every environment variable the engine needs, to be set before vLLM is imported and inherited by its processes.

    Args:
        config: validated.
        engine_dir: private to this generator; sockets and rendezvous files go there, so that generators on one node cannot meet and that
            removing the folder removes everything an engine that was killed left behind.

    Raises:
        ValueError: when the folder's name is too long for a socket path.
    """
    if len(str(engine_dir)) > ENGINE_DIR_LIMIT:
        raise ValueError(f"engine folder {engine_dir} has {len(str(engine_dir))} characters; at most {ENGINE_DIR_LIMIT} fit a socket path")
    environment = {
        # 0: the executor is not forked off when there is one worker. AsyncLLM keeps its EngineCore process either way.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if config.worker_in_core else "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # Binding knows nothing of the other engines on the node: they would all take the same cores.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(config.threads),
        "MKL_NUM_THREADS": str(config.threads),
        "VLLM_RPC_BASE_PATH": str(engine_dir),
        "TMPDIR": str(engine_dir),
        "VLLM_HOST_IP": "127.0.0.1",  # an engine never leaves its node
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": config.log_level,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if config.enforce_eager:
        # Otherwise vLLM still compiles the helper that ranks log-probs: seconds at the first request, and a C++ compiler at run time.
        environment["TORCH_COMPILE_DISABLE"] = "1"
    return environment


def engine_arguments(config: GeneratorConfig, model_dir: Path, engine_seed: int) -> dict[str, Any]:
    """Keyword arguments of ``vllm.AsyncEngineArgs``.

    ``engine_seed`` only seeds what is not seeded per request (nothing, in this code base), but vLLM's default of 0 would give every
    engine the same stream, so each generator and each restart gets its own.
    """
    arguments: dict[str, Any] = {
        "model": str(model_dir),
        "skip_tokenizer_init": True,
        "trust_remote_code": False,
        "load_format": "safetensors",  # a folder's pickles could run code
        "dtype": config.dtype,
        "seed": engine_seed % (1 << 31),
        "tensor_parallel_size": config.tensor_parallel,
        # Left to itself vLLM finds that it runs in an actor and spreads over the actor's whole placement group, bundles of learner and
        # reward workers included.
        "distributed_executor_backend": "uni" if config.worker_in_core else "mp",
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": config.prefix_caching,
        # After temperature: the behaviour distribution itself.
        "logprobs_mode": "processed_logprobs",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "weight_transfer_config": {"backend": "store"},
        # Importing the class registers the backend in every engine process.
        "worker_extension_cls": "actors.engine_extension.WorkerExtension",
        "generation_config": "vllm",  # a model folder's top_p and the like must not change the behaviour distribution
    }
    if config.own_sampling:
        arguments["logits_processors"] = ["actors.sampler:SampleSeeds"]
        arguments["scheduler_cls"] = "actors.rollout_scheduler.RolloutScheduler"
        arguments["block_size"] = 32  # vLLM's 128 makes its attention kernel read four times what a short sample has
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = config.max_num_batched_tokens or max(
            CPU_BATCHED_TOKENS, config.max_model_len, config.max_num_seqs
        )
    elif config.max_num_batched_tokens is not None:
        arguments["max_num_batched_tokens"] = config.max_num_batched_tokens
    if config.kv_cache_mb is not None:
        arguments["kv_cache_memory_bytes"] = config.kv_cache_mb << 20
    else:
        arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
    return arguments


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"generator.{name} is {value!r}; choose one of {', '.join(choices)}")
