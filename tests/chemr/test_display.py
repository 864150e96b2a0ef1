"""People see a live panel on a terminal and plain lines elsewhere."""

from __future__ import annotations

import io
import time

from rich.console import Console

from chemr.display import Display, LiveDisplay, reward_table, shown
from tests.patience import WAIT_S

STEP = {
    "train/loss": 1.2345,
    "train/lr": 3e-4,
    "train/tokens_per_s": 16900.0,
    "reward/forward/mean": 0.25,
    "reward/retro/mean": 0.75,
    "reward/retro/std": 9.0,
}


def run_of(display: Display) -> None:
    display.note("continuing runs/x from step 3 [grpo]")
    display.stage("foundation", 2)
    display.step("foundation", 1, 2, STEP)
    display.step("foundation", 2, 2, STEP)
    display.evaluation("foundation", {"forward": 0.25, "retro": 0.5}, 0.375)
    display.final_table({"forward": {"foundation": 0.25, "grpo": 0.5}, "mean": {"foundation": 0.25, "grpo": 0.5}})
    display.close()
    display.close()


def test_outside_a_terminal_every_step_is_one_line_without_control_codes() -> None:
    output = io.StringIO()
    display = Display.create(Console(file=output, width=60))
    assert type(display) is Display
    run_of(display)
    text = output.getvalue()
    assert "\x1b" not in text, "control codes were written to a file"
    (line,) = [line for line in text.splitlines() if "foundation 1/2" in line]
    assert "loss 1.234" in line, f"the loss is missing: {line}"
    assert "reward 0.500" in line, f"the reward is not the mean over tasks: {line}"
    assert "trained tok/s 16,900" in line, f"a long line was wrapped or cut: {line}"
    assert "[grpo]" in text, "text in brackets was taken for markup"
    assert "held-out reward 0.375" in text


def test_on_a_terminal_a_panel_shows_progress_and_is_gone_after_close() -> None:
    output = io.StringIO()
    display = Display.create(Console(file=output, width=100, force_terminal=True, _environ={"TERM": "xterm"}))
    assert isinstance(display, LiveDisplay)
    display.stage("foundation", 2)
    display.step("foundation", 1, 2, STEP)
    deadline = time.monotonic() + WAIT_S
    while "1/2" not in output.getvalue():
        assert time.monotonic() < deadline, "the panel was not drawn"
        time.sleep(0.05)
    run_of(display)
    assert output.getvalue().count("\x1b[?25l") == output.getvalue().count("\x1b[?25h"), "the cursor stays hidden"
    assert "+25.0" in output.getvalue(), "the final table is missing"


def test_closing_before_anything_was_shown_is_harmless() -> None:
    Display.create(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})).close()


def test_only_metrics_that_exist_are_shown() -> None:
    assert shown({"train/loss": 1.0}) == {"loss": "1.000"}
    assert shown({}) == {}


def test_the_table_marks_what_was_not_measured_and_puts_the_mean_last() -> None:
    output = io.StringIO()
    console = Console(file=output, width=100)
    console.print(reward_table({"mean": {"a": 0.5, "b": 0.6}, "forward": {"a": 0.1}, "retro": {"a": 0.4, "b": 0.2}}))
    lines = [line.split() for line in output.getvalue().splitlines() if line.strip()]
    assert lines[-1] == ["mean", "50.0", "60.0", "+10.0"]
    assert ["forward", "10.0", "–", "–"] in lines
    assert ["retro", "40.0", "20.0", "-20.0"] in lines
