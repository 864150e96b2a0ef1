"""Whose fault a failure is: what clusters do every week is infrastructure, what nobody knows is a bug."""

import asyncio
import concurrent.futures.process
import errno
import importlib
import inspect
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess

import pytest
import torch
from ray import exceptions as ray_errors

from actors.collective import CollectiveError
from actors.engine import EngineFailedError, RequestRefusedError
from actors.failure_signs import BY_CLASS, MUTE
from actors.failures import FailureKind, FleetTooSmallError, GroupDropped, classify
from actors.ledger import LedgerError
from actors.weights import WeightsCorruptError
from rewards.errors import ScorerPoolError, UnknownTaskError

INFRASTRUCTURE, DATA, BUG = FailureKind.INFRASTRUCTURE, FailureKind.DATA, FailureKind.BUG

# Every class of ray.exceptions. What is not infrastructure needs a reason: a call that can never work, or a wrapper without what it wraps.
NOT_INFRASTRUCTURE_OF_RAY = {
    "ActorAlreadyExistsError": "a name used twice",
    "ActorHandleNotFoundError": "a handle of another cluster",
    "AuthenticationError": "a token that is missing or wrong",
    "CrossLanguageError": "wraps an error whose text is judged",
    "ObjectRefStreamEndOfStreamError": "the stream was read past its end",
    "OufOfBandObjectRefSerializationException": "a reference was pickled where it must not be",
    "RayCgraphCapacityExceeded": "compiled graphs are not used",
    "RayError": "the base class, judged by its text",
    "RayTaskError": "wraps what the actor raised",
    "StreamingGeneratorReplayInconsistentError": "a generator that is not deterministic",
    "UnserializableException": "wraps an error whose text is judged",
    "UserCodeException": "wraps an error of the caller's",
}


def of_ray() -> list[type[BaseException]]:
    return [cls for _, cls in inspect.getmembers(ray_errors, inspect.isclass) if issubclass(cls, BaseException)]


def from_actor(error: BaseException, traceback: str = "trace") -> BaseException:
    """As the driver gets what an actor raised: pickled, with the cause's class mixed in."""
    error = ray_errors.RayError.from_bytes(ray_errors.RayTaskError("f", traceback, error).to_bytes())
    return error.as_instanceof_cause() if isinstance(error, ray_errors.RayTaskError) else error


@pytest.mark.parametrize("cls", of_ray(), ids=lambda cls: cls.__name__)
def test_every_exception_of_ray_has_its_kind(cls: type[BaseException]) -> None:
    expected = BUG if cls.__name__ in NOT_INFRASTRUCTURE_OF_RAY else INFRASTRUCTURE
    assert classify(cls.__new__(cls)) is expected


def test_every_name_in_the_tables_is_a_class_of_a_library_that_is_installed_or_optional() -> None:
    optional = {"httpx", "requests", "urllib3", "aiohttp", "zmq"}
    where = {
        "ray": ["ray.exceptions"],
        "torch": ["torch", "torch.distributed"],
        "vllm": ["vllm.exceptions"],
        "rewards": ["rewards.errors", "rewards.opsin", "rewards.zygote_client"],
        "concurrent": ["concurrent.futures"],
        "requests": ["requests.exceptions"],
        "httpx": ["httpx"],
        "urllib3": ["urllib3.exceptions"],
        "aiohttp": ["aiohttp"],
        "zmq": ["zmq"],
    }
    for name in BY_CLASS.keys() | MUTE:
        package, cls = name.split(".")
        try:
            modules = [importlib.import_module(module) for module in where.get(package, [package])]
        except ModuleNotFoundError:
            assert package in optional, f"{package} is always installed"
            continue
        found = [getattr(module, cls) for module in modules if hasattr(module, cls)]
        assert found, f"{name} is no class any more"
        assert found[0].__module__.partition(".")[0].lstrip("_") == package, f"{name} says so itself: {found[0].__module__}"


