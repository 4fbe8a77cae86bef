"""What comes of the results: rows beside the paper's numbers, and what differences between arms are worth."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from frami_edge import recipe
from frami_edge.errors import FramiError
from frami_edge.reproduce.results import Result
from frami_edge.reproduce.tasks import ARMS, place
from frami_edge.statistics import RESAMPLES, Difference, mean_sd, paired_bootstrap, spearman

Array = np.ndarray[Any, np.dtype[Any]]
LEAST_RUNS = 5  # below which a rank correlation says nothing


@dataclass(frozen=True)
class Row:
    """One arm of one column. Accuracies and agreement in per cent, divergence from the teacher in nats."""

    group: str
    teacher: str
    student: str
    arm: str
    recipe: str
    seeds: list[int]
    accuracies: list[float]
    mean: float
    sd: float | None
    n: int  # test clips
    agreement: float | None
    divergence: float | None
    samples: list[int]  # of each seed; none where recordings were learned
    minutes: float
    paper: float | None

    @property
    def column(self) -> tuple[str, str]:
        return self.group, self.teacher

    @property
    def title(self) -> str:
        return ARMS.get(self.arm, self.arm)


@dataclass(frozen=True)
class Comparison:
    """The arm minus the other one: in accuracy, and where the teacher's answers are known in how close it comes."""

    group: str
    teacher: str
    student: str
    arm: str
    minus: str
    difference: Difference
    agreement: Difference | None = None
    divergence: Difference | None = None


def rows(results: Iterable[Result]) -> list[Row]:
    """A row for each arm, in the order of :data:`ARMS` within each column."""
    arms = _by_arm(results)
    return [_row(found, arms.get((group, teacher, "teacher"))) for (group, teacher, _), found in arms.items()]


def comparisons(results: Iterable[Result], arm: str, resamples: int = RESAMPLES) -> list[Comparison]:
    """``arm`` against every other arm of its column, over the clips and the seeds that both have."""
    arms = _by_arm(results)
    found = []
    for (group, teacher, other), theirs in arms.items():
        ours = arms.get((group, teacher, arm))
        if not ours or other == arm or not _comparable(ours, theirs):
            continue
        taught = arms.get((group, teacher, "teacher"))
        difference = compare(ours, theirs, lambda result: result.right, resamples)
        if not taught or other == "teacher":
            found.append(Comparison(group, teacher, ours[0].student, arm, other, difference))
            continue
        if taught[0].clips != ours[0].clips:
            raise FramiError(f"{taught[0].recipe} and {ours[0].recipe} were tested on different clips.")
        closer = (compare(ours, theirs, figure, resamples)
                  for figure in (partial(Result.agreeing, teacher=taught[0]),
                                 partial(Result.divergences, teacher=taught[0])))
        found.append(Comparison(group, teacher, ours[0].student, arm, other, difference, *closer))
    return found


def compare(ours: Sequence[Result], theirs: Sequence[Result], figures: Callable[[Result], Array],
            resamples: int = RESAMPLES) -> Difference:
    """The paired bootstrap of two arms, and p over classes; a teacher, which has one seed, goes with all of the other.

    Args:
        figures: what is compared: a number for each clip of a result, such as ``Result.right``.

    Raises:
        FramiError: they were made on other clips, or have no seed in common.
    """
    if any(result.clips != ours[0].clips for result in [*ours, *theirs]):
        raise FramiError(f"{ours[0].recipe} and {theirs[0].recipe} were tested on different clips.")
    compared = partial(paired_bootstrap, resamples=resamples, units=ours[0].truth)
    ours_by_seed, theirs_by_seed = ({result.seed: figures(result) for result in arm} for arm in (ours, theirs))
    if any(results[0].kind == "teacher" for results in (ours, theirs)):
        return compared(np.stack(list(ours_by_seed.values())), np.stack(list(theirs_by_seed.values())))
    common = sorted(set(ours_by_seed) & set(theirs_by_seed))
    if not common:
        raise FramiError(f"{ours[0].recipe} and {theirs[0].recipe} have no seed in common.")
    return compared(np.stack([ours_by_seed[seed] for seed in common]),
                    np.stack([theirs_by_seed[seed] for seed in common]))


def correlations(results: Iterable[Result]) -> dict[str, tuple[float, float, int]]:
    """Each figure of the verdict without data: how it ranks the runs by accuracy, by agreement, and how many there are.

    Rank correlations over the data-free cells of one column, whatever their arm; none below :data:`LEAST_RUNS`.
    """
    judged = [result for result in results
              if result.kind == "data-free" and result.verdict and result.agreement is not None]
    names = [name for name in (judged[0].verdict if judged else {})
             if all(isinstance(result.verdict.get(name), float) for result in judged)]
    if len(judged) < LEAST_RUNS:
        return {}
    measured = [result.accuracy for result in judged], [result.agreement or 0.0 for result in judged]
    found = {}
    for name in names:
        figures = [result.verdict[name] for result in judged]
        accuracy, agreement = (spearman(figures, each) for each in measured)
        if not (math.isnan(accuracy) and math.isnan(agreement)):
            found[name] = accuracy, agreement, len(judged)
    return found


def _comparable(ours: Sequence[Result], theirs: Sequence[Result]) -> bool:
    """Whether they have a seed in common; a cell that failed has none. A teacher has but one, and goes with any."""
    teacher = ours[0].kind == "teacher" or theirs[0].kind == "teacher"
    return teacher or bool({result.seed for result in ours} & {result.seed for result in theirs})


def _by_arm(results: Iterable[Result]) -> dict[tuple[str, str, str], list[Result]]:
    """Results by group, teacher and arm, in the order of the table; each list in the order of the seeds."""
    arms: dict[tuple[str, str, str], list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.group, result.teacher, place(result.arm), result.seed)):
        arms.setdefault((result.group, result.teacher, result.arm), []).append(result)
    return arms


def _row(found: list[Result], taught: list[Result] | None) -> Row:
    first = found[0]
    accuracies = [100 * result.accuracy for result in found]
    mean, sd = mean_sd(accuracies)
    agreements = [100 * result.agreement for result in found if result.agreement is not None]
    divergences = [float(result.divergences(taught[0]).mean()) for result in found
                   if taught and first.kind != "teacher" and result.clips == taught[0].clips]
    cell = recipe.cell(first.recipe) if first.recipe in recipe.names() else None
    # the paper's number is for its own split
    paper = cell.paper if cell and list(cell.test) == first.test else None
    return Row(first.group, first.teacher, first.student, first.arm, first.recipe, [result.seed for result in found],
               accuracies, mean, sd, len(first.truth), mean_sd(agreements)[0] if agreements else None,
               mean_sd(divergences)[0] if divergences else None,
               [result.samples for result in found if result.samples is not None],
               sum(result.seconds for result in found) / len(found) / 60, paper)
