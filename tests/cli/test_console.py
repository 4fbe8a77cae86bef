"""Progress where there is no terminal: lines of a log."""

import pytest

from frami_edge.cli import console


def test_a_log_tells_the_time_left_also_of_steps_that_take_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    bars, now = console.progress(), 0.0
    bars.get_time = lambda: now
    task = bars.add_task("student", total=10, losses="")
    for done in range(1, 4):
        now = 90.0 * done
        bars.update(task, completed=done, losses=f"kd {done}")
        console.log(bars, task)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "student 1/10: kd 1"  # nothing to estimate from yet
    assert lines[2] == "student 3/10, 0:10:30 left: kd 3"


def test_a_terminal_has_bars_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.err, "_force_terminal", True)
    bars = console.progress()
    task = bars.add_task("student", total=10, losses="")
    console.log(bars, task)
    assert capsys.readouterr().err == ""
