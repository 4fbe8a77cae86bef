"""How long a cell will take on this machine: from cells that are done, else from a few steps of the real thing."""

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from frami_edge import networks
from frami_edge.card import TeacherCard
from frami_edge.compute import Compute
from frami_edge.distillation.data_free import DataFreeDistillation, Progress
from frami_edge.distillation.verdict import FRESH_BATCHES
from frami_edge.recipe import Recipe
from frami_edge.recordings import Recordings
from frami_edge.reproduce.results import Result
from frami_edge.reproduce.running import Column
from frami_edge.reproduce.tasks import Task
from frami_edge.runs import RunDirectory
from frami_edge.teacher.taps import Teacher
from frami_edge.training import LEAST_EPOCHS, LEAST_STEPS, Settings, Training, default_card

TIMED_BATCH = 64  # samples; a larger batch takes longer in proportion, and the estimate should not need its memory
SYNTHESIS_STEPS = 2  # of which the first, which also allocates, does not count
TRAINING_STEPS = 3


def from_results(task: Task, budget: str, done: Sequence[Result]) -> float | None:
    """Mean seconds of the same cell with other seeds."""
    wanted = task.recipe, task.values, budget if task.data_free else ""
    seconds = [result.seconds for result in done if (result.recipe, result.values, result.budget) == wanted]
    return sum(seconds) / len(seconds) if seconds else None


def measured(task: Task, column: Column, compute: Compute, budget: float = 0.0) -> float:
    """Seconds that ``task`` will take, from a few steps of it on noise.

    Args:
        budget: seconds that a data-free cell has for its samples; 0 where the recipe says how many there are.
    """
    random = torch.get_rng_state()
    try:
        teacher = _teacher(task, column)
        if task.data_free:
            return _distilling(task, teacher, compute, budget)
        clips = len(column.data.split(*task.cell.test)[0].clips)
        return _training(task, teacher, clips, compute)
    finally:
        torch.set_rng_state(random)
        if column.opened:
            column.opened.teacher.cpu()
        if compute.device.type == "cuda":
            torch.cuda.empty_cache()  # the cells run in processes of their own, and need it


def _teacher(task: Task, column: Column) -> Teacher:
    """The column's teacher; one with random weights, which takes the same time, before it has any."""
    if column.opened:
        return column.opened.teacher
    card = default_card(column.data)
    return Teacher(networks.build(task.cell.teacher, card.classes, card.frontend.rows), card)


def _distilling(task: Task, teacher: Teacher, compute: Compute, budget: float) -> float:
    recipe = Recipe.model_validate(task.values)
    inversion, settings = recipe.inversion, recipe.distillation
    lessons = 2 * settings.replay + 1  # steps of the student: two passes through the teacher count
    short = {phase: getattr(settings, phase).model_copy(update={"steps": min(lessons, getattr(settings, phase).steps)})
             for phase in ("alternate", "finish")}
    synthesized, taught = (min(TIMED_BATCH, part.batch_size) for part in (inversion, settings))
    shortened = Recipe(
        inversion=inversion.model_copy(update={"batches": 1, "minutes": 0.0, "warmup_batches": 0,
                                               "steps": SYNTHESIS_STEPS, "first_steps": SYNTHESIS_STEPS,
                                               "refine_steps": min(SYNTHESIS_STEPS, inversion.refine_steps),
                                               "batch_size": synthesized}),
        distillation=settings.model_copy(update=short | {"batch_size": taught}))
    times = _timed(shortened, task, teacher, compute)
    step = per_step(times["synthesis"]) * inversion.batch_size / synthesized
    lesson, last = (per_step(times[phase]) * settings.batch_size / taught for phase in ("alternation", "finish"))
    alternations = max(0, inversion.batches - inversion.warmup_batches) * settings.alternate.steps
    allowed = budget or 60 * inversion.minutes
    samples = allowed or inversion.planned_steps(inversion.batches) * step + alternations * lesson
    fresh = FRESH_BATCHES * inversion.steps_of(inversion.batches) * step
    fresh = min(fresh, allowed / 2) if allowed else fresh
    return samples + settings.finish.steps * last + fresh


def _timed(recipe: Recipe, task: Task, teacher: Teacher, compute: Compute) -> dict[str, list[float]]:
    """Seconds of each step of a distillation, by phase."""
    times: dict[str, list[float]] = {"synthesis": [], "alternation": [], "finish": []}
    with tempfile.TemporaryDirectory() as folder:
        work = DataFreeDistillation(teacher, "timing", task.cell.network, recipe, compute,
                                    RunDirectory(Path(folder)), task.seed)
        last = time.monotonic()

        def report(progress: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            times[progress.phase].append(now - last)
            last = now

        work.run(report)
    return times


def _training(task: Task, teacher: Teacher, clips: int, compute: Compute) -> float:
    settings = Settings(**task.values["training"], seed=task.seed)
    batch = min(settings.batch_size, clips)
    network = networks.build(task.cell.network, teacher.card.classes, teacher.card.frontend.rows)
    training = Training(network, _noise(TRAINING_STEPS * batch, teacher.card), teacher.card,
                        Settings(**task.values["training"] | {"epochs": 1, "batch_size": batch}, seed=task.seed),
                        compute, teacher if task.cell.kind == "kd" else None)
    times, last = [], time.monotonic()

    def report(progress: object) -> None:
        nonlocal last
        times.append(time.monotonic() - last)
        last = time.monotonic()

    training.run(report)
    return per_step(times) * training_steps(clips, settings)


def per_step(seconds: Sequence[float]) -> float:
    """Mean without the first step, which also allocates and sets up."""
    counted = seconds[1:] or seconds
    return math.fsum(counted) / len(counted) if counted else 0.0


def training_steps(clips: int, settings: Settings) -> int:
    """Steps of a training on so many clips, as :class:`frami_edge.training.Training` takes them."""
    per_epoch = max(1, clips // min(settings.batch_size, clips))
    return per_epoch * (settings.epochs or max(LEAST_EPOCHS, math.ceil(LEAST_STEPS / per_epoch)))


def _noise(clips: int, card: TeacherCard) -> Recordings:
    """Recordings that take as long as real ones."""
    frames = card.frames
    starts = torch.arange(clips) * frames
    return Recordings(torch.randn(clips * frames, card.frontend.n_mels), starts, torch.full((clips,), frames),
                      torch.arange(clips) % card.classes)
