"""The traps of the published evaluations, one by one, on small made rows."""

from __future__ import annotations

import math

import pytest

from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.evaluation import BENCHMARK_TASKS, benchmark_figures
from rewards.benchmark.request import BenchmarkRow, BenchmarkSettings
from rewards.benchmark.tomg_readings import READINGS


def gold(answer: str, **more: object) -> BenchmarkRow:
    return BenchmarkRow({}, {"answer": answer, **more})


@pytest.mark.parametrize(
    ("text", "raw", "corrected", "s2_corrected", "s2_json"),
    [
        ("CCO", "CCO", "CCO", "CCO", "CCO"),
        ("", None, None, None, ""),
        ("None", None, None, None, "None"),
        ("   ", None, None, None, "   "),
        ('{"molecule": "CCO"} or {"molecule": "C"}', '{"molecule": "CCO"} or {"molecule": "C"}', "CCO", "CCO", None),
        ('{"molecule": "[CCO]"}', None, "[CCO]", "[CCO]", None),
        ("[NH3+]CC[O-]", "[NH3+]CC[O-]", "NH3+]CC[O-", "NH3+]CC[O-", "[NH3+]CC[O-]"),
        ('{"molecule": null}', None, None, "None", None),
        ('{"molecule": ""}', None, None, "", None),
        ("{'molecule': 'CCO'}", None, "'CCO'", "'CCO'", None),
        ('{"smiles": "CCO"}', None, "CCO", '{"smiles": "CCO"}', None),
        ("{CCO}", None, None, "None", None),
        ("CC => CCO -> CCC", None, "CCC", "CCC", None),
        ('{""molecule"": ""CCO""}', None, "CCO", "CCO", None),
        ("CCO\nfits", None, "CCO fits", "CCO fits", None),
        ('{"molecule": ["CCO"]}', None, "['CCO']", "None", None),
    ],
)
def test_the_four_readings_of_an_output(
    text: str, raw: str | None, corrected: str | None, s2_corrected: str | None, s2_json: str | None
) -> None:
    read = {name: reading(text) for name, reading in READINGS.items()}
    assert read["corrected"] == corrected and read["s2_corrected"] == s2_corrected
    if s2_json is not None:
        assert read["s2_json"] == s2_json and read["raw"] == raw


def test_an_unclosed_brace_is_read_in_linear_time() -> None:
    assert READINGS["corrected"]("{" * 1_000_000) is not None


def test_a_property_sample_stands_for_all_samples_so_far_and_drops_what_it_cannot_read() -> None:
    rows = [gold("Yes"), gold("No"), gold("No"), gold("Yes")]
    report = benchmark_figures("property_bace", rows, [["Yes", "No", "maybe", "yes"], ["No", " No ", "Yes", "Yes"]])
    assert report.figure("accuracy").samples == (1.0, 4 / 6)
    assert report.figure("accuracy_each_sample_alone").samples == (1.0, 0.5)
    assert report.figure("accuracy_unreadable_counted_wrong").samples == (0.5, 0.5)
    assert report.details["answers_dropped_as_unreadable"] == [2, 0]
    assert report.figure("mcc_each_sample_alone").samples == (1.0, 0.0)
    assert len(report.notes) == 2, "both faults of the published code are named"


def test_a_property_file_without_any_readable_answer_has_no_accuracy() -> None:
    report = benchmark_figures("property_hiv", [gold("Yes")], [["perhaps"]])
    assert report.figure("accuracy").mean is None and report.figure("accuracy_unreadable_counted_wrong").mean == 0.0


def test_names_are_compared_as_text_and_smiles_as_molecules() -> None:
    assert benchmark_figures("smiles2iupac", [gold("ethanol")] * 2, [["ethanol ", "ethanol"]]).figure("accuracy").mean == 0.5
    report = benchmark_figures("iupac2smiles", [gold("CC(F)(Cl)Br")] * 4, [["C[C@](F)(Cl)Br", "BrC(C)(F)Cl", "no", "CC(F)(Cl)Br yes"]])
    assert report.figure("accuracy").mean == 0.5, "stereo that the gold lacks is wrong, and text after a blank is ignored"
    assert report.figure("accuracy_without_stereo").mean == 0.75


