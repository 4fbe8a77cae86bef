"""Estimates: durations, steps counted as the training counts them, and a few steps timed on the real networks."""

import itertools
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import made_up
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frami_edge import networks
from frami_edge.card import Clip as CardClip
from frami_edge.card import TeacherCard
from frami_edge.compute import choose as choose_compute
from frami_edge.datasets import Clip, Dataset
from frami_edge.durations import seconds_of
from frami_edge.errors import FramiError
from frami_edge.reproduce import timing
from frami_edge.reproduce.running import Column
from frami_edge.reproduce.tasks import Options, Task, choose
from frami_edge.teacher.opening import open_teacher
from frami_edge.training import Settings, Training

COMPUTE = choose_compute("cpu", "float32")


@given(st.integers(0, 9), st.integers(0, 99), st.integers(1, 99))
def test_durations(hours: int, minutes: int, seconds: int) -> None:
    assert seconds_of(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds
    assert seconds_of(f"{seconds}m") == 60 * seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-1m", "1m1h", "0s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(FramiError, match="is no duration"):
        seconds_of(text)


def test_the_first_step_is_left_out() -> None:
    assert timing.per_step([9.0, 1.0, 3.0]) == 2.0
    assert (timing.per_step([9.0]), timing.per_step([])) == (9.0, 0.0)


@pytest.mark.parametrize("clips,epochs,batch_size", [(30, 0, 12), (200, 7, 64), (5, 2, 64), (2500, 0, 64)])
def test_steps_are_those_of_the_training(clips: int, epochs: int, batch_size: int) -> None:
    card = TeacherCard(labels=("a", "b"), time_dependent=True, clip=CardClip(seconds=0.05))
    settings = Settings(epochs=epochs, batch_size=batch_size)
    training = Training(networks.build("wrn16", 2), timing._noise(clips, card), card, settings, COMPUTE)
    assert timing.training_steps(clips, settings) == training.steps


@pytest.fixture
def column(tmp_path: Path) -> Column:
    """The teacher of the demo, and the names of 60 clips; they are not read."""
    path = tmp_path / "teacher.pt"
    path.write_bytes(resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes())
    opened = open_teacher(path)
    clips = tuple(Clip(tmp_path / f"{digit}_{name}_{take}.wav", digit, name)
                  for digit in range(10) for name in ("theo", "ann") for take in range(3))
    return Column(Dataset("fsdd", opened.card.labels, clips, True, 1.0), tmp_path, path, opened)


TINY = ("inversion.batch_size=4", "inversion.ngf=4", "distillation.batch_size=4", "training.batch_size=4")
STEPS = ("inversion.batches=5", "inversion.warmup_batches=2", "inversion.first_steps=70", "inversion.steps=11",
         "inversion.refine_steps=4", "distillation.alternate.steps=30", "distillation.finish.steps=1000",
         "training.epochs=7")


def cells(column: Column, *overrides: str) -> dict[str, Task]:
    """The tasks frami and kd of wrn16."""
    options = Options(column.folder, column.folder, 1, ("frami", "kd"), ("wrn16",), (*TINY, *STEPS, *overrides))
    return {task.arm: task for task in choose("digits", options)}


def test_a_few_steps_give_the_time_of_all(column: Column, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which every step takes a second, the estimate is the number of steps, whatever else runs here."""
    looks = itertools.count()
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: float(next(looks))))
    before = torch.get_rng_state()
    samples, alternation, finish, fresh = 70 + 4 * 11 + 5 * 4, (5 - 2) * 30, 1000, 2 * (11 + 4)
    assert timing.measured(cells(column)["frami"], column, COMPUTE) == samples + alternation + finish + fresh
    assert torch.equal(torch.get_rng_state(), before)
    # a time budget is for the samples alone, and is not spent on the estimate
    budgeted = timing.measured(cells(column)["frami"], column, COMPUTE, 3600.0)
    by_recipe = timing.measured(cells(column, "inversion.minutes=60")["frami"], column, COMPUTE)
    assert budgeted == by_recipe == 3600 + finish + fresh
    short = timing.measured(cells(column, "inversion.minutes=0.1")["frami"], column, COMPUTE)
    assert short == 6 + finish + 6 / 2  # the verdict's fresh batches get half of it at most
    training = cells(column)["kd"]
    clips = len(column.data.split(*training.cell.test)[0].clips)
    assert timing.measured(training, column, COMPUTE) == 7 * (clips // 4)
    assert not list(column.folder.glob("*.run"))  # nothing is left of it


def test_the_clock_of_the_estimate_is_a_real_one(column: Column) -> None:
    assert 0 < timing.measured(cells(column)["kd"], column, COMPUTE) < 600


@pytest.mark.parametrize("arm", ["noise", "adi", "fastdfkd", "cmi", "frami-no-adversary", "frami-no-prepare",
                                 "frami-consensus", "frami-paper"])
def test_every_row_without_recordings_can_be_timed(column: Column, arm: str) -> None:
    """Also ADI's, which starts anew for each batch and whose recipe must say so."""
    options = Options(column.folder, column.folder, 1, (arm,), ("wrn16",), TINY[:3])
    (task,) = (task for task in choose("digits", options) if task.arm == arm)
    assert timing.measured(task, column, COMPUTE) > 0


def test_cells_that_are_done_say_how_long_others_take(column: Column) -> None:
    """A budget is that of the rows without recordings; the others have none, and are known all the same."""
    for task, own in (cells(column)["kd"], ""), (cells(column)["frami"], "10m"):
        done = replace(made_up.TEACHER, recipe=task.recipe, values=task.values, budget=own, seconds=99.0)
        assert timing.from_results(task, "10m", [done]) == 99.0
        assert timing.from_results(task, "10m", [replace(done, values={})]) is None