MACHINE_CODES = (
    "ENOSPC EDQUOT EIO ESTALE EREMOTEIO EROFS ENODEV ENOMEM EMFILE ENFILE EAGAIN EBUSY ETIMEDOUT ECONNRESET ECONNREFUSED ECONNABORTED "
    "EPIPE EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENETRESET ENOTCONN EADDRINUSE ENOBUFS ENOLINK EUCLEAN "
    "ENOLCK EREMCHG"
)
OTHER_CODES = "ENOENT EACCES EPERM EEXIST ENOTDIR EISDIR EINVAL ENAMETOOLONG ENOEXEC EBADF"


@pytest.mark.parametrize("code", MACHINE_CODES.split())
def test_what_disks_file_servers_and_networks_say_is_infrastructure(code: str) -> None:
    number = getattr(errno, code)
    error = OSError(number, os.strerror(number))
    assert classify(error) is INFRASTRUCTURE
    assert classify(from_actor(error)) is INFRASTRUCTURE
    assert classify(RuntimeError(f"unable to mmap 512 bytes from file </dev/shm/x>: {os.strerror(number)} ({number})")) is INFRASTRUCTURE


@pytest.mark.parametrize("code", OTHER_CODES.split())
def test_a_path_or_a_permission_that_is_wrong_is_a_bug(code: str) -> None:
    number = getattr(errno, code)
    assert classify(from_actor(OSError(number, os.strerror(number), "/mnt/nccl/no space left on device"))) is BUG


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: unspecified launch failure",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: an illegal instruction was encountered",
        "CUDA error: misaligned address",
        "CUDA error: the launch timed out and was terminated",
        "CUDA error: hardware stack error",
        "CUDA error: all CUDA-capable devices are busy or unavailable",
        "CUDA error: no CUDA-capable device is detected",
        "CUDA error: unknown error",
        "CUDA error: uncorrectable NVLink error detected during the execution",
        "CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
        "CUDA error: system not yet initialized",
        "CUDA driver error: device unavailable",
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB",
        "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices()",
        "cudaErrorDevicesUnavailable",
        "No CUDA GPUs are available",
        "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver",
        "device >= 0 && device < num_gpus INTERNAL ASSERT FAILED at CUDAContext.cpp",
        "CUDA failure 999: unknown error ; GPU=0 ; hostname=x; cudaErrorECCUncorrectable",
        "HIP error: the operation cannot be performed in the present state of the device",
        "CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp. NVML: GPU is lost",
        "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus",
        "NCCL error: remote process exited or there was a network error, NCCL version 2.27",
        "NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
        "NCCL communicator was aborted on rank 3.",
        "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=37, OpType=ALLREDUCE)",
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.3]:41231",
        "[enforce fail at pair.cc] Timed out waiting 1800000ms for recv operation to complete",
        "Rank 2 failed to pass monitoredBarrier in 30000 ms",
        "The client socket has timed out after 600000ms while trying to connect to (10.0.0.2, 29500).",
        "Stop_waiting response is expected: failed to recv, got 0 bytes",
        "wait timeout after 300000ms, keys: /default_pg/0//cpu//0",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 34359738368 bytes. Error code 12 (Cannot allocate memory)",
        "DataLoader worker (pid 4711) is killed by signal: Bus error.",
        "Timed out initializing process group in store based barrier on rank: 0, for key: store_based_barrier_key:1",
        "Application timeout caused pair closure",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
        "NVML_ERROR_GPU_IS_LOST",
        "Triton Error [CUDA]: out of memory",
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': -9}",
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "Worker proc VllmWorker-1 died unexpectedly, shutting down executor.",
        "RPC call to execute_model timed out.",
        "Free memory on device cuda:0 (3.2/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 71.2 GiB)",
        "std::bad_alloc",
        "can't start new thread",
        "unable to allocate shared memory(shm) for file </torch_1>: Success (0)",
        "The worker died: SIGKILL",
        "RPC error: Deadline Exceeded",
        "<AioRpcError of RPC that terminated with: status = StatusCode.UNAVAILABLE>",
        "Placement group 4c3f was removed",
    ],
)
@pytest.mark.parametrize("cls", [RuntimeError, torch.AcceleratorError, torch.distributed.DistBackendError])
def test_what_gpus_and_collectives_report_is_infrastructure(cls: type[RuntimeError], text: str) -> None:
    assert classify(cls(text)) is INFRASTRUCTURE
    assert classify(from_actor(cls(text))) is INFRASTRUCTURE


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: device-side assert triggered",
        "CUDA error: invalid argument",
        "CUDA error: invalid configuration argument",
        "CUDA error: no kernel image is available for execution on the device",
        "CUDA error: operation not permitted when stream is capturing",
        "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx`",
        "CUBLAS_STATUS_NOT_SUPPORTED",
        "NCCL error: invalid usage (run with NCCL_DEBUG=WARN for details)",
        "Detected mismatch between collectives on ranks. Rank 0 is running collective: ALLREDUCE",
        "CUDA driver error: invalid argument",
        "cuda runtime error (59) : device-side assert triggered",
        "Triton Error [CUDA]: device kernel image is invalid",
        "CUDA failure 1: cudaErrorInvalidValue ; GPU=0",
        "CUDA_ERROR_NO_BINARY_FOR_GPU",
        "cudaErrorAssert",
        "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000 (NCCL 2.27)",
        "Input tensor data type is not supported for NCCL process group: Bool",
        "Invalid scalar type for NCCL",
        "NCCL does not support complex tensors",
        "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
        "learner rank 0 was not started: call start() first",
        "",
    ],
)
def test_a_call_that_no_machine_would_take_stays_a_bug(text: str) -> None:
    assert classify(RuntimeError(text)) is BUG
    assert classify(from_actor(RuntimeError(text))) is BUG


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("x"),
        torch.distributed.DistBackendError("x"),
        torch.distributed.DistNetworkError("x"),
        torch.distributed.DistStoreError("x"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        TimeoutError(),
        asyncio.IncompleteReadError(b"", 4),
        multiprocessing.TimeoutError(),
        subprocess.TimeoutExpired("nvidia-smi", 3),
        concurrent.futures.process.BrokenProcessPool("a process died"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        MemoryError(),
        subprocess.CalledProcessError(-signal.SIGKILL, "x"),
        subprocess.CalledProcessError(128 + signal.SIGKILL, "x"),
        EngineFailedError("dead"),
        WeightsCorruptError("pulling again is safe"),
        CollectiveError("late"),
        ScorerPoolError("closed"),
        ray_errors.RayError("Exception torch.AcceleratorError isn't serializable: x\nRuntimeError: CUDA error: unspecified launch failure"),
        ray_errors.UnserializableException("Traceback ...\nRuntimeError: NCCL error: unhandled system error"),
        Exception("Call to collective_rpc method failed: CUDA error: uncorrectable ECC error encountered"),  # as vLLM reports it
    ],
    ids=lambda error: type(error).__name__,
)
def test_processes_memory_and_connections_that_are_lost_are_infrastructure(error: BaseException) -> None:
    assert classify(error) is INFRASTRUCTURE


