"""What other people's exceptions say about whose fault they are: by class, by errno, and where the class says nothing, by text.

Names stand for classes, so that nothing has to be imported to judge an error: "ray.NodeDiedError" is the class NodeDiedError of the
top-level package ray, "builtins.ValueError" the built-in one. What is named nowhere is nobody's known fault, and
:func:`actors.failures.classify` calls it a bug.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum


class FailureKind(StrEnum):
    INFRASTRUCTURE = "infrastructure"
    DATA = "data"
    BUG = "bug"


_INFRASTRUCTURE = (
    # Processes, nodes and objects that are gone. An object that Ray freed too early or could not rebuild is as gone as one whose node died:
    # what it held is asked again.
    "ray.RayActorError ray.WorkerCrashedError ray.NodeDiedError ray.LocalRayletDiedError ray.ObjectLostError ray.AsyncioActorExit "
    "ray.ActorUnschedulableError ray.TaskUnschedulableError ray.ActorPlacementGroupRemoved ray.TaskPlacementGroupRemoved "
    # A node without memory, disk or room in its object store; Ray's own services in trouble.
    "ray.OutOfMemoryError ray.OutOfDiskError ray.ObjectStoreFullError ray.PlasmaObjectNotAvailable ray.PendingCallsLimitExceeded "
    "ray.RuntimeEnvSetupError ray.RaySystemError ray.RpcError ray.GetTimeoutError ray.TaskCancelledError "
    # torch and vLLM. A GPU without memory: what held it (a process that is not quite dead, fragments) is gone in a fresh process; a batch
    # that never fits makes no progress, and whoever retries gives up on that.
    "torch.DistError torch.OutOfMemoryError vllm.VLLMServerError rewards.ScorerPoolError rewards.ReaderLostError rewards.ZygoteLostError "
    # Python's own and the network's. MemoryError: as for a GPU.
    "builtins.TimeoutError builtins.ConnectionError builtins.EOFError builtins.MemoryError socket.gaierror socket.herror "
    "concurrent.BrokenExecutor subprocess.TimeoutExpired multiprocessing.TimeoutError "
    "ssl.SSLEOFError ssl.SSLZeroReturnError ssl.SSLSyscallError zmq.Again zmq.ContextTerminated httpx.TransportError "
    "requests.ConnectionError requests.Timeout requests.ChunkedEncodingError "
    "urllib3.TimeoutError urllib3.ProtocolError urllib3.NewConnectionError aiohttp.ClientConnectionError aiohttp.ServerTimeoutError"
)
_BUG = (
    # Calls of Ray that can never work, however often they are made. Two of them are ValueErrors, but not about anybody's data.
    "ray.ActorAlreadyExistsError ray.ActorHandleNotFoundError ray.AuthenticationError ray.ObjectRefStreamEndOfStreamError "
    "ray.StreamingGeneratorReplayInconsistentError ray.RayCgraphCapacityExceeded ray.OufOfBandObjectRefSerializationException "
    "ssl.SSLCertVerificationError builtins.NotImplementedError builtins.RecursionError"
)
_DATA = "builtins.ValueError vllm.VLLMClientError"
# Classes that say nothing, and whose text, or what was being handled when they were raised, is asked instead. Those of the second line are
# the bases of nearly everything: what derives from them is not mute for that.
_MUTE = (
    "builtins.RuntimeError builtins.SystemError builtins.OSError torch.AcceleratorError torch.DistError safetensors.SafetensorError "
    "builtins.Exception ray.RayError ray.RayTaskError ray.UserCodeException ray.CrossLanguageError ray.UnserializableException"
)

BY_CLASS: dict[str, FailureKind] = {
    name: kind
    for kind, names in ((FailureKind.INFRASTRUCTURE, _INFRASTRUCTURE), (FailureKind.BUG, _BUG), (FailureKind.DATA, _DATA))
    for name in names.split()
}
MUTE = frozenset(_MUTE.split())
_BASES = frozenset({"builtins.Exception", "ray.RayError"})
OURS = frozenset({"actors", "chemr", "learner", "rewards"})  # packages whose classes are known here, or mean a bug: no text is asked

# What a disk, a file server, a network or a machine says. Absent: what is wrong with a path or a permission (ENOENT, EACCES, EINVAL …).
_ERRNOS = (
    "ENOSPC EDQUOT EIO ESTALE EREMOTEIO EROFS EUCLEAN ENODEV ENXIO ENOMEDIUM EBUSY ENOMEM ENOBUFS ENFILE EMFILE EAGAIN EINTR ETIME "
    "ETIMEDOUT ECONNRESET ECONNREFUSED ECONNABORTED ENOTCONN ESHUTDOWN EPIPE ENETDOWN ENETUNREACH ENETRESET EHOSTDOWN EHOSTUNREACH "
    "ENONET ENOLINK ECOMM EPROTO EADDRINUSE EADDRNOTAVAIL EKEYEXPIRED ENOLCK EREMCHG"
)
INFRASTRUCTURE_ERRNOS = frozenset(getattr(errno, name) for name in _ERRNOS.split())

# Texts of C++ libraries, in lower case. First the calls that were wrong from the start, which no other machine would take either.
_WRONG_CALL = re.compile(
    r"device-side assert|\b(cuda|hip|triton)( runtime| driver)? error\b.*"
    r"(invalid (argument|configuration|resource handle|device function|value|device symbol|texture)"
    r"|no kernel image|kernel image is invalid|too many resources|not supported|not permitted|previous error during capture"
    r"|driver version is insufficient|named symbol not found|ptx)"
    r"|(cublas|cudnn|cusolver|cusparse)_status_(invalid_value|bad_param|not_supported|arch_mismatch)"
    r"|cuda_?error_?(assert|no_?binary|no_?kernel_?image|not_?supported|unsupported|not_?permitted"
    r"|invalid_?(value|config|image|ptx|source|resource|handle|device_?function|symbol))"
    r"|nccl.*(invalid usage|invalid argument|does not support)|not supported for nccl|invalid scalar type|duplicate gpu detected"
    r"|detected mismatch between collectives"
)
_MACHINE = re.compile(
    r"\b(cuda|hip) (runtime |driver )?error\b|cuda out of memory|hip out of memory|defaultcpuallocator: (can't|not enough)"
    r"|unexpected error from cudagetdevicecount|cuda driver (initialization|error)|cuda initialization|cuda-capable device"
    r"|cuda unknown error|triton error|no cuda gpus are available|found no nvidia driver|device < num_gpus"
    r"|\bcudaerror\w*|\bcuda_error_\w+|(cublas|cudnn|cusolver|cusparse)_status_"
    r"(alloc_failed|not_initialized|execution_failed|internal_error|mapping_error)"
    r"|\becc error|uncorrectable|\bnvlink\b|\bnvml|\bxid\b|gpu (has fallen|is lost|requires reset)|fallen off the bus"
    r"|unspecified launch failure|less than desired gpu memory"
    r"|engine core initialization|enginecore encountered|enginedeaderror|died unexpectedly|rpc call to \w+ timed out"
    r"|std::bad_alloc|(can't|unable to|cannot) (start|create) (a )?(new )?thread|allocate shared memory|\bsig(kill|bus)\b"
    r"|\bnccl|\bgloo\b|\bmpi error|collective operation timeout|monitoredbarrier|broken promise"
    r"|socket timeout|client socket has (timed out|failed)|failed to (recv|connect)|tcpstore|timed out (waiting|after|initializing)"
    r"|application timeout|wait timeout"
    r"|deadline exceeded|statuscode\.(unavailable|deadline_exceeded)|placement group .*removed"
    r"|connection (reset|closed|refused|aborted|was closed)|connection lost|name or service not known|temporary failure in name resolution"
    r"|dataloader worker .* (is killed|exited)|bus error|killed by signal|"
    + "|".join(re.escape(os.strerror(number).lower()) for number in sorted(INFRASTRUCTURE_ERRNOS))
)


def class_names(cls: type[BaseException]) -> list[str]:
    """``package.Class`` of an exception class and of its bases, most special first."""
    return [f"{base.__module__.partition('.')[0].lstrip('_')}.{base.__name__}" for base in cls.__mro__]


def is_mute(names: Sequence[str]) -> bool:
    """Whether the class ``names[0]`` says nothing by itself; ``names`` as from :func:`class_names`."""
    if not names or names[0].partition(".")[0] in OURS:
        return False
    spoken = next((name for name in names if name in MUTE or name in BY_CLASS), "")
    return spoken in MUTE and (spoken not in _BASES or spoken == names[0])


def judge(names: Sequence[str], text: str, number: int | None) -> FailureKind | None:
    """The kind of an error by its classes, its text and its errno (None: it has none); None when none of them is known.

    An errno outweighs the class and the class the text, except where the class says nothing.
    """
    if number is not None and "builtins.OSError" in names and number in INFRASTRUCTURE_ERRNOS:
        return FailureKind.INFRASTRUCTURE
    if number is None and is_mute(names) and (told := kind_by_text(text)) is not None:
        return told
    return next((BY_CLASS[name] for name in names if name in BY_CLASS), None)


def kind_by_text(text: str) -> FailureKind | None:
    """INFRASTRUCTURE for what a library says about machines, devices and connections; BUG for a call that was wrong from the start."""
    text = "\n".join(line for line in text.lower().splitlines() if not line.startswith("  "))  # of a traceback: no frames, no code
    if _WRONG_CALL.search(text):
        return FailureKind.BUG
    return FailureKind.INFRASTRUCTURE if _MACHINE.search(text) else None


_CHAINED = re.compile(
    r"^\s*(The above exception was the direct cause of the following exception:|During handling of the above exception, another exception "
    r"occurred:)\s*$",
    re.MULTILINE,
)
_HEADER = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?\Z", re.DOTALL)
_ACTOR = re.compile(r"(\x1b\[\d+m)?ray::")  # the line with which Ray begins what it tells of an actor; colours are its own
_ERRNO = re.compile(r"\[Errno (-?\d+)\]")


def kinds_told(traceback: str, names: Sequence[str]) -> Iterator[FailureKind | None]:
    """The kinds of the causes, nearest first, that the printed ``traceback`` of an error of the classes ``names`` tells of.

    What was merely being handled when the error was raised counts where the error itself says nothing.
    """
    *sections, _ = parts = _CHAINED.split(traceback)  # text, how it is chained to the next, text, ..., text of the error itself
    mute = is_mute(names)
    for index in range(len(sections) - 2, -1, -2):
        if parts[index + 1].startswith("During") and not mute:
            return
        header, text = _last_words(parts[index])
        package, _, name = header.rpartition(".")
        cls = getattr(sys.modules.get(package or "builtins"), name, None)
        if isinstance(cls, type) and issubclass(cls, BaseException):
            told = class_names(cls)
        else:
            told = [f"{package.partition('.')[0].lstrip('_')}.{name}"]
        declared, number = getattr(cls, "kind", None), _ERRNO.search(text)
        yield declared if isinstance(declared, FailureKind) else judge(told, text, int(number.group(1)) if number else None)
        mute = is_mute(told)


def _last_words(section: str) -> tuple[str, str]:
    """Class (as printed) and message of the exception that a section of a traceback ends with; empty when there is none."""
    lines = section.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    tail = lines[frames[-1] + 1 :] if frames else lines  # Ray leaves out its own frames, perhaps all there are
    rest = itertools.dropwhile(lambda line: not line or line.startswith(" ") or _ACTOR.match(line), tail)
    header = _HEADER.match("\n".join(rest).strip())
    return (header["name"], header["text"] or "") if header else ("", "")
