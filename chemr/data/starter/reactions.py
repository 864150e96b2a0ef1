"""Reactions: named templates applied to building blocks of the table, asked forwards, backwards and as a choice of reactant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rdkit import Chem
from rdkit.Chem import rdChemReactions

from chemr.data.starter.compounds import Compound
from chemr.data.starter.config import StarterConfig
from chemr.data.starter.drafts import Draft
from chemr.data.starter.molecules import flat, is_ordinary, parse, written_in_order
from chemr.data.starter.splits import Split, split_of, unit_hash
from chemr.data.starter.templates import TEMPLATES, Template, block_kind

PRODUCT_EXTRA = 1  # heavy atoms that a product may have above the limit for single molecules: reactions need three molecules in one split
CANDIDATES = 3  # listed in a selection question, the right one among them


@dataclass(frozen=True, slots=True)
class Reaction:
    """Two building blocks and their product.

    ``product_text`` writes the product in the order of the blocks as a forward question lists them, ``blocks_text`` the blocks in the
    order of the product as a retrosynthesis question writes it.
    """

    template: Template
    blocks: tuple[Compound, Compound]  # sorted by SMILES, as listed
    kinds: tuple[str, str]
    product: str
    product_text: str
    blocks_text: str
    size: int  # heavy atoms of the product
    split: Split | None  # None: its molecules are in several splits


Blocks = Mapping[str, Sequence[Compound]]


def building_blocks(compounds: Iterable[Compound]) -> Blocks:
    """The compounds with exactly one reactive group, by kind."""
    blocks: dict[str, list[Compound]] = defaultdict(list)
    for compound in compounds:
        kind = block_kind(compound.mol)
        if kind is not None:
            blocks[kind[0]].append(compound)
    return blocks


def react_all(blocks: Blocks, max_heavy_atoms: int) -> Iterator[Reaction]:
    """Every template on every pair of blocks that gives one ordinary product of at most ``max_heavy_atoms``.

    Pairs in different splits are tried as well for the templates that disconnect: whether a product can be taken apart in one way only
    must be known of all of them.
    """
    for template in TEMPLATES:
        reaction = rdChemReactions.ReactionFromSmarts(template.smarts)
        reaction.Initialize()
        for first_kind in template.first:
            for second_kind in template.second:
                for first in blocks.get(first_kind, ()):
                    for second in blocks.get(second_kind, ()):
                        same = first.split is second.split
                        if first.size + second.size > max_heavy_atoms + 1 or not (same or template.disconnects):
                            continue
                        made = _react(template, reaction, ((first, first_kind), (second, second_kind)), max_heavy_atoms)
                        if made is not None:
                            yield made


def _react(
    template: Template,
    reaction: rdChemReactions.ChemicalReaction,
    reactants: tuple[tuple[Compound, str], tuple[Compound, str]],
    max_heavy_atoms: int,
) -> Reaction | None:
    products: dict[str, Chem.Mol] = {}
    for (product,) in reaction.RunReactants(tuple(compound.mol for compound, _ in reactants)):
        if Chem.SanitizeMol(product, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            return None
        products[flat(product)] = product
    if len(products) != 1:
        return None
    identity, product = products.popitem()
    mol = parse(identity)
    if mol.GetNumAtoms() > max_heavy_atoms or not is_ordinary(mol) or identity in {compound.smiles for compound, _ in reactants}:
        return None
    listed = sorted((0, 1), key=lambda index: reactants[index][0].smiles)
    splits = {split_of(mol), *(compound.split for compound, _ in reactants)}
    return Reaction(
        template=template,
        blocks=(reactants[listed[0]][0], reactants[listed[1]][0]),
        kinds=(reactants[listed[0]][1], reactants[listed[1]][1]),
        product=identity,
        product_text=_in_listed_order(product, listed),
        blocks_text=_in_product_order(product, tuple(compound.mol for compound, _ in reactants)),
        size=mol.GetNumAtoms(),
        split=splits.pop() if len(splits) == 1 else None,
    )


def _origin(atom: Chem.Atom) -> tuple[int, int]:
    """RDKit notes for each product atom which reactant and which atom of it it was."""
    return atom.GetIntProp("react_idx"), atom.GetIntProp("react_atom_idx")


def _in_listed_order(product: Chem.Mol, listed: Sequence[int]) -> str:
    """The product's text with the atoms of the first listed block first."""

    def place(atom: Chem.Atom) -> tuple[int, int]:
        block, index = _origin(atom)
        return listed.index(block), index

    order = [atom.GetIdx() for atom in sorted(product.GetAtoms(), key=place)]
    plain = Chem.Mol(product)
    for atom in plain.GetAtoms():
        atom.SetAtomMapNum(0)
    return written_in_order(plain, order)


