"""What the red team found, as one HTML page with pictures of the molecules; it needs no network and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from chemr.data.example import Example
from chemr.redteam.attack import Finding
from chemr.redteam.policies import asked_molecule
from chemr.redteam.search import Climbed
from chemr.report.molecules import read_molecule

_SIZE = (220, 150)
_STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1F2933;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #E3E8ED;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}.over{background:#FDECEA}code{overflow-wrap:anywhere;font-size:13px}
figure{margin:0;display:inline-block;width:220px;vertical-align:top}figcaption{font-size:12px;color:#667380;overflow-wrap:anywhere}"""


def page(findings: Sequence[Finding], climbs: Sequence[Climbed], rows: Mapping[str, Example]) -> str:
    """The page. ``rows`` by uid: those that findings name. First what is above its ceiling, then everything, then what climbs found."""
    over = [finding for finding in findings if finding.exceeded]
    parts = ["<!doctype html><html lang='en'><meta charset='utf-8'><title>Red team</title>", f"<style>{_STYLE}</style><h1>Red team</h1>"]
    parts.append(f"<p>{len(findings)} policies measured, {len(over)} above their ceiling.</p>")
    if over:
        parts += ["<h2>Above their ceiling</h2>", *(_example(finding, rows.get(finding.uid)) for finding in over)]
    parts += ["<h2>All policies</h2>", _table(findings)]
    if climbs:
        parts.append(
            "<h2>Found by climbing</h2><p>Answers that the reward alone led to. Whether they do the task is for a chemist to say.</p>"
        )
        parts += [_pictures(climb.row, climb.answer, f"{climb.row.task}: {climb.value:.2f}") for climb in climbs]
    return "\n".join([*parts, "</html>", ""])


def _table(findings: Sequence[Finding]) -> str:
    lines = ["<table><tr><th>task<th>policy<th>kind<th>rows<th>mean<th>full<th>ceiling"]
    for finding in findings:
        ceiling = "" if finding.ceiling is None else f"{finding.ceiling:.2f}"
        numbers = "".join(f"<td class='n'>{text}" for text in (finding.rows, f"{finding.mean:.2f}", f"{finding.full:.2f}", ceiling))
        row = f"<td>{escape(finding.task)}<td>{escape(finding.policy)}<td>{finding.kind}{numbers}"
        lines.append(f"<tr{' class=over' if finding.exceeded else ''}>{row}")
    return "\n".join([*lines, "</table>"])


def _example(finding: Finding, row: Example | None) -> str:
    title = f"{finding.task}, {finding.policy}: {finding.mean:.2f} where {finding.ceiling:.2f} is allowed; its best-paid answer"
    return f"<p>{escape(title)}: <code>{escape(finding.answer)}</code></p>" if row is None else _pictures(row, finding.answer, title)


def _pictures(row: Example, answer: str, title: str) -> str:
    asked = ", ".join(f"{name} {value}" for name, value in row.inputs.items() if name not in ("smiles", "instruction"))
    shown = (("question", asked_molecule(row)), ("right answer", row.reference.get("answer")), ("paid answer", answer))
    figures = "".join(_figure(name, text) for name, text in shown if isinstance(text, str) and text)
    return f"<section><h3>{escape(title)}</h3><p>{escape(asked)}</p>{figures}</section>"


def _figure(name: str, text: str) -> str:
    mol = read_molecule(text)
    picture = ""
    if mol is not None:
        from rdkit.Chem.Draw import rdMolDraw2D  # needs libXrender: only a page does

        drawer = rdMolDraw2D.MolDraw2DSVG(*_SIZE)
        setattr(drawer.drawOptions(), "prepareMolsBeforeDrawing", False)  # noqa: B010 - rdkit's stubs know it as of the class
        drawer.DrawMolecule(mol)
        drawer.FinishDrawing()
        picture = drawer.GetDrawingText().partition("?>")[2]
    return f"<figure>{picture}<figcaption>{name}: <code>{escape(text)}</code></figcaption></figure>"
