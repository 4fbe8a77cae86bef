"""The time of a distillation: what a budget ends, and what is planned for."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_runs import VALUES, make_run, quick

from frami_edge import recipe
from frami_edge.distillation import data_free, verdict
from frami_edge.distillation.data_free import taken_over
from frami_edge.errors import FramiError
from frami_edge.inversion import inverter
from frami_edge.processes import Alone


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by 0.03 s when it is looked at: a busy machine makes no fewer batches."""
    looks = itertools.count()
    looked_at = SimpleNamespace(monotonic=lambda: 0.03 * next(looks))
    for module in (data_free, inverter, verdict):
        monkeypatch.setattr(module, "time", looked_at)


@pytest.mark.usefixtures("clock")
def test_a_time_budget_ends_the_synthesis_and_counts_over_sessions(tmp_path: Path) -> None:
    """Batches are made as long as another one can be whole, also after an earlier session; then comes the finish."""
    work = make_run(tmp_path, quick("inversion.minutes=0.02", "inversion.batches=1"))
    work.run()
    assert 1 < work.batches < 20
    assert work.finish_steps == 4 and len(work.bank) == 8 * work.batches
    made = work.batches
    again = make_run(tmp_path, quick("inversion.minutes=0.02", "inversion.batches=1"))
    again.run()
    assert again.batches == made


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("method", ["adi", "cmi"])
def test_a_time_budget_ends_a_first_batch_that_takes_longer(method: str, tmp_path: Path) -> None:
    """Which for methods that optimise each batch anew may be hours; the verdict's fresh batches are as short."""
    endless = [f"inversion.{key}=1000000" for key in ("steps", "first_steps")]
    work = make_run(tmp_path, recipe.load(method, [*VALUES, *endless, "inversion.minutes=0.02"]))
    steps = []
    student = work.run(lambda progress: steps.append(progress.done) if progress.phase == "synthesis" else None)
    assert work.batches == 1 and len(work.bank) == 8
    assert len(steps) == pytest.approx(1.2 / 0.03, abs=2) and work.seconds["synthesis"] < 1.5  # a look at each step
    assert work.finish_steps == 4
    assert work.verdict(student).samples == 16


@pytest.mark.usefixtures("clock")
def test_samples_of_a_time_budget_are_known_to_be_complete(tmp_path: Path) -> None:
    """Also where no finish follows: another student may start from them."""
    settings = quick("inversion.minutes=0.02", "distillation.finish.steps=0", "inversion.warmup_batches=0")
    work = make_run(tmp_path, settings)
    work.run()
    state = work.run_directory.load()
    assert state is not None and taken_over(state, settings.inversion)["batches"] == work.batches > 1
    with pytest.raises(FramiError, match="not done with its samples"):
        taken_over(state | {"complete": False}, settings.inversion)


def test_time_that_was_over_before_the_first_lesson_is_told(tmp_path: Path) -> None:
    """As `paper` with a short budget: what it would save has learned nothing."""
    work = make_run(tmp_path, quick("distillation.finish.steps=0", "inversion.warmup_batches=500",
                                    "inversion.minutes=0.001"))
    with pytest.raises(FramiError, match="learns after 500 alone") as raised:
        work.run()
    assert "--budget" in raised.value.hint


class Two(Alone):
    size = 2


def test_the_first_batch_of_each_process_takes_longer(tmp_path: Path) -> None:
    work = make_run(tmp_path, quick("inversion.batches=6"))
    assert [work.planned_steps(batches) for batches in (0, 1, 2, 6)] == [0, 3, 5, 13]
    work.processes = Two()
    assert [work.planned_steps(batches) for batches in (0, 2, 4, 6)] == [0, 6, 10, 14]
    work.batches, work.seconds = 2, {"synthesis": 6.0, "distillation": 0.0}
    assert work._next_takes() == pytest.approx(4.0)  # two steps in each process, where three took six seconds
