"""Sphinx extension: pages that are written by the code they describe.

docs/configuration.md and docs/all-tasks.md hold an introduction and a marker; the marker is replaced at every build, so neither can go
stale. The index gets its navigation in the same way. Formulas become MathML, which browsers draw without any script or network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from configuration_page import configuration_markdown
from docutils import nodes
from docutils.utils.math import latex2mathml
from sections import with_navigation
from sphinx.application import Sphinx
from task_page import tasks_markdown

MARKERS: Mapping[str, Callable[[], str]] = {
    "<!-- generated: configuration -->": configuration_markdown,
    "<!-- generated: tasks -->": tasks_markdown,
}


def fill_in(app: Sphinx, docname: str, content: list[str]) -> None:
    for marker, write in MARKERS.items():
        if marker in content[0]:
            content[0] = content[0].replace(marker, write())
    if docname == "index":
        content[0] = with_navigation(content[0], app.srcdir)


def always_read(app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """What these pages depend on is code, whose changes Sphinx does not see."""
    return ["configuration", "all-tasks", "index"]


def visit_inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(latex2mathml.tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math-block">{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill_in)
    app.connect("env-get-outdated", always_read)
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
