"""Every filter on planted errors: precision and recall of at least 0.98, and nothing against true traces."""

from __future__ import annotations

import pytest

from tests.chemr.mining.filter_figures import Figures, figures, judged, rows
from tests.chemr.mining.planted import CASES, KINDS, cases

BAR = 0.98


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Figures], list[set[str]]]:
    found = list(cases(rows(tmp_path_factory.mktemp("data"))))
    reasons = judged(found)
    clean = [given for case, given in zip(found, reasons, strict=True) if not case.planted]
    return {one.name: one for one in figures(found, reasons)}, clean


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_a_filter_finds_what_was_planted_and_accuses_nobody_else(kind: str, outcome: tuple[dict[str, Figures], list[set[str]]]) -> None:
    found = outcome[0][kind]
    assert found.planted >= CASES >= 200
    assert found.recall >= BAR, f"{found.planted - found.found} of {found.planted} planted cases were missed"
    assert found.precision >= BAR, f"{found.accused} of {found.others} other cases were accused"


def test_true_traces_pass_all_filters(outcome: tuple[dict[str, Figures], list[set[str]]]) -> None:
    clean = outcome[1]
    assert len(clean) >= 200
    assert sum(not reasons for reasons in clean) >= BAR * len(clean), [reasons for reasons in clean if reasons]
