"""One rank's place in the learner group and the DeepSpeed engine that runs it.

Everything that DeepSpeed wants to be told in a special way is here (environment variables, its JIT-built operators, its JSON).
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import torch
from torch import nn

from learner import tensor_parallel
from learner.config import Device, Dtype, LearnerConfig, OptimConfig


@dataclass(frozen=True, slots=True)
class World:
    """Where this process stands among the data-parallel ranks.

    Attributes:
        master_addr, master_port: where the ranks meet: rank 0 listens there, and on no other address.
        address: of this rank's node, by which the other ranks reach it.
        timeout_s: how long a collective waits for the other ranks before it raises.
    """

    rank: int = 0
    size: int = 1
    master_addr: str = "127.0.0.1"
    master_port: int = 29500
    local_rank: int = 0
    timeout_s: float = 300.0
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} is not in a world of {self.size}: ranks count from 0")


def join(world: World, device: Device) -> tuple[torch.device, bool]:
    """Joins the process group, unless this process is in it already, and returns this rank's device and whether it has joined just now.

    Raises:
        RuntimeError: this process already belongs to a group of another shape, or CUDA is asked for and absent.
    """
    if device == Device.cuda and not torch.cuda.is_available():
        raise RuntimeError("learner.device = cuda, but torch sees no GPU here; set learner.device=cpu or give the learner a GPU")
    os.environ["DS_ACCELERATOR"] = device.value
    os.environ.update(
        RANK=str(world.rank),
        WORLD_SIZE=str(world.size),
        LOCAL_RANK=str(world.local_rank),
        MASTER_ADDR=world.master_addr,
        MASTER_PORT=str(world.master_port),
    )
    deepspeed = _deepspeed()
    joined = not torch.distributed.is_initialized()
    if not joined:
        present = (torch.distributed.get_rank(), torch.distributed.get_world_size())
        if present != (world.rank, world.size):
            raise RuntimeError(
                f"this process is already rank {present[0]} of {present[1]}, it cannot become {world}; close() the first one"
            )
    else:
        _stay_on(world.address)
        if world.rank == 0 and world.master_port not in _meetings:
            open_meeting(world.master_addr, world.master_port, world.size, world.timeout_s)
        deepspeed.comm.comm.cdb = None  # left over from a group that this process has closed
        deepspeed.init_distributed(
            dist_backend="nccl" if device == Device.cuda else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
            timeout=timedelta(seconds=world.timeout_s),
            dist_init_required=True,
        )
    if device == Device.cuda:
        torch.cuda.set_device(world.local_rank)
        return torch.device("cuda", world.local_rank), joined
    return torch.device("cpu"), joined


def leave() -> None:
    """Leaves the process group, if there is one, and no longer listens for its ranks."""
    if torch.distributed.is_initialized():
        _deepspeed().comm.destroy_process_group()
    _meetings.clear()


def open_meeting(host: str, port: int, size: int, timeout_s: float = 300.0) -> int:
    """Let the ranks of a group of ``size`` meet in this process, which will be its rank 0, until :func:`leave`. Port 0: a free one.

    Returns:
        The port.

    Raises:
        RuntimeError: nothing can listen there.
    """
    store = listening_store(host, port, size, timeout_s, multi_tenant=True)  # torch finds it here when this process joins
    _meetings[store.port] = store
    return int(store.port)


_meetings: dict[int, Any] = {}  # stores by port


def listening_store(host: str, port: int, size: int, timeout_s: float, multi_tenant: bool = False) -> Any:
    """torch's TCPStore, on ``host`` alone: left to itself it listens on every address of the machine, and it asks for no password.

    Raises:
        RuntimeError: nothing can listen there.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(socket.SOMAXCONN)
            distributed: Any = torch.distributed  # whose stubs do not export it
            return distributed.TCPStore(
                host,
                listener.getsockname()[1],
                size,
                is_master=True,
                timeout=timedelta(seconds=timeout_s),
                wait_for_workers=False,
                multi_tenant=multi_tenant,
                master_listen_fd=listener.detach(),
            )
    except OSError as error:
        raise RuntimeError(f"cannot listen on {host}:{port} for the ranks of a group: {error.strerror}") from error


def _stay_on(address: str) -> None:
    """Let gloo, and NCCL on one machine, listen on the interface with this address. What the user has set stays."""
    interface = next((name for name, ends in psutil.net_if_addrs().items() if any(end.address == address for end in ends)), None)
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        if ipaddress.ip_address(address).is_loopback:
            os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)


def gathered(parameters: list[nn.Parameter], zero_stage: int) -> Any:
    """Context in which the whole parameters are there on every rank. A collective under ZeRO-3: every rank must enter it."""
    return _deepspeed().zero.GatheredParameters(parameters, enabled=zero_stage == 3)


def start_engine(module: nn.Module, config: LearnerConfig, optim: OptimConfig) -> Any:
    """A DeepSpeed engine around ``module`` with a fresh AdamW; its learning rate is set by the caller before every update."""
    deepspeed = _deepspeed()
    decayed = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter.dim() >= 2]
    plain = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": optim.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=optim.lr,
        betas=(optim.betas[0], optim.betas[1]),
        eps=optim.eps,
        fused=True,
    )
    # AutoTP's mesh is DeepSpeed's for the life of a process, and decides over whom gradients are averaged.
    meshed = deepspeed.utils.groups._TENSOR_MODEL_PARALLEL_GROUP
    if meshed is not None and torch.distributed.get_world_size(meshed) != config.tensor_parallel:
        raise RuntimeError(
            f"this process has trained with another learner.tensor_parallel than {config.tensor_parallel}; use a new process for it"
        )
    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=_engine_config(config, optim), dist_init_required=False)
    if config.tensor_parallel > 1:
        tensor_parallel.settle(engine)
    return engine


def _engine_config(config: LearnerConfig, optim: OptimConfig) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": config.zero_stage, "overlap_comm": config.device == Device.cuda}
    place = {"device": "cpu", "pin_memory": config.device == Device.cuda}
    if config.offload_optimizer:
        zero["offload_optimizer"] = place
    if config.offload_parameters:
        zero["offload_param"] = place
    settings: dict[str, Any] = {
        # The caller's loss is already a sum over the global batch: no accumulation steps for DeepSpeed to divide by.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # Stage 0 in fp32 clips without telling the norm, so the learner clips there itself.
        "gradient_clipping": optim.grad_clip if config.zero_stage > 0 else 0.0,
        "zero_optimization": zero,
        # Gradients are added up over ranks in float32. DeepSpeed's default is the model's dtype, whatever they are accumulated in.
        "communication_data_type": "fp32",
        # An offloaded optimizer is updated by torch's fused AdamW, too: DeepSpeed's own would be compiled at start-up.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }
    if config.tensor_parallel > 1:
        settings["tensor_parallel"] = tensor_parallel.engine_settings(config.tensor_parallel)
    if config.dtype == Dtype.bf16:
        settings["bf16"] = {"enabled": True}
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


def _deepspeed() -> Any:
    """DeepSpeed, imported late (seconds) and kept from building operators at run time: a compiler, 35 s, and a hang on a stale lock."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel(logging.WARNING)
    # DeepSpeed's ZeRO-3 calls collectives by names that torch is about to rename; it says so at every one of them.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)
    return deepspeed
