"""One-line rules that change the text of a SMILES and know no chemistry: what reinforcement learning finds first on MolOpt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rdkit import Chem

_SUBSTITUENTS = ("C", "O", "N", "F", "Cl", "Br", "S", "CC", "N(=O)=O", "C#N", "C(=O)O", "c1ccccc1")


def _inserted(text: str, last: bool) -> Callable[[str], str]:
    def rule(smiles: str) -> str:
        before = Chem.CanonSmiles(smiles)
        for at in sorted(range(1, len(smiles) + 1), reverse=last):
            changed = smiles[:at] + text + smiles[at:]
            mol = Chem.MolFromSmiles(changed)
            if mol is not None and Chem.MolToSmiles(mol) != before:
                return changed
        return smiles

    return rule


def _shortened(from_start: bool) -> Callable[[str], str]:
    def rule(smiles: str) -> str:
        texts = (smiles[length:] if from_start else smiles[:-length] for length in range(1, min(7, len(smiles))))
        return next((text for text in texts if Chem.MolFromSmiles(text) is not None), smiles)

    return rule


RULES: Mapping[str, Callable[[str], str]] = {
    **{f"put {text} at the first place that parses": _inserted(text, last=False) for text in ("C", "O", "N", "F")},
    **{f"put ({text}) at the first place that parses": _inserted(f"({text})", last=False) for text in _SUBSTITUENTS},
    **{f"put ({text}) at the last place that parses": _inserted(f"({text})", last=True) for text in _SUBSTITUENTS},
    **{f"append {text}": lambda smiles, text=text: smiles + text for text in ("C", "O", "F", "CC")},
    **{f"begin with {text}": lambda smiles, text=text: text + smiles for text in ("C", "O")},
    "leave the end out": _shortened(from_start=False),
    "leave the beginning out": _shortened(from_start=True),
}
