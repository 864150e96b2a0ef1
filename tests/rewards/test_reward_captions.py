"""Captions are worth what they say, and of what they say it: paraphrases of whole captions, and captions with one kind of thing changed.

The captions here were written for these tests. With the published data (CHEMR_DATA) the same is measured on rows of ChEBI-20's validation
part; docs/rewards.md has the figures of 1,000 rows.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from statistics import fmean

import pytest

from chemr.data.sources.suites import default_data_dir
from rewards.caption_facts import agreement, read_facts
from rewards.scoring import score_answer

CAPTIONS: dict[str, tuple[str, list[str]]] = {
    "benzoic": (
        "The molecule is a chlorobenzoic acid that is salicylic acid in which the phenolic hydrogen is replaced by a methyl group and "
        "the hydrogen at position 5 is replaced by a chlorine. It has a role as a plant metabolite. It derives from a salicylic acid. It "
        "is a conjugate acid of a 5-chloro-2-methoxybenzoate.",
        [
            "It is derived from salicylic acid: the hydrogen at position 5 is replaced by a chlorine, and the phenolic hydrogen by a "
            "methyl group. This chlorobenzoic acid acts as a plant metabolite and is the conjugate acid of 5-chloro-2-methoxybenzoate.",
            "A chlorobenzoic acid and plant metabolite. In salicylic acid, from which it derives, a methyl group replaces the phenolic "
            "hydrogen and a chlorine replaces the hydrogen at position 5. Its relation to 5-chloro-2-methoxybenzoate is that of a "
            "conjugate acid.",
        ],
    ),
    "anion": (
        "The molecule is a polyunsaturated fatty acid anion resulting from the deprotonation of the carboxy group of "
        "(9Z,12Z)-octadeca-9,12-dienoic acid; major species at pH 7.3. It has a role as a human metabolite. It is a conjugate base of a "
        "(9Z,12Z)-octadeca-9,12-dienoic acid.",
        [
            "Deprotonation of the carboxy group of (9Z,12Z)-octadeca-9,12-dienoic acid gives this polyunsaturated fatty acid anion, "
            "which is the major species at pH 7.3. It is a conjugate base of (9Z,12Z)-octadeca-9,12-dienoic acid and a human metabolite.",
            "This compound, the conjugate base of (9Z,12Z)-octadeca-9,12-dienoic acid, is a polyunsaturated fatty acid anion. It is "
            "formed when the carboxy group of (9Z,12Z)-octadeca-9,12-dienoic acid is deprotonated and is the major species at pH 7.3. It "
            "serves as a human metabolite.",
        ],
    ),
    "glycoside": (
        "The molecule is a beta-D-glucoside that is quercetin attached to a beta-D-glucopyranosyl residue at position 3 via a glycosidic "
        "linkage. It has a role as an antioxidant and a plant metabolite. It is a beta-D-glucoside, a tetrahydroxyflavone and a "
        "monosaccharide derivative. It derives from a quercetin.",
        [
            "A plant metabolite and antioxidant, this beta-D-glucoside consists of quercetin linked via a glycosidic linkage at position "
            "3 to a beta-D-glucopyranosyl residue. It is a monosaccharide derivative, a tetrahydroxyflavone and a beta-D-glucoside, and "
            "is derived from quercetin.",
        ],
    ),
    "peptide": (
        "The molecule is a dipeptide composed of L-serine and L-leucine joined by a peptide linkage. It has a role as a metabolite. It "
        "derives from a L-serine and a L-leucine.",
        [
            "This dipeptide is made up of L-serine and L-leucine, which are joined by a peptide linkage. It is derived from L-serine and "
            "L-leucine and acts as a metabolite.",
        ],
    ),
    "steroid": (
        "The molecule is a 3beta-hydroxy steroid that is 5alpha-pregnane substituted by hydroxy groups at positions 3 and 17 and by an "
        "oxo group at position 20 (the 3beta stereoisomer). It has a role as a human metabolite and a mouse metabolite. It is a "
        "3beta-hydroxy steroid, a 17-hydroxy steroid and a 20-oxo steroid.",
        [
            "The compound is 5alpha-pregnane bearing an oxo group at position 20 and hydroxy groups at positions 3 and 17 (the 3beta "
            "stereoisomer). It belongs to the 3beta-hydroxy steroids, the 20-oxo steroids and the 17-hydroxy steroids. It is known as a "
            "mouse metabolite and a human metabolite.",
        ],
    ),
    "salt": (
        "The molecule is a hydrochloride obtained by combining tramazoline with one equivalent of hydrochloric acid. It has a role as an "
        "alpha-adrenergic agonist and a nasal decongestant. It contains a tramazoline(1+).",
        [
            "The hydrochloride that results when tramazoline is combined with one equivalent of hydrochloric acid; it contains "
            "tramazoline(1+) and is used as a nasal decongestant and an alpha-adrenergic agonist.",
        ],
    ),
    "coa": (
        "The molecule is an acyl-CoA that results from the formal condensation of the thiol group of coenzyme A with the carboxy group "
        "of 3-hydroxyheptanoic acid. It has a role as an Escherichia coli metabolite. It derives from a 3-hydroxyheptanoic acid and a "
        "coenzyme A. It is a conjugate acid of a 3-hydroxyheptanoyl-CoA(4-).",
        [
            "This acyl-CoA is formed by formal condensation of the carboxy group of 3-hydroxyheptanoic acid with the thiol group of "
            "coenzyme A. It is a conjugate acid of 3-hydroxyheptanoyl-CoA(4-), is derived from coenzyme A and 3-hydroxyheptanoic acid, "
            "and serves as an Escherichia coli metabolite.",
            "An acyl-CoA and Escherichia coli metabolite, obtained when the thiol group of coenzyme A is formally condensed with the "
            "carboxy group of 3-hydroxyheptanoic acid. Its parents are coenzyme A and 3-hydroxyheptanoic acid; it is the conjugate acid "
            "of 3-hydroxyheptanoyl-CoA(4-).",
        ],
    ),
    "amide": (
        "The molecule is a monocarboxylic acid amide obtained by the formal condensation of the carboxy group of nicotinic acid with the "
        "amino group of (1S)-1-phenylethylamine. It has a role as an EC 3.4.21.5 (thrombin) inhibitor. It is a monocarboxylic acid amide "
        "and a member of pyridines. It derives from a nicotinic acid.",
        [
            "Formal condensation of the amino group of (1S)-1-phenylethylamine with the carboxy group of nicotinic acid gives this "
            "monocarboxylic acid amide. It belongs to the pyridines, is derived from nicotinic acid, and functions as an EC 3.4.21.5 "
            "(thrombin) inhibitor.",
        ],
    ),
    "drug": (
        "The molecule is a member of the class of piperazines that is piperazine in which the amine hydrogens are substituted by a "
        "2-hydroxyethyl and a 4-fluorobenzyl group respectively. It has a role as a dopaminergic antagonist and an antipsychotic agent. "
        "It is a N-alkylpiperazine, a primary alcohol and a member of monofluorobenzenes. It is a conjugate base of a flubenzin(1+).",
        [
            "This antipsychotic agent and dopaminergic antagonist belongs to the piperazines. The amine hydrogens of piperazine are "
            "replaced by a 2-hydroxyethyl group and a 4-fluorobenzyl group. It is a primary alcohol, a N-alkylpiperazine, and a member "
            "of monofluorobenzenes, and the conjugate base of flubenzin(1+).",
        ],
    ),
    "lipid": (
        "The molecule is a 1,2-diacyl-sn-glycerol in which the acyl groups at positions 1 and 2 are specified as hexadecanoyl and "
        "(9Z)-octadecenoyl respectively. It has a role as a mouse metabolite. It derives from a hexadecanoic acid and an oleic acid.",
        [
            "It is a 1,2-diacyl-sn-glycerol whose acyl groups at positions 1 and 2 are hexadecanoyl and (9Z)-octadecenoyl. It is derived "
            "from oleic acid and hexadecanoic acid and functions as a mouse metabolite.",
        ],
    ),
    "natural": (
        "The molecule is a macrolide that is isolated from the roots of Streptocarpus dunnii and exhibits antifungal activity against "
        "Candida albicans. It has a role as an antifungal agent and a plant metabolite. It is a macrolide, a secondary alcohol and a "
        "delta-lactone.",
        [
            "Isolated from Streptocarpus dunnii roots, this macrolide shows antifungal activity against Candida albicans. It is a "
            "delta-lactone, a secondary alcohol and a macrolide; it acts as a plant metabolite and an antifungal agent.",
        ],
    ),
    "nucleotide": (
        "The molecule is a purine ribonucleoside 5'-diphosphate resulting from the formal condensation of the primary hydroxy group of "
        "inosine with pyrophosphoric acid. It has a role as a Saccharomyces cerevisiae metabolite. It derives from an inosine. It is a "
        "conjugate acid of an IDP(3-).",
        [
            "This purine ribonucleoside 5'-diphosphate derives from inosine, whose primary hydroxy group has been formally condensed "
            "with pyrophosphoric acid. It is a Saccharomyces cerevisiae metabolite, and the conjugate acid of IDP(3-).",
        ],
    ),
}
ROWS = 250
VALIDATION = default_data_dir() / "chebi20" / "molt5" / "validation.txt"


def worth(answer: str, gold: str) -> float:
    value = score_answer("mol2text", answer, {"smiles": "CCO"}, {"answer": gold}).value
    assert value is not None
    return value


# -- what may change -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "paraphrase"),
    [pytest.param(gold, one, id=f"{name}-{at}") for name, (gold, said) in CAPTIONS.items() for at, one in enumerate(said)],
)
def test_a_paraphrase_with_every_fact_earns_most(gold, paraphrase):
    assert 0.7 <= worth(paraphrase, gold) <= 0.9


@pytest.mark.parametrize("gold", [pytest.param(gold, id=name) for name, (gold, _) in CAPTIONS.items()])
def test_sentences_in_another_order_say_the_same(gold):
    assert worth(" ".join(reversed(sentences(gold))), gold) >= 0.8


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("a chloro group at C-4", "a chloro group at position 4"),
        ("a chloro group at C4", "a chloro group at position 4"),
        ("a chloro group at the 4-position", "a chloro group at position 4"),
        ("chlorine at position 4", "a chloro group at position 4"),
        ("carrying two hydroxy groups", "a dihydroxy compound"),
        ("it inhibits thrombin", "an inhibitor of thrombin"),
        ("the pyridines", "a pyridine"),
        ("3\u2032-deoxy", "3'-deoxy"),
        ("(1\u2212)", "(1-)"),
    ],
)
def test_ways_to_say_one_fact_are_one_fact(said, meant):
    parts = agreement(read_facts(said), read_facts(meant))
    details = {name: part for name, part in parts.items() if name not in ("facts", "words", "links")}
    assert set(details.values()) == {1.0}, details


# -- what must not change --------------------------------------------------------------------------------------------------------------


ROLES, CLASSES = "an antifungal agent and a plant metabolite", "a macrolide, a secondary alcohol and a delta-lactone"
EXCHANGES: list[tuple[str, tuple[tuple[str, str], ...], float]] = [
    ("benzoic", (("conjugate acid", "conjugate base"),), 0.3),
    ("benzoic", (("5-chloro-2-methoxy", "2-chloro-5-methoxy"),), 0.75),
    (
        "benzoic",
        (
            ("a salicylic acid. It", "a 5-chloro-2-methoxybenzoate. It"),
            ("acid of a 5-chloro-2-methoxybenzoate", "acid of a salicylic acid"),
        ),
        0.3,
    ),
    ("anion", (("deprotonation", "protonation"),), 0.4),
    ("anion", (("(9Z,12Z)", "(9E,12E)"),), 0.4),
    ("anion", (("octadeca-9,12-dienoic", "octadeca-6,9-dienoic"),), 0.5),
    ("anion", (("octadeca", "hexadeca"),), 0.5),
    ("glycoside", (("beta-D", "alpha-D"),), 0.5),
    ("glycoside", (("beta-D", "beta-L"),), 0.5),
    ("glycoside", (("tetrahydroxy", "trihydroxy"),), 0.5),
    ("glycoside", (("position 3", "position 7"),), 0.4),
    ("peptide", (("dipeptide", "tripeptide"),), 0.5),
    ("peptide", (("L-serine and a L-leucine", "D-serine and a D-leucine"),), 0.8),
    (
        "steroid",
        (
            ("by hydroxy groups at positions 3", "by an oxo group at positions 3"),
            ("by an oxo group at position 20", "by hydroxy groups at position 20"),
        ),
        0.85,
    ),
    ("steroid", (("17-hydroxy steroid and a 20-oxo", "20-hydroxy steroid and a 17-oxo"),), 0.8),
    ("salt", (("agonist", "antagonist"),), 0.4),
    ("salt", (("(1+)", "(1-)"),), 0.4),
    ("coa", (("(4-)", "(2-)"),), 0.75),
    ("coa", (("thiol group of coenzyme A with the carboxy", "carboxy group of coenzyme A with the thiol"),), 0.5),
    ("amide", (("(1S)", "(1R)"),), 0.4),
    ("amide", (("inhibitor", "activator"),), 0.4),
    ("drug", (("2-hydroxyethyl and a 4-fluorobenzyl", "4-hydroxyethyl and a 2-fluorobenzyl"),), 0.5),
    ("natural", ((ROLES, "[roles]"), (CLASSES, ROLES), ("[roles]", CLASSES)), 0.4),
    ("nucleotide", (("5'-diphosphate", "3'-diphosphate"),), 0.75),
    ("nucleotide", (("5'-diphosphate", "5'-triphosphate"),), 0.5),
]


@pytest.mark.parametrize(("name", "changes", "at_most"), EXCHANGES, ids=[f"{name}: {changes[0][1]}" for name, changes, _ in EXCHANGES])
def test_an_exchanged_detail_is_noticed(name, changes, at_most):
    gold = answer = CAPTIONS[name][0]
    for old, new in changes:
        assert old in answer
        answer = answer.replace(old, new)
    assert worth(answer, gold) <= at_most


STYLE_WITHOUT_FACTS = [
    "The molecule is a member of the class of compounds. It has a role as a metabolite. It is a conjugate base of an acid.",
    "The molecule is an organic compound that has a role as a metabolite. It derives from a carboxylic acid and is a conjugate base of "
    "an acid.",
    "The molecule is a monocarboxylic acid anion that is the conjugate base of an acid, obtained by deprotonation of the carboxy group. "
    "It has a role as a human metabolite. It is a conjugate base of an acid.",
]


@pytest.mark.parametrize("gold", [pytest.param(gold, id=name) for name, (gold, _) in CAPTIONS.items()])
def test_style_shuffles_and_other_molecules_earn_little(gold):
    rng = random.Random(11)
    assert fmean(worth(shuffled(gold, rng), gold) for _ in range(8)) <= 0.35
    assert max(worth(text, gold) for text in STYLE_WITHOUT_FACTS) <= 0.25
    assert max(worth(other, gold) for other, _ in CAPTIONS.values() if other != gold) <= 0.15


def test_a_denial_has_to_be_of_the_same_thing():
    gold = "The molecule is a non-proteinogenic amino acid that is not a substrate of trypsin. It is a member of pyridines and a thiol."
    assert worth(gold.replace("not a", "a"), gold) <= 0.2
    assert worth(gold.replace("non-proteinogenic", "proteinogenic").replace("and a thiol", "and not a thiol"), gold) <= 0.2
    assert worth(gold.replace("a member of pyridines and a thiol", "a thiol and a member of pyridines"), gold) >= 0.8


def test_saying_both_of_two_opposites_is_not_saying_one():
    gold = CAPTIONS["benzoic"][0]
    both = gold + " It is a conjugate base of a 5-chloro-2-methoxybenzoate."
    assert worth(both, gold) <= 0.75


@pytest.mark.parametrize(
    "text",
    ["ab " * 1990, "not " * 1490, "2 " * 2990, "conjugate acid of " * 330, "a1-" * 1990, "(1+)" * 1490, "'" * 5990, "derives x " * 590],
)
def test_the_longest_answers_are_read_at_once(text):
    started = time.process_time()
    read_facts(text)
    assert time.process_time() - started < 0.5, "linear: it takes some 20 ms"


# -- the same on published captions ----------------------------------------------------------------------------------------------------


def sentences(caption: str) -> list[str]:
    return re.split(r"(?<=\.)\s+(?=[A-Z])", caption)


def shuffled(caption: str, rng: random.Random) -> str:
    return " ".join(rng.sample(caption.split(), len(caption.split())))


def shuffled_tokens(caption: str, rng: random.Random) -> str:
    found = re.findall(r"\w+|[^\w\s]", caption)
    return " ".join(rng.sample(found, len(found)))


def other_digits(caption: str, rng: random.Random) -> str:
    return re.sub(r"\d", lambda digit: str((int(digit[0]) + rng.randint(1, 9)) % 10), caption)


def exchanged(pattern: str, *pairs: tuple[str, str]) -> Callable[[str, random.Random], str]:
    table = dict(pairs) | {right: left for left, right in pairs}
    return lambda caption, rng: re.sub(pattern, lambda match: table[match[0]], caption)


CHANGES: dict[str, tuple[Callable[[str, random.Random], str], float, float]] = {
    "words-shuffled": (shuffled, 0.0, 0.25),
    "tokens-shuffled": (shuffled_tokens, 0.0, 0.15),
    "sentences-reversed": (lambda caption, rng: " ".join(reversed(sentences(caption))), 0.8, 0.9),
    "is-not": (lambda caption, rng: caption.replace("is a", "is not a"), 0.0, 0.25),
    "other-digits": (other_digits, 0.0, 0.25),
    "conjugates-exchanged": (exchanged(r"(?<=conjugate )(acid|base)", ("acid", "base")), 0.0, 0.4),
    "r-and-s-exchanged": (exchanged(r"(?<![a-zA-Z])[RS](?![a-zA-Z])", ("R", "S")), 0.0, 0.4),
    "d-and-l-exchanged": (exchanged(r"\b[DL](?=-)", ("D", "L")), 0.0, 0.4),
    "counts-exchanged": (exchanged(r"\b(mono|di|two|three)(?=[a-z ])", ("mono", "di"), ("two", "three")), 0.0, 0.4),
}


@pytest.fixture(scope="module")
def published() -> list[str]:
    if not VALIDATION.is_file():
        pytest.skip("the published data (CHEMR_DATA) are not here")
    captions = [line.split("\t")[2] for line in VALIDATION.read_text(encoding="utf-8").splitlines()[1:]]
    return captions[:: len(captions) // ROWS][:ROWS]


@pytest.mark.parametrize("change", CHANGES)
def test_published_captions_with_one_kind_of_change(published, change):
    make, at_least, at_most = CHANGES[change]
    rng = random.Random(23)
    pairs = [(make(caption, rng), caption) for caption in published]
    values = [worth(answer, gold) for answer, gold in pairs if answer != gold]
    assert len(values) >= 30
    assert at_least <= fmean(values) <= at_most, f"{fmean(values):.3f} on average of {len(values)}"


def test_published_captions_of_other_rows_and_style_alone(published):
    assert fmean(worth(other, gold) for other, gold in zip(published[1:], published, strict=False)) <= 0.15
    for text in STYLE_WITHOUT_FACTS:
        assert fmean(worth(text, gold) for gold in published) <= 0.1
