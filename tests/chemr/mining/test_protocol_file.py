"""Protocols as files that a chemist edits: read back as written, and what is wrong with them is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from chemr.mining.errors import MiningInputError
from chemr.mining.protocol_file import Protocol, ProtocolStep, SharedHint, protocol_text, read_protocols, shared_text
from chemr.whole_file import write_whole

HINTS = {"heavy-atom": SharedHint("Heavy atoms", "every atom but hydrogen: is counted, e.g. C2O", ("iupac2formula", "smiles2formula"))}
PROTOCOL = Protocol(
    "smiles2formula",
    (
        ProtocolStep("Heavy atoms", "", "heavy-atom", ("Atoms", "yes"), {"traces": 10, "share": 0.5}, ("starter/1",)),
        ProtocolStep("Hydrogens: all", "the hydrogens 'implied' # by valence"),
    ),
    {"traces": 20, "silhouette": None},
)


def written(folder: Path, **changed: tuple[str, str]) -> Path:
    write_whole(folder / "shared.yaml", shared_text(HINTS))
    write_whole(folder / "smiles2formula.yaml", protocol_text(PROTOCOL))
    for name, (old, new) in changed.items():
        path = folder / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text, text
        path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    protocols, hints = read_protocols(written(tmp_path))
    assert protocols == {"smiles2formula": PROTOCOL} and hints == HINTS
    assert protocols["smiles2formula"].steps[0].hint(hints) == "every atom but hydrogen: is counted, e.g. C2O"


def test_an_edit_counts_and_a_mined_one_beside_it_does_not(tmp_path: Path) -> None:
    folder = written(tmp_path, smiles2formula=("title: Heavy atoms", "title: All atoms but hydrogen"))
    write_whole(folder / "smiles2formula.mined.yaml", protocol_text(PROTOCOL))
    assert read_protocols(folder)[0]["smiles2formula"].steps[0].title == "All atoms but hydrogen"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"smiles2formula": ("task: smiles2formula", "task: alchemy")},
            r"smiles2formula\.yaml: task: found 'alchemy', expected one of .*retro",
        ),
        ({"smiles2formula": ("task: smiles2formula", "task: retro")}, r"task: found 'retro', expected smiles2formula"),
        ({"smiles2formula": ("title: Heavy atoms", "title: ''")}, r"steps\[1\]\.title: found '', expected 1 to 60 characters"),
        (
            {"smiles2formula": ("title: Heavy atoms", "titel: Heavy atoms")},
            r"steps\[1\]: field: found 'titel', expected one of number, title",
        ),
        ({"smiles2formula": ("title: 'Hydrogens: all'", "title: heavy ATOMS")}, r"steps\[2\]\.title: .* another title than that of step 1"),
        (
            {"smiles2formula": ("shared: heavy-atom", "shared: light-atom")},
            r"steps\[1\]\.shared: found 'light-atom', expected a name in shared\.yaml",
        ),
        ({"smiles2formula": ("- starter/1", "- 5")}, r"steps\[1\]\.sources: .* a list of texts"),
        ({"smiles2formula": ("steps:", "steps: [")}, r"smiles2formula\.yaml: is not YAML"),
        ({"shared": ("establish:", "text:")}, r"shared\.yaml: hints\.heavy-atom: field: found 'text'"),
    ],
)
def test_a_wrong_edit_is_named_by_file_field_and_expectation(changed: dict[str, tuple[str, str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(MiningInputError, match=said):
        read_protocols(written(tmp_path, **changed))


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MiningInputError, match="chemr protocols merge"):
        read_protocols(tmp_path)