def test_a_dead_engine_is_infrastructure_and_a_refused_request_is_data() -> None:
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    assert classify(from_actor(EngineDeadError())) is INFRASTRUCTURE
    assert classify(EngineGenerateError("x")) is INFRASTRUCTURE
    assert classify(VLLMValidationError("too long")) is DATA
    assert classify(from_actor(RequestRefusedError("too long"))) is DATA


@pytest.mark.parametrize(
    "error",
    [
        KeyError("connection reset by peer"),
        AttributeError("nccl"),
        TypeError("CUDA error: unspecified launch failure"),
        AssertionError("Torch not compiled with CUDA enabled"),
        NotImplementedError("nccl"),
        RecursionError("nccl"),
        ZeroDivisionError(),
        LedgerError("off by one: connection reset"),
        UnknownTaskError("x", []),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        subprocess.CalledProcessError(2, "x"),
        Exception("something"),
        FleetTooSmallError("nobody came"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_nobody_knows_stays_a_bug(error: BaseException) -> None:
    assert classify(error) is BUG
    assert classify(from_actor(error)) is BUG


def chained(raised: Exception, cause: Exception, explicit: bool = True) -> Exception:
    try:
        try:
            raise cause
        except Exception as caught:
            if explicit:
                raise raised from caught
            raise raised  # noqa: B904  # the point: the cause is merely being handled
    except type(raised) as error:
        return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (chained(RuntimeError("cannot read the policy"), OSError(errno.ESTALE, "Stale file handle")), INFRASTRUCTURE),
        (chained(ValueError("no tokenizer in the folder"), OSError(errno.EIO, "Input/output error")), INFRASTRUCTURE),
        (chained(KeyError("x"), ray_errors.NodeDiedError("gone")), INFRASTRUCTURE),
        (chained(chained(LookupError("a"), RuntimeError("b")), ConnectionResetError(errno.ECONNRESET, "peer")), INFRASTRUCTURE),
        (chained(RuntimeError("[enforce fail] unexpected pos 704 vs 598"), OSError(errno.ENOSPC, "full"), explicit=False), INFRASTRUCTURE),
        (chained(KeyError("a bug in the handler"), ConnectionResetError("peer"), explicit=False), BUG),
        (chained(ValueError("bad row"), KeyError("mass")), DATA),
        (chained(RuntimeError("x"), ValueError("bad row")), DATA),
        (chained(RuntimeError("x"), ZeroDivisionError()), BUG),
        (chained(FleetTooSmallError("x"), ray_errors.NodeDiedError("gone")), BUG),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_error_that_says_nothing_is_its_causes_also_out_of_an_actor(error: BaseException, kind: FailureKind) -> None:
    import traceback

    printed = "".join(traceback.format_exception(error))
    assert classify(error) is kind
    assert classify(from_actor(error, printed)) is kind, "Ray drops __cause__: only the traceback's text is left"


def test_a_cause_is_read_also_where_ray_prints_no_frame_of_it() -> None:
    actor = "\x1b[36mray::Worker.read()\x1b[39m (pid=7, ip=127.0.0.1)\n"
    frame = '  File "/x/worker.py", line 8, in read\n    raise ValueError("no tokenizer") from error\n'
    chain = "\nThe above exception was the direct cause of the following exception:\n\n"
    for cause, kind in (("OSError: [Errno 116] Stale file handle\n", INFRASTRUCTURE), ("KeyError: 'x'\n", DATA)):
        printed = f"{actor}{cause}{chain}{actor}{frame}ValueError: no tokenizer"
        assert classify(from_actor(ValueError("no tokenizer"), printed)) is kind


def test_a_failure_of_this_package_says_itself_what_it_is_whatever_it_came_from() -> None:
    assert classify(chained(GroupDropped("u", "infrastructure", "5 tries"), ray_errors.NodeDiedError("gone"))) is DATA
    assert classify(chained(EngineFailedError("it did not start"), KeyError("x"))) is INFRASTRUCTURE


def test_the_code_in_a_traceback_is_no_text_of_the_error() -> None:
    frames = 'Traceback (most recent call last):\n  File "/x/nccl/gloo.py", line 3, in all_reduce\n    self._nccl.reduce()\n'
    assert classify(ray_errors.UnserializableException(f"{frames}KeyError: 'x'")) is BUG
    assert classify(ray_errors.UnserializableException(f"{frames}RuntimeError: NCCL error: unhandled system error")) is INFRASTRUCTURE


def test_a_group_is_as_bad_as_its_worst() -> None:
    lost, late, bad, bug = ray_errors.NodeDiedError("x"), TimeoutError(), ValueError("row"), KeyError("typo")
    assert classify(ExceptionGroup("", [lost, ExceptionGroup("", [late])])) is INFRASTRUCTURE
    assert classify(ExceptionGroup("", [lost, bad])) is INFRASTRUCTURE
    assert classify(ExceptionGroup("", [bad, bad])) is DATA
    assert classify(ExceptionGroup("", [lost, ExceptionGroup("", [late, bug])])) is BUG
    assert classify(from_actor(ExceptionGroup("", [lost, late]))) is INFRASTRUCTURE
    assert classify(chained(RuntimeError("x"), ExceptionGroup("", [late]))) is INFRASTRUCTURE


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, other = RuntimeError("a"), RuntimeError("b")
    one.__cause__, other.__cause__ = other, one
    assert classify(one) is BUG