def _in_product_order(product: Chem.Mol, blocks: tuple[Chem.Mol, ...]) -> str:
    """The blocks' texts with their atoms as the product's canonical SMILES has them; an atom that left follows the one it was bound to."""
    flat(product)  # leaves the order of the atoms in the text as a property
    written = {_origin(product.GetAtomWithIdx(index)): float(place) for place, index in enumerate(_output_order(product))}
    texts: list[tuple[float, str]] = []
    for number, block in enumerate(blocks):
        places = {index: place for (which, index), place in written.items() if which == number}
        for atom in block.GetAtoms():
            if atom.GetIdx() not in places:
                bound_to = [neighbour.GetIdx() for neighbour in atom.GetNeighbors()]
                places[atom.GetIdx()] = 0.5 + min(places[index] for index in bound_to if index in places)
        texts.append((min(places.values()), written_in_order(block, sorted(places, key=lambda index: (places[index], index)))))
    return ".".join(text for _, text in sorted(texts))


def _output_order(mol: Chem.Mol) -> list[int]:
    return list(mol.GetPropsAsDict(includePrivate=True, includeComputed=True)["_smilesAtomOutputOrder"])


def reaction_drafts(compounds: Iterable[Compound], config: StarterConfig) -> Iterator[Draft]:
    """Rows of forward, retro and reactant_selection."""
    blocks = building_blocks(compounds)
    ways: dict[str, set[tuple[str, ...]]] = defaultdict(set)  # ways to take a product apart
    kept: list[Reaction] = []
    for reaction in react_all(blocks, config.max_heavy_atoms + PRODUCT_EXTRA):
        if reaction.template.disconnects:
            ways[reaction.product].add(tuple(block.smiles for block in reaction.blocks))
        if reaction.split is not None:
            kept.append(reaction)
    for reaction in kept:
        reactants = ".".join(block.smiles for block in reaction.blocks)
        how = f"template: {reaction.template.name}"
        yield Draft("forward", {"reactants": reactants}, reaction.product_text, reaction.size, _split(reaction), how)
        if reaction.template.disconnects and len(ways[reaction.product]) == 1:
            yield Draft("retro", {"product": reaction.product}, reaction.blocks_text, reaction.size, _split(reaction), how)
        yield from _selections(reaction, blocks, how)


def _selections(reaction: Reaction, blocks: Blocks, how: str) -> Iterator[Draft]:
    """One of the two reactants is given; the other has to be found among blocks of its kind, which all give other products."""
    wanted = int(unit_hash("wanted", reaction.product, *(block.smiles for block in reaction.blocks)) < 0.5)
    answer, given = reaction.blocks[wanted], reaction.blocks[1 - wanted]
    others = [
        block
        for block in blocks[reaction.kinds[wanted]]
        if block.smiles not in (answer.smiles, given.smiles) and block.split is reaction.split
    ]
    nearby = sorted(others, key=lambda block: (abs(block.size - answer.size), unit_hash(reaction.product, block.smiles)))
    if len(nearby) < CANDIDATES - 1:
        return
    candidates = [answer.smiles, *(block.smiles for block in nearby[: CANDIDATES - 1])]
    candidates.sort(key=lambda smiles: unit_hash("shuffle", reaction.product, given.smiles, smiles))
    inputs = {"product": reaction.product, "given": given.smiles, "candidates": candidates}
    yield Draft("reactant_selection", inputs, answer.smiles, reaction.size, _split(reaction), how)


def _split(reaction: Reaction) -> Split:
    if reaction.split is None:
        raise ValueError(f"the molecules of {reaction} are in several splits: it must not become a row")
    return reaction.split
