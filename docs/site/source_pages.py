"""Links from the documentation to files of the repository work in the site as on a git host: each linked file gets a page with its text.

A page links to ``../chemr/config.py`` as it would on a git host. Here such links lead to ``source/chemr/config.py.html``, those to a
folder to a list of its files. Links to what does not exist are warnings, hence errors of ``make docs``.
"""

from __future__ import annotations

import html
import os
import posixpath
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "source"
OWN_PAGES = {"CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing", "../CHANGELOG.md": "changelog", "../README.md": "index"}
_LARGEST = 300_000  # bytes of a file that is shown

logger = logging.getLogger(__name__)


def link_to_source(app: Sphinx, doctree: nodes.document) -> None:
    """Replaces references to files outside docs/ by links to their pages, and notes which pages are wanted."""
    docname = app.env.docname
    wanted: set[str] = set()
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        target = str(node.get("reftarget", ""))
        path, _, fragment = target.partition("#")
        if path in OWN_PAGES:  # as an included file links to it
            node.replace_self(nodes.reference("", "", *node.children, refuri=OWN_PAGES[path] + ".html", internal=True))
            continue
        if not path.startswith(".."):
            continue
        place = _place(path)
        if place is None:
            logger.warning("links to %s, which is no file of the repository", target, location=node)
            continue
        wanted.add(place)
        uri = posixpath.relpath(f"{FOLDER}/{place or 'repository'}", posixpath.dirname(docname) or ".") + ".html"
        node.replace_self(nodes.reference("", "", *node.children, refuri=uri + (f"#{fragment}" if fragment else ""), internal=True))
    _pages(app)[docname] = wanted


def _place(path: str) -> str | None:
    """A link as a path below the root, if there is such a file; of a Markdown file Sphinx may have taken the ending off."""
    for ending in ("", ".md"):
        full = Path(os.path.normpath(ROOT / "docs" / (path + ending)))
        if full.exists() and full.is_relative_to(ROOT):
            return "" if full == ROOT else full.relative_to(ROOT).as_posix()
    return None


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The pages of all files and folders that anything links to, and of what these folders hold."""
    queue = sorted(set().union(*_pages(app).values()))
    tracked = _tracked()
    done: set[str] = set()
    while queue:
        place = queue.pop(0)
        if place in done:
            continue
        done.add(place)
        full = ROOT / place
        if full.is_dir():
            inside = sorted({_child(place, name) for name in tracked if name.startswith(f"{place}/" if place else "")})
            queue += [one for one in inside if not (ROOT / one).is_dir()]
            items = "".join(
                f'<li><a href="{html.escape(_relative(place, one))}">{html.escape(posixpath.basename(one))}</a></li>'
                for one in inside
                if not (ROOT / one).is_dir()
            )
            body = f"<ul>{items}</ul>"
        else:
            body = _highlighted(full)
        title = html.escape(place or "the repository")
        yield f"{FOLDER}/{place or 'repository'}", {"title": title, "body": f"<h1>{title}</h1>{body}"}, "page.html"


def _tracked() -> list[str]:
    """Files of the repository; outside of a git checkout whatever lies there."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    if listing.returncode == 0:
        return listing.stdout.splitlines()
    return [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file() and "/." not in path.as_posix()]


def _child(folder: str, name: str) -> str:
    rest = name[len(folder) + 1 :] if folder else name
    return posixpath.join(folder, rest.split("/", 1)[0])


def _relative(here: str, there: str) -> str:
    return posixpath.relpath(there, posixpath.dirname(here) or ".") + ".html"


def _highlighted(path: Path) -> str:
    content = path.read_bytes()
    if len(content) > _LARGEST or b"\0" in content:
        return f"<p>{len(content):,} bytes; not shown here.</p>"
    text = content.decode("utf-8", errors="replace")
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    return highlight(text, lexer, HtmlFormatter(cssclass="highlight", linenos=False))


def _pages(app: Sphinx) -> dict[str, set[str]]:
    """Which files each page links to; kept with what Sphinx keeps of pages that it does not read again."""
    env: Any = app.env
    if not hasattr(env, "chemr_source_pages"):
        env.chemr_source_pages = {}
    pages: dict[str, set[str]] = env.chemr_source_pages
    return pages


def _forget(app: Sphinx, env: Any, docname: str) -> None:
    _pages(app).pop(docname, None)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", link_to_source)
    app.connect("env-purge-doc", _forget)
    app.connect("html-collect-pages", source_pages)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
