"""Distillations of seconds, in the same process: a teacher with statistics of noise, and small runs of it."""

from pathlib import Path

import small
import torch

from frami_edge import networks, recipe
from frami_edge.card import Clip, TeacherCard
from frami_edge.compute import choose
from frami_edge.distillation.data_free import DataFreeDistillation
from frami_edge.recipe import Recipe
from frami_edge.runs import RunDirectory
from frami_edge.teacher.taps import Teacher

VALUES = (*small.VALUES, "inversion.batch_size=8", "inversion.first_steps=3", "inversion.refine_steps=0",
          "distillation.batch_size=8", "distillation.alternate.steps=3", "distillation.finish.steps=4",
          "distillation.finish.frame_reuse=0.1")


def quick(*more: str) -> Recipe:
    return recipe.load("quick", [*VALUES, *more])


def make_teacher(time_dependent: bool = True, seconds: float = 0.5) -> Teacher:
    """A WRN-16-1 with statistics of noise: not trained, but with everything the losses look at."""
    torch.manual_seed(0)
    net = networks.build("wrn16", 4)
    with torch.no_grad():
        for _ in range(5):
            net.train()(torch.randn(8, 40, 50) - 9)
    preparation = "center-pad" if time_dependent else "crop"
    return Teacher(net, TeacherCard(labels=("a", "b", "c", "d"), time_dependent=time_dependent,
                                    clip=Clip(seconds=seconds, preparation=preparation)))


def make_run(folder: Path, settings: Recipe, seed: int = 0, teacher: Teacher | None = None) -> DataFreeDistillation:
    return DataFreeDistillation(teacher or make_teacher(), "sha", "wrn16", settings, choose("cpu", "float32"),
                                RunDirectory(folder), seed)
