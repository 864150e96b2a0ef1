"""Is an answer right? Judged again without the scorers' own code: InChI instead of canonical SMILES, a regular expression for formulas."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Any

from rdkit import Chem
from rdkit.Chem import QED, Crippen, rdMolDescriptors
from rdkit.Chem.MolStandardize import rdMolStandardize

from rewards.functional_groups import GROUP_SMARTS


def is_right(task: str, answer: str, inputs: dict[str, Any], reference: dict[str, Any]) -> bool:
    """Whether full credit for ``answer`` can be defended. Lenient where the scorers are stricter (plausibility, minimality)."""
    answer = answer.strip(" \t\r\n")
    gold = reference.get("answer", "")
    if task.startswith(("property_", "yield_")):
        return answer.rstrip(".").lower() == gold.lower()
    if task.endswith("2formula"):
        return _atoms(answer) == _atoms(gold)
    if task == "smiles2iupac":
        return _letters(answer) == _letters(gold)
    if task == "mol2text":
        return re.findall(r"\w+", answer.casefold()) == re.findall(r"\w+", gold.casefold())
    if task.endswith("_selection") and (number := re.match(r"(\d{1,2})\b", answer)):  # the prompt numbers the candidates
        answer = dict(enumerate(inputs["candidates"], start=1)).get(int(number[1]), "")
    mol = Chem.MolFromSmiles(answer)
    if mol is None:
        return False
    if task.startswith("molcustom_"):
        return "." not in Chem.MolToSmiles(mol) and _counts_fit(task, mol, inputs["counts"])
    if task.startswith(("moledit_", "molopt_")):
        source = Chem.MolFromSmiles(inputs["smiles"])
        pieces = [len(Chem.GetMolFrags(m)) for m in (mol, source)]
        return pieces[0] == pieces[1] and _key(mol) != _key(source) and _changed_as_asked(task, mol, source, inputs)
    if task == "forward":
        return _key(_organic(mol)) == _key(_organic(Chem.MolFromSmiles(gold)))
    return _key(mol) == _key(Chem.MolFromSmiles(gold))


def _key(mol: Chem.Mol) -> str:
    """InChI without stereo; salts and tautomers may coincide, so this forgives more than any scorer."""
    return str(Chem.MolToInchi(mol, options="/SNon"))


def _organic(mol: Chem.Mol) -> Chem.Mol:
    """Its fragments with carbon, uncharged: by-products and counter-ions do not count."""
    kept = [piece for piece in Chem.GetMolFrags(mol, asMols=True) if any(atom.GetSymbol() == "C" for atom in piece.GetAtoms())]
    joined = Chem.MolFromSmiles(".".join(Chem.MolToSmiles(piece) for piece in kept))
    return rdMolStandardize.Uncharger().uncharge(joined)


def _atoms(text: str) -> Counter[str]:
    plain = unicodedata.normalize("NFKC", text)
    found: Counter[str] = Counter()
    for symbol, number in re.findall(r"([A-Z][a-z]?)(\d*)", plain):
        found[symbol] += int(number or 1)
    return found


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text)).casefold()


def _counts_fit(task: str, mol: Chem.Mol, counts: dict[str, int]) -> bool:
    if task == "molcustom_atomnum":
        return Counter(a.GetSymbol() for a in mol.GetAtoms() if a.GetSymbol() != "H") == counts
    if task == "molcustom_bondnum":
        found = Counter(str(bond.GetBondType()).lower() for bond in mol.GetBonds())
        found["rotatable"] = rdMolDescriptors.CalcNumRotatableBonds(mol)
        return all(found[kind] == number for kind, number in counts.items())
    return all(_group(mol, name) == number for name, number in counts.items() if name != "sulfide")


def _group(mol: Chem.Mol, name: str) -> int:
    return len(mol.GetSubstructMatches(Chem.MolFromSmarts(GROUP_SMARTS[name.replace(" ", "_")])))


def _changed_as_asked(task: str, mol: Chem.Mol, source: Chem.Mol, inputs: dict[str, Any]) -> bool:
    if task.startswith("molopt_"):
        measure = {"molopt_logp": Crippen.MolLogP, "molopt_mr": Crippen.MolMR, "molopt_qed": QED.qed}[task]
        change = (measure(mol) - measure(source)) * (1 if inputs["direction"] == "increase" else -1)
        near = {"molopt_logp": 0.1, "molopt_mr": 0.75, "molopt_qed": 0.01}[task]
        return change > 0.005 and ("by" not in inputs or abs(change - inputs["by"]) < 1.01 * near)
    changes = ({inputs["add"]: 1} if "add" in inputs else {}) | ({inputs["remove"]: -1} if "remove" in inputs else {})
    return all(_group(mol, name) - _group(source, name) == change for name, change in changes.items() if name != "sulfide")
