"""``chemr chat MODEL``. Only what argparse needs is imported here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_command, completes
from chemr.completion.words import folders
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    from chemr.playground.session import Playground

MAX_NEW_TOKENS = 512
EXAMPLES = (
    "chemr chat runs/starter/model                                            # questions in the terminal; /help there",
    "chemr chat runs/starter/model --page                                     # in a browser of this machine",
    "chemr chat runs/starter/model --ask smiles2formula CCO --json            # one question, for scripts",
    "chemr chat runs/starter/model --ask moledit_add CCCC --set add=hydroxyl",
)


def add_chat(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "chat",
        "ask a model and see which of its claims are true, in the terminal or with --page in a browser (docs/playground.md)",
        examples=EXAMPLES,
        run=run_chat,
    )
    model = parser.add_argument("model", type=Path, metavar="MODEL", help="a Hugging Face model folder, e.g. runs/starter/model")
    completes(model, folders)
    parser.add_argument(
        "--ask", nargs=2, metavar=("TASK", "TEXT"), help="one question: a task (docs/tasks.md) and SMILES, a name or counts"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help="a further field of the task, e.g. add=amine"
    )
    parser.add_argument("--json", action="store_true", help="with --ask: all of the answer, as JSON")
    parser.add_argument("--page", action="store_true", help="serve a page to browsers of this machine")
    parser.add_argument("--port", type=int, metavar="PORT", help="of --page (a free one)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sampling (0)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 takes the likeliest token every time (0)")
    parser.add_argument(
        "--max-new-tokens", type=int, default=MAX_NEW_TOKENS, metavar="N", help=f"at most so many tokens of an answer ({MAX_NEW_TOKENS})"
    )


def run_chat(options: argparse.Namespace) -> int:
    """Returns 0, 1 when the port cannot be used, or 2 for a question, a flag or a folder that is no use."""
    problem = _problem(options)
    if problem:
        return _refused(problem)
    from chemr.playground.errors import ModelFolderError, QuestionError
    from chemr.playground.model import ChatModel, Sampling
    from chemr.playground.names import Names
    from chemr.playground.session import Playground

    sampling = Sampling(options.seed, options.temperature, options.max_new_tokens)
    playground: Playground | None = None
    try:
        sampling.check()
        names = Names()
        settings = _settings(options.settings)
        if options.ask:  # before a model is loaded, which takes longer than a typing error is worth
            from chemr.playground.questions import question

            task, text = options.ask
            question(task, text, settings, names)
        playground = Playground(ChatModel.load(options.model), names)
        if options.ask:
            _ask(playground, options, settings, sampling)
        elif options.page:
            from chemr.playground.page_server import serve_chat

            serve_chat(playground, options.model, sampling, options.port or 0)
        else:
            from chemr.playground.terminal import Terminal

            Terminal(playground, options.model, sampling).run()
    except (ModelFolderError, QuestionError) as error:
        return _refused(str(error))
    except OSError as error:
        print(f"chemr chat: {error.filename or 'the page'} cannot be used: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_OK if options.page else EXIT_FAILED
    finally:
        if playground is not None:
            playground.close()
    return EXIT_OK


def _ask(playground: Playground, options: argparse.Namespace, settings: dict[str, str], sampling: Any) -> None:
    task, text = options.ask
    reply = playground.answer(playground.question(task, text, settings), sampling)
    if options.json:
        # ASCII, since a model may write half of a surrogate pair.
        print(json.dumps(reply.as_json(), indent=1))
        return
    from rich.console import Console

    from chemr.playground.terminal import show

    show(Console(highlight=False), reply)


def _problem(options: argparse.Namespace) -> str:
    if options.json and not options.ask:
        return "--json is of --ask, which is not given"
    if options.ask and options.page:
        return "--ask and --page exclude each other"
    if options.settings and not options.ask:
        return "--set is of --ask; in the terminal it is /set NAME=VALUE"
    if options.port is not None and not options.page:
        return "--port is of --page, which is not given"
    if options.port is not None and not 0 <= options.port <= 65_535:
        return f"--port {options.port} is no port: 0 (a free one) to 65535"
    return ""


def _settings(pairs: list[str]) -> dict[str, str]:
    from chemr.playground.errors import QuestionError

    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise QuestionError(f"--set {pair}: NAME=VALUE was expected, e.g. add=amine")
        found[name] = value
    return found


def _refused(message: str) -> int:
    print(f"chemr chat: {message}", file=sys.stderr)
    return EXIT_USAGE
