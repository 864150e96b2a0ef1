"""Captions that determine a molecule: a chain or ring of carbons, and what sits on which of them.

Captions are generated, not read off: every skeleton with up to three features at numbered positions is one description, the molecule is
built from it, and of all descriptions of one molecule the first (lowest positions) is kept. So caption → molecule is a function by
construction, and molecule → caption too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

from chemr.data.starter.config import StarterConfig
from chemr.data.starter.drafts import Draft
from chemr.data.starter.molecules import flat, is_ordinary, parse
from chemr.data.starter.splits import split_of

MAX_FEATURES = 3
_SUBSTITUENTS = {
    "methyl": "C",
    "fluorine": "F",
    "chlorine": "Cl",
    "bromine": "Br",
    "hydroxyl": "O",
    "amine": "N",
    "thiol": "S",
    "nitrile": "C#N",
}
_BONDS = {"double bond": "=", "triple bond": "#"}
_ATOMS = {name: parse(text).GetNumAtoms() for name, text in _SUBSTITUENTS.items()} | dict.fromkeys(_BONDS, 0)


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """``kind``: chain, ring or benzene ring, of ``length`` carbons."""

    kind: str
    length: int

    def text(self) -> str:
        return "benzene ring" if self.kind == "benzene ring" else f"{self.kind} of {self.length} carbons"


@dataclass(frozen=True, slots=True, order=True)
class _Feature:
    """``name`` on carbon ``position``, or between it and the next one."""

    position: int
    name: str

    def text(self) -> str:
        return f"{self.name} at {self.position}"


def caption_drafts(config: StarterConfig) -> Iterator[Draft]:
    """Rows of text2mol."""
    seen: set[str] = set()
    for skeleton in _skeletons(config.max_heavy_atoms):
        for features in _feature_sets(skeleton, config.max_heavy_atoms):
            text = _smiles(skeleton, features)
            mol = parse(text)
            identity = flat(mol)
            if identity in seen or not is_ordinary(mol):
                continue
            seen.add(identity)
            caption = f"{skeleton.text()} with {', '.join(feature.text() for feature in features)}"
            yield Draft("text2mol", {"caption": caption}, text, mol.GetNumAtoms(), split_of(mol), "described by rule")


def _skeletons(max_heavy_atoms: int) -> list[_Skeleton]:
    chains = [_Skeleton("chain", length) for length in range(2, max_heavy_atoms)]
    rings = [_Skeleton("ring", length) for length in range(3, min(max_heavy_atoms, 7))]
    return chains + rings + ([_Skeleton("benzene ring", 6)] if max_heavy_atoms > 6 else [])


def _feature_sets(skeleton: _Skeleton, max_heavy_atoms: int) -> Iterator[tuple[_Feature, ...]]:
    """Sets of 1 to MAX_FEATURES features, lowest positions first; at most one multiple bond, one feature per carbon."""
    for number in range(1, min(MAX_FEATURES, max_heavy_atoms - skeleton.length + 1) + 1):
        for positions in combinations(range(1, skeleton.length + 1), number):
            for names in product(*(_features_at(skeleton, position) for position in positions)):
                if skeleton.length + sum(_ATOMS[name] for name in names) > max_heavy_atoms:
                    continue
                bonds = [position for position, name in zip(positions, names, strict=True) if name in _BONDS]
                if len(bonds) > 1 or (bonds and not _bond_is_free(skeleton, bonds[0], positions, names)):
                    continue
                yield tuple(_Feature(position, name) for position, name in zip(positions, names, strict=True))


def _features_at(skeleton: _Skeleton, position: int) -> list[str]:
    """What may be said of one carbon. A methyl or nitrile at the end of a chain would be a longer chain."""
    inner = skeleton.kind != "chain" or 1 < position < skeleton.length
    names = [name for name, text in _SUBSTITUENTS.items() if inner or not text.startswith("C") or text == "Cl"]
    if skeleton.kind == "chain" and position < skeleton.length:
        names += list(_BONDS)
    if skeleton.kind == "ring" and position == 1:
        names.append("double bond")
    return names


def _bond_is_free(skeleton: _Skeleton, bond: int, positions: tuple[int, ...], names: tuple[str, ...]) -> bool:
    """No heteroatom on either carbon of a multiple bond, and nothing at all on those of a triple bond."""
    ends = {bond, bond % skeleton.length + 1}
    kind = names[positions.index(bond)]
    beside = [name for position, name in zip(positions, names, strict=True) if position in ends and name not in _BONDS]
    return not beside or (kind == "double bond" and set(beside) <= {"methyl", "chlorine", "bromine", "fluorine"})


def _smiles(skeleton: _Skeleton, features: tuple[_Feature, ...]) -> str:
    """Carbon 1 first, its substituent as a branch, the next carbon; the last substituent ends the text."""
    if skeleton.kind == "benzene ring":
        carbon, ring = "c", "1"
    else:
        carbon, ring = "C", "1" if skeleton.kind == "ring" else ""
    text = ""
    for position in range(1, skeleton.length + 1):
        here = [feature.name for feature in features if feature.position == position]
        text += carbon + (ring if position in (1, skeleton.length) else "")
        branch = "{}" if position == skeleton.length else "({})"
        text += "".join(_BONDS[name] if name in _BONDS else branch.format(_SUBSTITUENTS[name]) for name in here)
    return text
