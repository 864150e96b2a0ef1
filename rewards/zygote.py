"""``python -m rewards.zygote``: a process that has RDKit loaded and forks scoring workers on request.

A fresh interpreter with RDKit takes half a second; a fork of this one takes milliseconds, so killing a worker that hangs in C++ (where no
signal handler or thread can reach it) is cheap. The zygote scores nothing itself. It ends, and takes its workers with it, when the
process that started it closes the control socket or dies in any way; a worker also dies with the zygote (``PR_SET_PDEATHSIG``).

Control protocol, one datagram each way over a ``SOCK_SEQPACKET`` pair:

==============  ===========================================================================
request         reply
==============  ===========================================================================
(at start)      JSON ``{"tasks": [...], "rdkit": ..., "legacy_ring_finding": ...}`` once everything is imported
``spawn``       the worker's pid, with the parent's end of its socket and its progress memory attached
``reader JAR``  the pid of a JVM that runs OPSIN on lines, with a stream socket to it attached
``end PID``     how the worker had ended or was ended: the wait status, in decimal
==============  ===========================================================================
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import mmap
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Sequence

from rewards.confinement import child_environment, confine
from rewards.opsin import java_command
from rewards.registry import import_all, task_names
from rewards.worker import PROGRESS_BYTES, WorkerLimits, serve_jobs

_PR_SET_PDEATHSIG = 1
_ORPHAN_CHECK_MS = 1_000  # the end of the parent normally shows as an EOF at once; this catches a control socket that leaked into a fork

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="rewards.zygote", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--recycle-rss-bytes", type=int, required=True)
    parser.add_argument("--recycle-jobs", type=int, required=True)
    parser.add_argument("--plugin", action="append", default=[], help="module that registers more scorers; may be repeated")
    parser.add_argument("--network", action="store_true", help="leave sockets to the plugins")
    options = parser.parse_args(arguments)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent, which then closes us
    control = socket.socket(fileno=options.control_fd)
    confine(options.network)  # the workers and the JVM inherit it
    import_all()
    for plugin in options.plugin:
        importlib.import_module(plugin)
    gc.collect()
    gc.freeze()  # the workers' collections then leave the shared pages alone
    limits = WorkerLimits(options.memory_bytes, options.recycle_rss_bytes, options.recycle_jobs)
    try:
        control.send(json.dumps({"tasks": task_names(), **_chemistry()}).encode())
        _serve(control, options.parent_pid, limits)
    except (BrokenPipeError, ConnectionResetError):
        return  # the parent is gone, and _serve has ended the workers


def _serve(control: socket.socket, parent_pid: int, limits: WorkerLimits) -> None:
    children: set[int] = set()
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    try:
        while os.getppid() == parent_pid:
            if not waiting.poll(_ORPHAN_CHECK_MS):
                continue
            command, _, argument = control.recv(4096).decode().partition(" ")
            if not command:
                return
            if command == "spawn":
                pid, connection, progress_fd = _fork_worker(control, limits)
                children.add(pid)
                with connection:
                    socket.send_fds(control, [str(pid).encode()], [connection.fileno(), progress_fd])
                os.close(progress_fd)
            elif command == "reader":
                pid, connection = _start_reader(control, argument)
                children.add(pid)
                with connection:
                    socket.send_fds(control, [str(pid).encode()], [connection.fileno()])
            elif command == "end" and int(argument) in children:
                children.remove(int(argument))
                control.send(str(_end_child(int(argument))).encode())
            else:
                raise RuntimeError(f"the scoring zygote got the request {command!r} {argument!r}, which it does not know")
    finally:
        for pid in children:
            _end_child(pid)


def _chemistry() -> dict[str, object]:
    from rdkit import Chem, rdBase

    return {"rdkit": rdBase.rdkitVersion, "legacy_ring_finding": bool(Chem.GetUseLegacyRingFinding())}


def _fork_worker(control: socket.socket, limits: WorkerLimits) -> tuple[int, socket.socket, int]:
    """Forks a worker; returns its pid, the end of its socket that belongs to the pool, and the descriptor of its progress memory."""
    zygote_pid = os.getpid()
    progress_fd = os.memfd_create("progress")
    os.ftruncate(progress_fd, PROGRESS_BYTES)
    pool_end, worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        worker_end.close()
        return pid, pool_end, progress_fd
    exit_code = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        control.close()
        pool_end.close()
        if os.getppid() == zygote_pid:  # it may have died before the prctl took effect
            serve_jobs(worker_end, mmap.mmap(progress_fd, PROGRESS_BYTES), limits)
        exit_code = 0
    finally:
        sys.stderr.flush()
        os._exit(exit_code)  # never unwinds into the zygote's own frames


def _start_reader(control: socket.socket, jar: str) -> tuple[int, socket.socket]:
    """Starts a JVM with OPSIN whose standard input and output are a socket; returns its pid and the pool's end."""
    zygote_pid = os.getpid()
    pool_end, reader_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid:
        reader_end.close()
        return pid, pool_end
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        control.close()  # it was made to be inherited once, by us
        null = os.open(os.devnull, os.O_WRONLY)
        for descriptor, number in ((reader_end.fileno(), 0), (reader_end.fileno(), 1), (null, 2)):
            os.dup2(descriptor, number)
        if os.getppid() == zygote_pid:
            confine()  # the network may have been left to plugins, of which it is none
            command = java_command(jar)
            os.execvpe(command[0], command, child_environment())
    finally:
        os._exit(127)


def _end_child(pid: int) -> int:
    """Ends a child of this process and returns its wait status. The pid cannot have been reused: only this call reaps it."""
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    main()
