"""What a process may see and do that reads text which a model or a stranger wrote.

RDKit and OPSIN are large parsers, and text that breaks one runs with the rights of its process. Such a process therefore gets an
environment from an allow-list (:func:`child_environment`) and gives up, before it reads anything, what it never needs (:func:`confine`):

* new privileges (``PR_SET_NO_NEW_PRIVS``: no setuid program helps it) and, as root, all capabilities but those to read and write files;
* sockets other than Unix sockets, ``ptrace`` and its relatives (a seccomp filter; x86-64 and AArch64);
* the memory, environment and, from Linux 6.12 on, signals of processes outside (a Landlock domain). Without it, ``/proc/PID/environ`` of
  its parent shows the secrets that its own environment lacks.

Files stay as readable as they are for the user. What the kernel or a container's own filter refuses is left out and told on standard error,
one line a process: scoring goes on. Both children and programs that are executed inherit all of it.

``python -m rewards.confinement COMMAND…`` confines a program that is not ours; without a command it prints what cannot be had here.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PASSED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "XDG_CACHE_HOME"),
        *("JAVA_HOME", "NLTK_DATA", "VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_VISIBLE_DEVICES", "MALLOC_ARENA_MAX"),
        *("PYTHONHOME", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "PYTHONUTF8"),
        "CHEMR_POOL_ID",  # an id, not a secret: a run that was killed finds its processes by it
    )
)
"""Variables that such a process inherits, with all that begin with ``LC_``."""

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF: absolute word; constants; constant
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the argument's low word
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # SECCOMP_RET_ERRNO with EACCES
_X32_CALLS = 0x40000000  # x86-64's second table of calls

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # on every architecture
_LANDLOCK_VERSION_FLAG = 1
_MAKE_DEVICES = 1 << 6 | 1 << 11  # LANDLOCK_ACCESS_FS_MAKE_CHAR and _BLOCK, which needs root anyway: a domain must handle something
_SCOPES = 0b11  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and _SIGNAL

_CAPABILITY_VERSION = 0x20080522
_FILE_CAPABILITIES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: a checkout may belong to another user

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Calls:
    """Numbers of an architecture's system calls. ``others``: ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, io_uring_setup
    (which makes sockets past a filter)."""

    audit: int
    socket: int
    others: tuple[int, ...]


_CALLS = {
    "x86_64": _Calls(0xC000003E, 41, (101, 310, 311, 438, 425)),
    "aarch64": _Calls(0xC00000B7, 198, (117, 270, 271, 438, 425)),
}


@dataclass(frozen=True, slots=True)
class PluginAccess:
    """What the scoring processes keep for the plugins in them, and lose otherwise.

    Attributes:
        environment: names of variables, e.g. of an address or a key that a judge needs. The answers that are scored are read in the same
            processes: whoever breaks a parser there reads these too.
        network: sockets; for a scorer that asks a server.
    """

    environment: tuple[str, ...] = ()
    network: bool = False


NOTHING = PluginAccess()


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("if_true", ctypes.c_uint8), ("if_false", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def child_environment(extra: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that reads hostile text: :data:`PASSED`, this process's import path, one OpenMP thread.

    Args:
        extra: names that are passed besides, for plugins that need them.
        environment: taken from; None = this process's own.
    """
    source = os.environ if environment is None else environment
    passed = {name: value for name, value in source.items() if name in PASSED or name.startswith("LC_") or name in extra}
    # The same import path as here: what can be imported in this process can be imported there, however it got onto the path.
    return passed | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), "OMP_NUM_THREADS": "1"}


def confined_command(command: Sequence[str]) -> list[str]:
    """A command that runs ``command`` confined; for programs that cannot call :func:`confine` themselves."""
    return [sys.executable, "-m", "rewards.confinement", *command]


def confine(network: bool = False) -> None:
    """Gives up for ever what this thread, its children and what they execute never need. Call it before any thread is started.

    ``network`` leaves sockets alone, for plugins that ask a server. What cannot be had is told on standard error.
    """
    for line in _confine(network):
        print(f"rewards: {line}", file=sys.stderr, flush=True)


def _confine(network: bool) -> list[str]:
    """A line for everything that could not be had."""
    missing = []
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return [f"not confined: the kernel refuses no_new_privs ({_last_error()})"]
    if problem := _drop_capabilities():
        missing.append(f"keeps its capabilities ({problem})")
    if problem := _enter_domain():
        missing.append(f"not kept from reading the environment of other processes of this user: no Landlock domain ({problem})")
    if problem := _filter_calls(network):
        missing.append(f"not kept from {'other processes' if network else 'the network'}: no seccomp filter ({problem})")
    return missing


def _drop_capabilities() -> str:
    """Why they are kept, or nothing. One of them, CAP_PERFMON, reads the environment of any process past a Landlock domain."""
    header, sets = _CapabilityHeader(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if _libc.capget(ctypes.byref(header), sets) != 0:
        return _last_error()
    kept = (ctypes.c_uint32 * 6)(sets[0] & _FILE_CAPABILITIES, sets[1] & _FILE_CAPABILITIES)
    return _last_error() if _libc.capset(ctypes.byref(header), kept) != 0 else ""


def _enter_domain() -> str:
    """Why there is no Landlock domain, or nothing."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG)
    if version < 1:
        return _last_error()
    # Scopes alone where they exist: a domain that handles files also refuses to move them between folders.
    rules, size = (_Ruleset(0, 0, _SCOPES), 24) if version >= 6 else (_Ruleset(_MAKE_DEVICES, 0, 0), 8)
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return _last_error()
    try:
        return _last_error() if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0 else ""
    finally:
        os.close(ruleset)


def _filter_calls(network: bool) -> str:
    """Why there is no filter, or nothing."""
    machine = platform.machine()
    calls = _CALLS.get(machine)
    if calls is None or sys.maxsize < 2**32:
        return f"none is written for {machine}"
    instructions = filter_program(calls, network)
    program = _Program(len(instructions), (_Instruction * len(instructions))(*(_Instruction(*each) for each in instructions)))
    return _last_error() if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0 else ""


def filter_program(calls: _Calls, network: bool) -> list[tuple[int, int, int, int]]:
    """BPF instructions (code, jump if true, jump if false, value) that refuse ``others`` and, without ``network``, all but Unix sockets."""
    refused = calls.others
    # Both ends are at fixed distances behind the list: allow, then refuse.
    tail: list[tuple[int, int, int, int]] = []
    if not network:
        tail += [(_JUMP_EQUAL, 0, 2, calls.socket), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_JUMP_EQUAL, 0, 1, socket.AF_UNIX)]
    tail += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    checks = [(_JUMP_EQUAL, number) for number in refused]
    if calls is _CALLS["x86_64"]:
        checks.insert(0, (_JUMP_GREATER_OR_EQUAL, _X32_CALLS))
    to_refusal = len(checks) + len(tail) - 1  # from the first of the checks
    body = [(code, to_refusal - place - 1, 0, value) for place, (code, value) in enumerate(checks)]
    head = [(_LOAD, 0, 0, _ARCHITECTURE), (_JUMP_EQUAL, 0, 1 + to_refusal, calls.audit), (_LOAD, 0, 0, _NUMBER)]
    return head + body + tail


def _last_error() -> str:
    return os.strerror(ctypes.get_errno())


def main() -> None:
    command = sys.argv[1:]
    confine()
    if command:
        os.execvp(command[0], command)


if __name__ == "__main__":
    main()
