"""What the source says about each field of a dataclass and each member of an enumeration.

Three places are read, and the first that says something counts: the ``Attributes:`` of the class docstring, the comment behind the field,
the comment lines above it.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize

_ATTRIBUTE = re.compile(r"(\w+(?:, \w+)*): (.+)")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def field_docs(cls: type) -> dict[str, str]:
    """Text by field or member, those of base classes first; a field about which nothing is said is left out."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one.__module__ == "builtins" or one.__module__.startswith("enum"):
            continue
        found |= _comments(one)
        found |= _attributes(one.__doc__ or "")
    return found


def summary(cls: type) -> str:
    """The class docstring up to its first section, as one paragraph."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return plain(re.split(r"\n\s*\n?(?:Attributes|Raises|Args|Returns):", text)[0])


def plain(text: str) -> str:
    """One line, Markdown instead of Sphinx roles."""
    return _ROLE.sub(r"`\1`", re.sub(r"\s+", " ", text)).replace("``", "`").strip()


def _attributes(docstring: str) -> dict[str, str]:
    """``name: text`` and ``one, other: text`` of the section ``Attributes:``, continuation lines included."""
    lines = inspect.cleandoc(docstring).split("\n")
    starts = [number for number, line in enumerate(lines) if line.strip() == "Attributes:"]
    found: dict[str, str] = {}
    names: list[str] = []
    if not starts:
        return found
    rest = textwrap.dedent("\n".join(lines[starts[0] + 1 :])).split("\n")
    for line in rest:
        match = _ATTRIBUTE.fullmatch(line)
        if match is not None:
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.startswith("    ") and names:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        elif line.strip():
            break
    return {name: plain(text) for name, text in found.items()}


def _comments(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    comments = {
        token.start[0]: (token.string.lstrip("# ").strip(), not token.line[: token.start[1]].strip())
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, str] = {}
    for statement in body.body:
        name = _name(statement)
        if name is None:
            continue
        behind = comments.get(statement.end_lineno or statement.lineno)
        above: list[str] = []
        line = statement.lineno - 1
        while line in comments and comments[line][1]:
            above.insert(0, comments[line][0])
            line -= 1
        text = behind[0] if behind is not None and not behind[1] else " ".join(above)
        if text:
            found[name] = plain(text)
    return found


def _name(statement: ast.stmt) -> str | None:
    """Of ``name: type = value`` and ``name = value``."""
    target: ast.expr | None = None
    if isinstance(statement, ast.AnnAssign):
        target = statement.target
    elif isinstance(statement, ast.Assign):
        target = statement.targets[0]
    return target.id if isinstance(target, ast.Name) else None
