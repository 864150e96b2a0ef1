"""Descriptions: the same facts in other words, and other facts in the same words. Whole captions are in test_reward_captions.py."""

from __future__ import annotations

from tests.rewards.board.case import Case

VANILLIC = (
    "The molecule is a monohydroxybenzoic acid that is 4-hydroxybenzoic acid substituted by a methoxy group at position 3. It has a role "
    "as a plant metabolite and a flavouring agent. It is a monohydroxybenzoic acid and a methoxybenzoic acid. It derives from a "
    "4-hydroxybenzoic acid. It is a conjugate acid of a vanillate."
)
ALANINE = (
    "The molecule is the L-enantiomer of alanine. It has a role as a human metabolite and a neurotoxin inhibitor. It is an enantiomer of a "
    "D-alanine. It is a conjugate base of a L-alaninium. It is a conjugate acid of a L-alaninate."
)

# name, gold, what is exchanged, in turn; {} stands for nothing
SAME = [
    ("as-it-is", VANILLIC, (), 1.0),
    ("lower-case", VANILLIC, (("The", "the"), ("It", "it")), 1.0),
    ("line-breaks", VANILLIC, ((". ", ".\n"),), 1.0),
    ("two-blanks", VANILLIC, ((". ", ".  "),), 1.0),
    ("compound", VANILLIC, (("The molecule", "This compound"),), 0.85),
    ("substance", VANILLIC, (("The molecule", "The substance"),), 0.85),
    ("acts-as", VANILLIC, (("has a role as", "acts as"),), 0.85),
    ("serves-as", VANILLIC, (("has a role as", "serves as"),), 0.85),
    ("functions-as", VANILLIC, (("has a role as", "functions as"),), 0.85),
    ("is-used-as", VANILLIC, (("has a role as", "is used as"),), 0.85),
    ("derived", VANILLIC, (("It derives from", "It is derived from"),), 0.85),
    ("parent", VANILLIC, (("It derives from a 4-hydroxybenzoic acid", "Its parent is 4-hydroxybenzoic acid"),), 0.85),
    ("carrying", VANILLIC, (("substituted by a", "carrying a"),), 0.85),
    ("bearing", VANILLIC, (("substituted by a", "bearing a"),), 0.85),
    ("with", VANILLIC, (("substituted by a", "with a"),), 0.85),
    ("at-c-3", VANILLIC, (("at position 3", "at C-3"),), 0.85),
    ("at-c3", VANILLIC, (("at position 3", "at C3"),), 0.85),
    ("3-position", VANILLIC, (("at position 3", "at the 3-position"),), 0.85),
    ("which", VANILLIC, ((" that is", ", which is"),), 0.85),
    ("articles-left-out", VANILLIC, ((" a ", " "),), 0.85),
    ("substituent", VANILLIC, (("methoxy group", "methoxy substituent"),), 0.85),
    ("list-turned-round", VANILLIC, (("a plant metabolite and a flavouring agent", "a flavouring agent and a plant metabolite"),), 0.85),
    (
        "classes-turned-round",
        VANILLIC,
        (("a monohydroxybenzoic acid and a methoxybenzoic acid", "a methoxybenzoic acid and a monohydroxybenzoic acid"),),
        0.85,
    ),
    ("sentences-joined", VANILLIC, ((" acid. It is a conjugate", " acid and is a conjugate"),), 0.85),
    ("semicolons", VANILLIC, ((". It", "; it"),), 0.85),
    ("the-for-a", VANILLIC, (("a conjugate acid of a", "the conjugate acid of"),), 0.85),
    ("role-in-plural", VANILLIC, (("a plant metabolite", "one of the plant metabolites"),), 0.85),
    ("redundant-class-left-out", VANILLIC, (("a monohydroxybenzoic acid and a methoxybenzoic", "a methoxybenzoic"),), 0.75),
    ("also", VANILLIC, (("It is a conjugate", "It is also a conjugate"),), 0.85),
    ("non-breaking-hyphen", VANILLIC, (("4-hydroxy", "4\u2011hydroxy"),), 0.85),
    ("alanine-as-it-is", ALANINE, (), 1.0),
    ("alanine-the", ALANINE, (("an enantiomer of a", "the enantiomer of"),), 0.85),
    (
        "alanine-order",
        ALANINE,
        (
            (
                "base of a L-alaninium. It is a conjugate acid of a L-alaninate",
                "acid of a L-alaninate. It is a conjugate base of a L-alaninium",
            ),
        ),
        0.85,
    ),
    ("alanine-inhibits", ALANINE, (("a neurotoxin inhibitor", "an inhibitor of a neurotoxin"),), 0.7),
    ("alanine-this-is", ALANINE, (("The molecule is", "This is"),), 0.85),
    ("alanine-and", ALANINE, ((". It is a conjugate acid", " and a conjugate acid"),), 0.8),
]
OTHER = [
    ("locant", VANILLIC, (("position 3", "position 2"),), 0.7),
    ("locant-of-the-parent", VANILLIC, (("4-hydroxy", "2-hydroxy"),), 0.6),
    ("every-digit", VANILLIC, (("3", "5"), ("4", "2")), 0.3),
    ("ethoxy", VANILLIC, (("methoxy", "ethoxy"),), 0.85),
    ("counts", VANILLIC, (("monohydroxy", "dihydroxy"),), 0.4),
    ("conjugate-base", VANILLIC, (("conjugate acid", "conjugate base"),), 0.3),
    ("conjugate-of-another", VANILLIC, (("of a vanillate", "of a benzoate"),), 0.4),
    (
        "origin-and-conjugate-exchanged",
        VANILLIC,
        (("from a 4-hydroxybenzoic acid", "from a vanillate"), ("acid of a vanillate", "acid of a 4-hydroxybenzoic acid")),
        0.2,
    ),
    (
        "roles-and-classes-exchanged",
        VANILLIC,
        (
            ("role as a plant metabolite and a flavouring agent", "role as a methoxybenzoic acid"),
            ("acid and a methoxybenzoic acid", "acid, a plant metabolite and a flavouring agent"),
        ),
        0.5,
    ),
    ("denied", VANILLIC, (("is a", "is not a"),), 0.2),
    ("denied-once", VANILLIC, (("It is a conjugate", "It is not a conjugate"),), 0.2),
    ("denied-role", VANILLIC, (("It has a role", "It has no role"),), 0.2),
    ("lacks", VANILLIC, (("substituted by", "without"),), 0.2),
    ("animal-for-plant", VANILLIC, (("plant", "animal"),), 0.89),
    ("class-only", VANILLIC, ((VANILLIC, "The molecule is a monohydroxybenzoic acid."),), 0.2),
    ("first-sentence-twice", VANILLIC, ((VANILLIC, VANILLIC[:118] * 2),), 0.5),
    (
        "style-only",
        VANILLIC,
        (
            (
                VANILLIC,
                "The molecule is a member of the class. It has a role as a metabolite. It is an acid. It derives from an acid. "
                "It is a conjugate acid.",
            ),
        ),
        0.25,
    ),
    ("another-molecule", VANILLIC, ((VANILLIC, ALANINE),), 0.1),
    ("twice", VANILLIC, ((VANILLIC, VANILLIC + " " + VANILLIC),), 0.6),
    ("smiles", VANILLIC, ((VANILLIC, "COc1cc(C(=O)O)ccc1O"),), 0.0),
    ("name", VANILLIC, ((VANILLIC, "vanillic acid"),), 0.1),
    ("one-word", VANILLIC, ((VANILLIC, "acid"),), 0.1),
    ("marks", VANILLIC, ((VANILLIC, "... , , ; ."),), 0.0),
    ("chinese", VANILLIC, ((VANILLIC, "该分子是一种羟基苯甲酸。"),), 0.0),
    ("first-half-only", VANILLIC, ((VANILLIC[200:], ""),), 0.6),
    ("words-backwards", VANILLIC, ((VANILLIC, " ".join(reversed(VANILLIC.split()))),), 0.89),
    ("words-sorted", VANILLIC, ((VANILLIC, " ".join(sorted(VANILLIC.split()))),), 0.25),
    ("d-for-l", ALANINE, (("L-", "D-"),), 0.4),
    ("hands-exchanged", ALANINE, (("L-", "@-"), ("D-", "L-"), ("@-", "D-")), 0.3),
    ("enantiomer-left-out", ALANINE, (("It is an enantiomer of a D-alanine. ", ""),), 0.6),
    ("conjugates-exchanged", ALANINE, (("base of", "@ of"), ("acid of", "base of"), ("@ of", "acid of")), 0.7),
    ("ions-exchanged", ALANINE, (("alaninium", "@"), ("alaninate", "alaninium"), ("@", "alaninate")), 0.7),
    ("activator", ALANINE, (("inhibitor", "activator"),), 0.4),
    ("tautomer", ALANINE, (("an enantiomer of", "a tautomer of"),), 0.7),
]


def _case(name: str, gold: str, changes: tuple[tuple[str, str], ...], bound: float, right: bool) -> Case:
    answer = gold
    for old, new in changes:
        if old not in answer:
            raise ValueError(f"{name}: {old!r} is not in the caption")
        answer = answer.replace(old, new)
    low, high = (bound, 1.0) if right else (0.0, bound)
    return Case(name, "mol2text", answer, {"answer": gold}, {"smiles": "COc1cc(C(=O)O)ccc1O"}, low, high)


CASES = [*(_case(*entry, right=True) for entry in SAME), *(_case(*entry, right=False) for entry in OTHER)]
