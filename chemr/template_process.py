"""A process of its own in which chat templates are rendered: a template is a program of strangers, and has bounded memory and time.

A sandbox cannot bound what a template builds: padding, joins, doubling in loops, constants that are folded when it is compiled. The kernel
can: the process has :data:`MEMORY_BYTES`, and :data:`PROCESSOR_SECONDS` for each conversation. It is confined as scoring processes are
(:mod:`rewards.confinement`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import IO, Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rewards.confinement import child_environment, confine

MAX_RENDERED_CHARS = 4 << 20  # of a conversation; a context of a million tokens has about as many
MEMORY_BYTES = 1 << 30  # of the process's addresses; a template of a model needs a tenth
PROCESSOR_SECONDS = 2  # for one conversation; a template of a model needs a thousandth of one
_ITS_FAULTS = (
    *(TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError),
    *(MemoryError, RuntimeError, SyntaxError, TypeError, ValueError),
)


class TemplateProcess:
    """Renders one template. The process begins with the first conversation, and ends with this one or when nobody holds its input."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def check(self) -> None:
        """Raises ValueError for a template that cannot be read."""
        self._ask(None)

    def render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool, tokens: Mapping[str, str]) -> str:
        """The text of a conversation. Raises ValueError when the template refuses it, fails or asks for too much."""
        given = {"messages": [dict(message) for message in messages], "tools": None, "documents": None}
        return self._ask({**given, "add_generation_prompt": add_generation_prompt, **tokens})

    def _ask(self, given: Mapping[str, Any] | None) -> str:
        with self._lock:
            fresh = self._process is None or self._owner != os.getpid()  # a fork must not read from the pipes of its parent
            process = self._begin() if fresh or self._process is None else self._process
            assert process.stdin is not None and process.stdout is not None
            try:
                if fresh:
                    process.stdin.write(json.dumps(self._source).encode() + b"\n")
                process.stdin.write(json.dumps(given).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            except BaseException:  # an interrupt in between: the answer that comes late would be taken for the next one
                process.kill()
                self._end(process)
                raise
            if not line.endswith(b"\n"):
                reason = self._end(process)
        if not line.endswith(b"\n"):
            if not fresh and process.returncode != -signal.SIGXCPU:  # it may have been ended from outside since the last conversation
                return self._ask(given)
            raise ValueError(reason)
        answer: dict[str, str] = json.loads(line)
        if "refused" in answer:
            raise ValueError(answer["refused"])
        return answer["text"]

    def _begin(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "chemr.template_process"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=child_environment())
        self._owner = os.getpid()
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        """Why it has ended, or why it had to be."""
        self._process = None
        try:
            status = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = 0
        process.kill()
        process.communicate()
        if status == -signal.SIGXCPU:
            return f"it needs more than {PROCESSOR_SECONDS} s of a processor"
        return f"it needs more than {MEMORY_BYTES >> 20} MiB of memory, or its process was ended (status {status})"

    def __del__(self) -> None:
        process = self.__dict__.get("_process")
        if process is not None and self._owner == os.getpid():
            process.kill()
            self._end(process)


class _Generation(Extension):
    """``{% generation %} … {% endgeneration %}``: where training code finds the assistant's words. For a prompt it is its content."""

    tags = {"generation"}  # noqa: RUF012 - jinja declares it of instances

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _environment() -> ImmutableSandboxedEnvironment:
    """What transformers renders templates in, with the filters and functions that it gives them."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    """Jinja's own escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _render(template: Template, given: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    room = MAX_RENDERED_CHARS
    for piece in template.generate(**given):
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            raise TemplateError(f"it writes more than {MAX_RENDERED_CHARS} characters")
    return "".join(pieces)


def _words(error: Exception) -> str:
    return " ".join(str(error)[:2000].split()) or type(error).__name__


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """The source, then conversations: a JSON value a line; an answer for each but the first."""
    import resource

    def limit(kind: int, most: int) -> None:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

    confine()
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, MEMORY_BYTES)
    template: Template | None = None
    source = json.loads(requests.readline())
    for line in requests:
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + PROCESSOR_SECONDS)
        try:
            given = json.loads(line)
            template = template or _environment().from_string(source)
            answer = {"text": "" if given is None else _render(template, given)}
        # Whatever it does wrong with our conversation is its refusal.
        except _ITS_FAULTS as error:
            answer = {"refused": _words(error)}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