def test_forward_pays_for_guesses_joined_by_dots_and_our_line_does_not() -> None:
    report = benchmark_figures("forward", [gold("CCO"), gold("CC.O")], [["C.CC.OCC", "CC.O"]])
    assert report.figure("accuracy").mean == 0.5, "guesses count, and a gold of two components never can"
    assert report.figure("top_1").mean == 0.5


def test_retro_compares_with_the_first_character_and_the_samples_give_top_k() -> None:
    report = benchmark_figures("retro", [gold("CCO.N"), gold("CO")], [["C", "OC"], ["N.OCC", "C"]])
    assert report.figure("accuracy").samples == (0.5, 0.5)
    assert report.figure("accuracy_with_gt_in_place_of_gt[0]").samples == (0.0, 0.0)
    assert report.figure("top_1").samples == (0.5, 0.5) and report.details["top_2_of_samples"] == 1.0


def test_a_candidate_that_is_not_written_canonically_can_never_be_chosen() -> None:
    rows = [gold("OCC", ranked=["OCC", "CO"])]
    report = benchmark_figures("solvent_selection", rows, [["OCC"]])
    assert report.figure("accuracy").mean == 0.0 and report.figure("accuracy_candidates_canonical").mean == 1.0


def test_a_ligand_is_right_in_the_better_half_rounded_down() -> None:
    rows = [gold("C", ranked=["C", "CC", "CCC", "CCCC", "CCCCC"])] * 3
    assert benchmark_figures("ligand_selection", rows, [["C", "CC", "CCC"]]).figure("accuracy").mean == pytest.approx(2 / 3)
    with pytest.raises(BenchmarkInputError, match="ranked"):
        benchmark_figures("ligand_selection", [gold("C")], [["C"]])


def test_an_empty_output_is_a_molecule_for_the_json_reading_only() -> None:
    rows = [BenchmarkRow({"smiles": "CCO", "direction": "decrease"}, {})]
    report = benchmark_figures("molopt_mr", rows, [[""]])
    assert report.figure("s2_json.success_rate").mean == 1.0 and report.figure("s2_json.similarity").mean == 0.0
    assert report.figure("raw.validity").mean == 0.0 and report.figure("raw.similarity").mean is None
    assert any("ZeroDivisionError" in note for note in report.notes)


def test_zero_targets_count_for_groups_and_atoms_but_not_for_bonds() -> None:
    bonds = benchmark_figures("molcustom_bondnum", [BenchmarkRow({"counts": {"single": 2}}, {})], [["C=CC(C)=C"]])
    assert bonds.figure("raw.success_rate").mean == 1.0
    atoms = benchmark_figures("molcustom_atomnum", [BenchmarkRow({"counts": {"C": 2}}, {})] * 2, [["CCO", "CC.[Fe]"]])
    assert atoms.figure("raw.success_rate").mean == 0.5, "oxygen is one of the 17 elements that count, iron is not"
    groups = benchmark_figures("molcustom_functionalgroup", [BenchmarkRow({"counts": {"carboxyl": 1}}, {})], [["CC(=O)O"]])
    assert groups.figure("raw.success_rate").mean == 0.0, "a carboxyl is a hydroxyl too"


def test_novelty_is_left_out_with_a_reason_or_one_for_a_molecule_without_bits() -> None:
    rows = [BenchmarkRow({"counts": {"C": 1}}, {})]
    without = benchmark_figures("molcustom_atomnum", rows, [["C"]])
    assert "raw.novelty" not in {figure.name for figure in without.figures} and any("novelty" in note for note in without.notes)
    known = benchmark_figures("molcustom_atomnum", rows, [[""]], BenchmarkSettings(novelty_molecules=["CCO", "broken("]))
    assert known.figure("s2_json.novelty").mean == 1.0


