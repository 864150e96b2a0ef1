"""One word, and where it may stand in a completion."""

from __future__ import annotations

from tests.rewards.board.case import Case

WORDS = {"capital": "{}", "full-stop": "{}.", "newline-before": "\n{}", "newline-after": "{}\n", "blanks": "  {}  ", "tab": "\t{}"}
CASES_OF_WORDS = {"as-it-is": str, "lower": str.lower, "upper": str.upper}
# name, completion; {} is the word
RIGHT_WHOLE = [
    ("thinking-first", "<think>It is small and lipophilic.</think><answer>{}</answer>"),
    ("thinking-opened-by-the-prompt", "It is small and lipophilic.</think>\n<answer>{}</answer>"),
    ("thinking-with-blank-lines", "<think>\n\n</think>\n\n<answer>{}</answer>\n"),
    ("prose-before", "Weighing all that: <answer>{}</answer>"),
    ("tag-spoken-of-in-thinking", "<think>I shall end in <answer> tags.</think><answer>{}</answer>"),
    ("draft-in-thinking", "<think>Maybe <answer>No</answer>, maybe <answer>Yes</answer>.</think><answer>{}</answer>"),
    ("closing-tag-spoken-of", "<think>then </answer> closes it</think><answer>{}</answer>"),
    ("other-tags-in-thinking", "<think><b>Lipinski</b>: 0 violations & logP < 5</think><answer>{}</answer>"),
    ("code-in-thinking", "<think>```\nprint('x')\n```</think>\n\n<answer>\n{}\n</answer>"),
]
# name, answer
NEAR = [
    *(("other-word", "{other}"), ("other-word-with-stop", "{other}."), ("other-word-lower", "{other_lower}")),
    *(("both", "Yes and No"), ("both-slash", "Yes/No"), ("both-lines", "{}\n{other}"), ("both-or", "Yes or No"), ("comma", "{}, {other}")),
    *(("reason-after", "{}, because it is lipophilic"), ("reason-in-brackets", "{} (likely)"), ("sentence", "The answer is {}")),
    *(("bold", "**{}**"), ("quotes", '"{}"'), ("single-quotes", "'{}'"), ("boxed", "\\boxed{{{}}}"), ("json", '{{"answer": "{}"}}')),
    *(("exclamation", "{}!"), ("question", "{}?"), ("two-stops", "{}.."), ("initial", "{initial}"), ("number", "1"), ("zero", "0")),
    *(("truth", "True"), ("falsehood", "False"), ("probability", "0.7"), ("maybe", "Maybe"), ("unknown", "Unknown"), ("french", "Oui")),
    *(("high-yield", "High-yielding"), ("not-high", "Not high-yielding"), ("label", "Answer: {}"), ("smiles", "CCO"), ("twice", "{} {}")),
    *(("negated", "not {}"), ("prefix", "{}terday"), ("invisible", "{}\u200b"), ("look-alike", "Y\u0435s"), ("look-alike-no", "N\u043e")),
]
NEAR_WHOLE = [
    ("no-tags", "{}"),
    ("answered-twice", "<answer>{}</answer><answer>{}</answer>"),
    ("text-after", "<answer>{}</answer> is my answer"),
    ("tag-not-closed", "<answer>{}"),
    ("thinking-not-closed", "<think>so <answer>{}</answer>"),
    ("answer-only-in-thinking", "<think><answer>{}</answer></think>"),
    ("upper-case-tag", "<ANSWER>{}</ANSWER>"),
    ("empty", "<answer> </answer>"),
]

TASKS = ("property_bace", "property_bbbp", "property_hiv", "property_tox21", "property_clintox", "yield_bh", "yield_suzuki")


def _filled(pattern: str, word: str) -> str:
    other = "No" if word == "Yes" else "Yes"
    return pattern.format(word, word, other=other, other_lower=other.lower(), initial=word[0])


CASES = [
    Case(f"{task}-{case}-{form}", task, pattern.format(cased("Yes" if at % 2 else "No")), {"answer": "Yes" if at % 2 else "No"})
    for at, task in enumerate(TASKS)
    for form, pattern in WORDS.items()
    for case, cased in CASES_OF_WORDS.items()
]
for _at, (_name, _pattern) in enumerate(RIGHT_WHOLE):
    for _word in ("Yes", "No"):
        CASES.append(Case(f"{_name}-{_word}", TASKS[_at % 7], _filled(_pattern, _word), {"answer": _word}, whole=True))
for _whole, _patterns in ((False, NEAR), (True, NEAR_WHOLE)):
    for _at, (_name, _pattern) in enumerate(_patterns):
        for _word in ("Yes", "No"):
            _answer = _filled(_pattern, _word)
            CASES.append(Case(f"{_name}-{_word}", TASKS[_at % 7], _answer, {"answer": _word}, at_least=0.0, at_most=0.0, whole=_whole))
