"""Every claim of every trace is true: each is derived here a second time, by other means than the teacher's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product as product_of

import pytest
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from chemr.data.example import Example
from chemr.prompts import TAGS, completion_with_trace, prompted_tasks, render_prompt
from chemr.protocols.facts import skeleton_and_groups, skeleton_atoms
from chemr.protocols.steps import NONE, Step, read_steps, write_steps
from chemr.protocols.teacher import PROTOCOLS, write_trace
from chemr.tasks import TASKS
from chemr.tokenization import train_tokenizer
from rewards.functional_groups import GROUP_SMARTS
from tests.chemr.protocol_rows import ROWS

HEAVY_ATOM = re.compile(r"\[\d*([A-Z][a-z]?|[a-z])[^\]]*\]|(Cl|Br|[BCNOPSFI]|[bcnops])")


def symbols(smiles: str) -> list[str]:
    """Element symbols in a SMILES text, read with a regular expression instead of a parser."""
    return [(bracket or plain).capitalize() for bracket, plain in HEAVY_ATOM.findall(smiles)]


def counted(formula: str) -> Counter[str]:
    found = re.findall(r"([A-Z][a-z]?)(\d*)", "" if formula == NONE else formula)
    return Counter({symbol: int(count or 1) for symbol, count in found})


def full_formula(smiles: str) -> Counter[str]:
    return counted(re.sub(r"[+-]\d*$", "", rdMolDescriptors.CalcMolFormula(Chem.MolFromSmiles(smiles))))


def pieces(claim: str) -> list[str]:
    return [] if claim == NONE else claim.split(",")


def gone(before: Iterable[str], after: Iterable[str]) -> Counter[str]:
    return Counter(before) - Counter(after)


def is_inside(fragment: str, smiles: str) -> bool:
    """Whether ``fragment`` occurs in the molecule with its elements and bond orders (hydrogens are not part of the claim)."""
    query = Chem.MolFromSmiles(fragment.lstrip("=#"), sanitize=False)
    generic = Chem.AdjustQueryParameters.NoAdjustments()
    return bool(Chem.MolFromSmiles(smiles).HasSubstructMatch(Chem.AdjustQueryProperties(query, generic)))


def check_formula(row: Example, heavy: str, unsaturation: str) -> None:
    answer = counted(re.sub(r"[+-]\d*$", "", row.reference["answer"]))
    charge = row.reference["answer"].count("+") - row.reference["answer"].count("-")
    claimed = counted(heavy)
    assert claimed == Counter({symbol: count for symbol, count in answer.items() if symbol != "H"}), "heavy atoms differ from the answer's"
    if "smiles" in row.inputs:
        assert claimed == Counter(symbols(row.inputs["smiles"])), "heavy atoms differ from those written in the question"
        mol = Chem.MolFromSmiles(row.inputs["smiles"])
        Chem.Kekulize(mol, clearAromaticFlags=True)
        ordinary = all(
            atom.GetTotalValence() <= 4 and not (atom.GetSymbol() in "SP" and atom.GetTotalValence() > 3) for atom in mol.GetAtoms()
        )
        if ordinary and charge == 0 and "B" not in claimed:
            pi_bonds = sum(int(bond.GetBondTypeAsDouble()) - 1 for bond in mol.GetBonds())
            rings = mol.GetNumBonds() - mol.GetNumAtoms() + len(Chem.GetMolFrags(mol))
            assert int(unsaturation) == rings + pi_bonds, "unsaturation is not rings plus pi bonds"
    bonding = 2 * (claimed["C"] + claimed["Si"]) + 2 + claimed["N"] + claimed["P"] + claimed["B"] + charge
    halogens = sum(claimed[symbol] for symbol in ("F", "Cl", "Br", "I"))
    assert answer["H"] == bonding - halogens - 2 * int(unsaturation), "the hydrogens of the answer do not follow from the two claims"


def check_structure_of(smiles: str, skeleton: str, groups: str) -> None:
    claimed = [symbol for piece in pieces(skeleton) + pieces(groups) for symbol in symbols(piece)]
    assert Counter(claimed) == Counter(symbols(smiles)), "skeleton and groups together are not the molecule's atoms"
    for piece in pieces(skeleton) + pieces(groups):
        assert is_inside(piece, smiles), f"{piece} is not part of {smiles}"
    mol = Chem.MolFromSmiles(smiles)
    ring_atoms = {index for ring in Chem.GetSSSR(mol) for index in ring}
    if ring_atoms:
        assert len(symbols(skeleton)) == len(ring_atoms), "the skeleton is not exactly the ring atoms"
    elif "C" in symbols(smiles):
        length = len(symbols(skeleton))
        assert set(symbols(skeleton)) == {"C"}, "a chain skeleton is made of carbon"
        longer = "~".join(["[#6]"] * (length + 1))
        assert not mol.HasSubstructMatch(Chem.MolFromSmarts(longer)), "there is a longer carbon chain than the skeleton"


def check_structure(row: Example, skeleton: str, groups: str) -> None:
    check_structure_of(row.inputs.get("smiles", row.reference["answer"]), skeleton, groups)


def check_atoms(row: Example, atoms: str) -> None:
    listed = re.findall(r"[A-Z][a-z]?", atoms)
    assert listed == symbols(row.reference["answer"]), "the list is not the answer's atoms in writing order"
    assert Counter(listed) == Counter(row.inputs["counts"]), "the list does not have the counts asked for"


def check_bonds(row: Example, bonds: str) -> None:
    mol = Chem.MolFromSmiles(row.reference["answer"])
    names = {Chem.BondType.SINGLE: "-", Chem.BondType.DOUBLE: "=", Chem.BondType.TRIPLE: "#", Chem.BondType.AROMATIC: ":"}
    assert Counter(bonds) == Counter(names[bond.GetBondType()] for bond in mol.GetBonds()), "the list does not have the answer's bonds"
    asked = {"single": "-", "double": "=", "triple": "#", "aromatic": ":"}
    for kind, count in row.inputs["counts"].items():
        assert kind == "rotatable" or bonds.count(asked[kind]) == count, f"the list does not have the {kind} bonds asked for"
    if not re.search(r"[a-z0-9]", row.reference["answer"].replace("Cl", "").replace("Br", "")) and "(" not in row.reference["answer"]:
        units = re.findall(r"\[[^\]]*\]|Cl|Br|[A-Z]|[=#]", row.reference["answer"])
        written = [
            unit if unit in "=#" else "-" if not before or before not in "=#" else ""
            for before, unit in zip(["", *units[:-1]], units, strict=True)
        ]
        assert bonds == "".join(written)[1:], "the bonds of a plain chain are not in writing order"


def check_groups(row: Example, inside: str, outside: str) -> None:
    answer = row.reference["answer"]
    claimed = [symbol for piece in pieces(inside) + pieces(outside) for symbol in symbols(piece)]
    assert Counter(claimed) == Counter(symbols(answer)), "group atoms and other atoms together are not the molecule's atoms"
    mol = Chem.MolFromSmiles(answer)
    others = len([symbol for piece in pieces(outside) for symbol in symbols(piece)])
    asked = [Chem.MolFromSmarts(GROUP_SMARTS[name]) for name in row.inputs["counts"]]
    covered = sum(any(atom.GetIdx() in match for query in asked for match in mol.GetSubstructMatches(query)) for atom in mol.GetAtoms())
    assert covered == mol.GetNumAtoms() - others, "the group atoms are not those that the groups asked for cover"


def placements(mol: Chem.Mol, fragments: list[str]) -> set[frozenset[int]]:
    """All ways to find the fragments side by side in the molecule, as sets of atom indices."""
    matches = []
    for fragment in fragments:
        query = Chem.MolFromSmiles(fragment.lstrip("=#"), sanitize=False)
        matches.append([set(match) for match in mol.GetSubstructMatches(query, uniquify=False)])
    unions = {frozenset().union(*chosen) for chosen in product_of(*matches)}
    size = sum(len(symbols(fragment)) for fragment in fragments)
    return {union for union in unions if len(union) == size}


def possible_sites(before: str, after: str, removed: list[str], added: list[str]) -> Iterator[list[str]]:
    """Brute force: the site of every edit that takes ``removed`` away, puts ``added`` in and leaves the rest as it was."""
    old, new = Chem.MolFromSmiles(before), Chem.MolFromSmiles(after)
    for out, come in product_of(placements(old, removed), placements(new, added)):
        kept, stays = ([a.GetIdx() for a in mol.GetAtoms() if a.GetIdx() not in away] for mol, away in ((old, out), (new, come)))
        if len(kept) != len(stays):
            continue
        for image in isomorphisms(old, new, kept, stays):
            touched = [i for i in kept if near(old, i, out) or near(new, image[i], come)]
            yield sorted({hydride(old.GetAtomWithIdx(i)) for i in touched})


def isomorphisms(old: Chem.Mol, new: Chem.Mol, kept: list[int], stays: list[int]) -> Iterator[dict[int, int]]:
    """All ways to lay the kept atoms over those that stay, with the same elements and exactly the same bonds between them."""

    def extend(image: dict[int, int]) -> Iterator[dict[int, int]]:
        if len(image) == len(kept):
            yield dict(image)
            return
        index = kept[len(image)]
        for target in stays:
            same_element = old.GetAtomWithIdx(index).GetAtomicNum() == new.GetAtomWithIdx(target).GetAtomicNum()
            if same_element and target not in image.values() and all(kind(old, index, i) == kind(new, target, j) for i, j in image.items()):
                yield from extend({**image, index: target})

    def kind(mol: Chem.Mol, one: int, other: int) -> str:
        bond = mol.GetBondBetweenAtoms(one, other)
        return str(bond.GetBondType()) if bond else ""

    return extend({})


def near(mol: Chem.Mol, index: int, others: frozenset[int]) -> bool:
    return any(mol.GetBondBetweenAtoms(index, other) for other in others)


def hydride(atom: Chem.Atom) -> str:
    letter = atom.GetSymbol().lower() if atom.GetIsAromatic() else atom.GetSymbol()
    return letter + ("", "H", "H2", "H3", "H4")[atom.GetTotalNumHs()]


def check_change(row: Example, removed: str, added: str, site: str) -> None:
    before, after = row.inputs["smiles"], row.reference["answer"]
    balance = Counter(symbols(before)) - Counter(s for piece in pieces(removed) for s in symbols(piece))
    balance += Counter(s for piece in pieces(added) for s in symbols(piece))
    assert balance == Counter(symbols(after)), "question minus what goes plus what comes is not the answer"
    assert pieces(site) in list(possible_sites(before, after, pieces(removed), pieces(added))), "no edit with these pieces has this site"


def check_forms(reactants: str, product: str, forms: str, leaves: str) -> None:
    def count(smiles: str, name: str) -> int:
        found = len(Chem.MolFromSmiles(smiles).GetSubstructMatches(Chem.MolFromSmarts(GROUP_SMARTS[name])))
        return found - (count(smiles, "disulfide") if name == "sulfide" else 0)

    def bonds(smiles: str) -> Counter[str]:
        mol = Chem.MolFromSmiles(smiles)
        ends = [
            (mol.GetAtomWithIdx(b.GetBeginAtomIdx()).GetSymbol(), mol.GetAtomWithIdx(b.GetEndAtomIdx()).GetSymbol()) for b in mol.GetBonds()
        ]
        return Counter("-".join(sorted(pair)) for pair in ends)

    more = {name.replace("_", " ") for name in GROUP_SMARTS if count(product, name) > count(reactants, name)}
    if more:
        assert set(pieces(forms)) == more, "the groups that form are others"
    else:
        assert Counter(pieces(forms)) == gone(bonds(product).elements(), bonds(reactants).elements()), "the bonds that form are others"
    assert counted(leaves) == full_formula(reactants) - full_formula(product), "what leaves is not reactants minus product"


def check_forward(row: Example, forms: str, leaves: str, atoms: str) -> None:
    check_forms(row.inputs["reactants"], row.reference["answer"], forms, leaves)
    assert counted(atoms) == Counter(symbols(row.reference["answer"])), "the product's atoms are miscounted"


def check_retro(row: Example, cut: str, back: str, parts: str) -> None:
    check_forms(row.reference["answer"], row.inputs["product"], cut, back)
    claimed = [counted(part) for part in pieces(parts)]
    assert claimed == [Counter(symbols(part)) for part in row.reference["answer"].split(".")], "the parts' atoms are miscounted"


def check_selection(row: Example, missing: str, choice: str) -> None:
    product, given_one = symbols(row.inputs["product"]), symbols(row.inputs["given"])
    assert counted(missing) == gone(product, given_one), "the missing atoms are not product minus given reactant"
    assert f"{choice} {row.reference['answer']}" in re.split(r", | from ", render_prompt(row)), (
        "the number chosen is not the answer's in the prompt"
    )


CHECKS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(("smiles2formula", "iupac2formula"), check_formula),
    **dict.fromkeys(("iupac2smiles", "smiles2iupac", "text2mol"), check_structure),
    "molcustom_atomnum": check_atoms,
    "molcustom_bondnum": check_bonds,
    "molcustom_functionalgroup": check_groups,
    "moledit_add": lambda row, added, site: check_change(row, NONE, added, site),
    "moledit_del": lambda row, removed, site: check_change(row, removed, NONE, site),
    **dict.fromkeys(("moledit_sub", "molopt_logp", "molopt_mr"), check_change),
    "forward": check_forward,
    "retro": check_retro,
    "reactant_selection": check_selection,
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.uid)
def test_every_claim_of_a_trace_is_true(row: Example) -> None:
    trace = write_trace(row)
    steps = read_steps(trace)
    assert tuple(step.title for step in steps) == PROTOCOLS[row.task].titles, "the trace does not follow its protocol"
    CHECKS[row.task](row, *(step.claim for step in steps))


@pytest.mark.parametrize("task", sorted(PROTOCOLS))
def test_a_false_claim_in_any_step_is_noticed(task: str) -> None:
    rows = [row for row in ROWS if row.task == task]
    for position, title in enumerate(PROTOCOLS[task].titles):
        noticed = 0
        for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
            claims = [step.claim for step in read_steps(write_trace(row))]
            claims[position] = read_steps(write_trace(other))[position].claim
            try:
                CHECKS[task](row, *claims)
            except AssertionError:
                noticed += 1
        assert noticed, f"the check of {task} lets any text pass as its step {title!r}"


def test_every_starter_task_has_a_protocol_and_a_check() -> None:
    of_starter = {task for task, spec in TASKS.items() if spec.in_starter}
    assert set(PROTOCOLS) == of_starter == set(CHECKS), "a starter task lacks its protocol or the check of its claims"
    assert of_starter <= set(prompted_tasks()), "a starter task lacks its wording"
    assert {row.task for row in ROWS} == set(PROTOCOLS), "a protocol is not exercised by any row"


def test_a_trace_is_a_pure_function_of_its_example() -> None:
    assert [write_trace(row) for row in ROWS] == [write_trace(row) for row in ROWS], "writing a trace twice gave two texts"


@pytest.mark.parametrize("smiles", ["CC(Cl)C(=O)O", "OCC(C)CN", "Cc1ccc(Cl)nc1", "O=C1CCCC1", "NO", "CC(C)C(C)C"])
def test_which_atoms_are_the_skeleton_does_not_depend_on_the_order_in_which_they_are_written(smiles: str) -> None:
    def reading(text: str) -> str:
        mol = Chem.MolFromSmiles(text)
        for index in skeleton_atoms(mol):
            mol.GetAtomWithIdx(index).SetIsotope(99)  # marks them in the canonical SMILES
        return str(Chem.MolToSmiles(mol))

    forms = {reading(text) for text in Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 20, randomSeed=5)}
    assert len(forms) == 1, f"{smiles} has several readings: {sorted(forms)}"


@pytest.mark.parametrize(
    ("smiles", "skeleton", "groups"),
    [
        ("CC(Cl)C(=O)O", "CCC", "Cl,=O,O"),
        ("OC(=O)C(Cl)C", "CCC", "O,=O,Cl"),
        ("N#CCCO", "CCC", "#N,O"),
        ("C=C1C=CCC1", "C1C=CCC1", "=C"),
        ("Cc1cscc1Br", "c1cscc1", "C,Br"),
        ("O=C(O)C1CC1", "C1CC1", "C(=O)O"),
        ("NO", NONE, "NO"),
    ],
)
def test_skeleton_and_groups_follow_the_writing_of_the_molecule_so_that_they_can_be_copied(smiles: str, skeleton: str, groups: str) -> None:
    assert skeleton_and_groups(Chem.MolFromSmiles(smiles)) == (skeleton, groups), "the parts are not written as the whole writes them"


def test_the_trace_of_an_example_reads_as_a_chemist_would_write_it() -> None:
    texts = {row.task: write_trace(row) for row in reversed(ROWS)}
    assert texts["iupac2smiles"] == "1. **Skeleton**: CCCC\n2. **Groups**: C,O", "2-methylbutan-1-ol is butane with a methyl and a hydroxyl"
    assert texts["forward"] == "1. **Forms**: amide\n2. **Leaves**: H2O\n3. **Product atoms**: C4NO", "an amide coupling loses water"
    assert texts["moledit_del"] == "1. **Take away**: C(=O)O\n2. **At**: CH2", "propanoic acid loses its carboxyl at the CH2"
    assert texts["reactant_selection"].endswith("**Choice**: 3"), "acetic acid is the longest and hence the third candidate"


def test_traces_are_short_in_tokens_and_never_hold_a_tag(tmp_path: object) -> None:
    traces = [write_trace(row) for row in ROWS]
    assert not any(tag in trace for tag in TAGS for trace in traces), "a trace holds a tag"
    completions = [completion_with_trace(trace, row.reference["answer"]) for trace, row in zip(traces, ROWS, strict=True)]
    tokenizer = train_tokenizer(completions, tmp_path)  # type: ignore[arg-type]
    mean = sum(len(tokenizer.encode(trace)) for trace in traces) / len(traces)
    assert mean <= 15, f"a trace takes {mean:.1f} tokens on average; the starter cannot afford more"


def test_steps_are_read_back_as_they_were_written() -> None:
    steps = [Step("Heavy atoms", "C4NO"), Step("Groups", NONE)]
    assert read_steps(write_steps(steps)) == steps, "write_steps and read_steps disagree"


@pytest.mark.parametrize("text", ["", "Heavy atoms: C4", "2. **Heavy atoms**: C4", "1. **A**: x\n3. **B**: y", "1. **A**: x\n"])
def test_text_that_is_no_list_of_numbered_bold_steps_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line [12] of a trace"):
        read_steps(text)


def test_a_task_without_a_protocol_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no protocol for task 'poetry'.*forward"):
        write_trace(Example("x", "poetry", {}, {"answer": ""}, 0.0, "test", "Apache-2.0"))


def test_a_molecule_that_cannot_be_read_is_an_error_that_shows_it() -> None:
    row = Example("x", "iupac2smiles", {"iupac": "x"}, {"answer": "C1CC"}, 0.0, "test", "Apache-2.0")
    with pytest.raises(ValueError, match="'C1CC' is no molecule"):
        write_trace(row)