def test_design_counts_two_empty_inchi_as_equal_and_an_empty_output_as_valid() -> None:
    report = benchmark_figures("text2mol", [gold("*C"), gold("CCO")], [["*", ""]], BenchmarkSettings(fcd=False))
    assert report.figure("exact_match").mean == 0.5 and report.figure("validity_fingerprint").mean == 1.0
    assert report.figure("levenshtein").mean == 2.0


def test_a_caption_without_wordnet_has_no_meteor_and_says_so() -> None:
    report = benchmark_figures("mol2text", [gold("The molecule is an acid.")], [["[CLS] The molecule is an acid."]])
    assert report.figure("bleu2").mean == pytest.approx(1.0) and report.figure("rougeL").mean == pytest.approx(1.0)
    assert "meteor" not in {figure.name for figure in report.figures}
    assert any(note.startswith("meteor: left out") for note in report.notes)
    assert "regex" in report.details["tokenizer"]


def test_a_missing_vocabulary_is_an_error_and_not_the_regex_in_disguise(tmp_path) -> None:
    with pytest.raises(BenchmarkInputError, match=r"vocab\.txt"):
        benchmark_figures("mol2text", [gold("a")], [["a"]], BenchmarkSettings(scibert_dir=str(tmp_path)))


def test_wordpieces_are_those_of_the_published_tokenizer(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    from rewards.benchmark.text_jobs import tokens

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "mole", "##cule", "is", "an", "ac", "##id", "-", ".", "(", ")", "2", "e"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    published = transformers.BertTokenizerFast.from_pretrained(str(tmp_path))
    for text in ("The MOLECULE is an acid.", "Ácid (2E)-zz [SEP] the", ""):
        wanted = published.tokenize(text, truncation=True, max_length=512, padding="max_length")
        wanted = [piece for piece in wanted if piece not in ("[PAD]", "[CLS]", "[SEP]")]
        assert tokens(text, str(tmp_path / "vocab.txt")) == wanted, text
    assert len(tokens("molecule " * 600, str(tmp_path / "vocab.txt"))) == len(tokens("molecule " * 600, None)) == 512


def test_the_report_nests_groups_and_gives_every_sample() -> None:
    document = benchmark_figures("yield_bh", [gold("Yes"), gold("No")], [["Yes", "No"], ["Yes", "Yes"]]).to_json()
    assert document["scores"]["accuracy"] == {"mean": 0.75, "stdev": pytest.approx(math.sqrt(0.125)), "sample_1": 1.0, "sample_2": 0.5}
    assert document["n_rows"] == 2 and document["unscored"] == []


@pytest.mark.parametrize(
    ("task", "rows", "samples", "said"),
    [
        ("alchemy", [gold("C")], [["C"]], "no published rules"),
        ("retro", [], [], "at least one"),
        ("retro", [gold("C")], [["C", "C"]], "2 predictions for 1 rows"),
        ("retro", [gold("C")], [[None]], "not text"),
        ("retro", [BenchmarkRow({}, {})], [["C"]], "reference\\['answer'\\]"),
        ("iupac2smiles", [gold("C(")], [["C"]], "row 0"),
        ("yield_bh", [gold("maybe")], [["Yes"]], "Yes or No"),
    ],
)
def test_what_cannot_be_evaluated_is_named(task: str, rows: list, samples: list, said: str) -> None:
    with pytest.raises(BenchmarkInputError, match=said):
        benchmark_figures(task, rows, samples)


def test_every_task_of_a_published_suite_has_published_rules() -> None:
    from chemr.data.sources.suites import SUITES

    assert {task for tasks in SUITES.values() for task in tasks} <= set(BENCHMARK_TASKS), "a published test has no published figure"
