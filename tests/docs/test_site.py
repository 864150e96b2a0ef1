"""What the site is made of: an index that names the pages, and pages that the code writes about itself."""

from __future__ import annotations

from configuration_page import configuration_markdown, documented_fields
from sections import OTHERS, navigation, sections
from task_page import prompt_of, tasks_markdown

from chemr.config import field_names
from chemr.tasks import TASKS
from tests.docs.markdown_blocks import ROOT

DOCS = ROOT / "docs"


def test_every_setting_is_on_the_page_and_says_what_it_means() -> None:
    found = dict(documented_fields())
    assert set(field_names()) <= set(found), "the reference lacks settings that the command line knows"
    silent = [name for name, text in found.items() if not text]
    assert not silent, (
        f"nothing is said about {', '.join(silent)}: write it under Attributes: of the class, or in a comment behind the field"
    )
    page = configuration_markdown()
    for name in ("run.seed", "grpo.algo.clip_high", "grpo.curriculum.unlock.NAME.after", "cluster.groups.NAME.memory_gb"):
        assert f"| `{name}` |" in page, f"the table lacks {name}"
    assert "| `grpo.steps` | int | `200`; starter: `650` |" in page, "a default is not the class's, or the starter's value is missing"


def test_every_task_is_on_the_page_with_its_own_prompt_and_the_reward_its_scorer_states() -> None:
    page = tasks_markdown()
    prompts = {task: prompt_of(task) for task in TASKS}
    assert len(set(prompts.values())) == len(TASKS), "two tasks are shown with the same prompt"
    for task, prompt in prompts.items():
        assert f"### {task}\n" in page and prompt in page, f"{task} has no section, or not its prompt"
    assert "1 for the right one of `Yes` and `No` in any case" in page, "what a scorer's docstring says is not on the page"


def test_the_index_names_pages_that_exist_in_sections_and_forgets_none() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    named = [name for names in sections(index).values() for name in names]
    assert set(named) <= pages, f"the index names pages that are not there: {set(named) - pages}"
    assert len(named) == len(set(named)), "a page is in two sections"
    shown = navigation(index, sorted(pages | {"a-new-page"}))
    assert "a-new-page" in shown[OTHERS], "a page that no section names is lost"
    assert pages <= {name for names in shown.values() for name in names}, "a page cannot be reached"
