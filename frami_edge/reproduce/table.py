"""The table that comes of the results: rows beside the paper's numbers, and what differences between arms are worth."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from frami_edge import __version__, recipe
from frami_edge.datasets import LAYOUTS
from frami_edge.errors import FramiError
from frami_edge.files import write_atomically
from frami_edge.reproduce import chart
from frami_edge.reproduce.results import Result
from frami_edge.reproduce.tasks import ARMS, place
from frami_edge.statistics import RESAMPLES, Difference, mean_sd, paired_bootstrap, spearman

SCHEMA = 1
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
    samples: int | None
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
            found.append(Comparison(group, ours[0].student, arm, other, difference))
            continue
        if taught[0].clips != ours[0].clips:
            raise FramiError(f"{taught[0].recipe} and {ours[0].recipe} were tested on different clips.")
        closer = (compare(ours, theirs, figure, resamples)
                  for figure in (partial(Result.agreeing, teacher=taught[0]),
                                 partial(Result.divergences, teacher=taught[0])))
        found.append(Comparison(group, ours[0].student, arm, other, difference, *closer))
    return found


def compare(ours: Sequence[Result], theirs: Sequence[Result], figures: Callable[[Result], Array],
            resamples: int = RESAMPLES) -> Difference:
    """The paired bootstrap of two arms; a teacher, which has one seed, is compared with every seed of the other.

    Args:
        figures: what is compared: a number for each clip of a result, such as ``Result.right``.

    Raises:
        FramiError: they were made on other clips, or have no seed in common.
    """
    if any(result.clips != ours[0].clips for result in [*ours, *theirs]):
        raise FramiError(f"{ours[0].recipe} and {theirs[0].recipe} were tested on different clips.")
    ours_by_seed, theirs_by_seed = ({result.seed: figures(result) for result in arm} for arm in (ours, theirs))
    if any(results[0].kind == "teacher" for results in (ours, theirs)):
        return paired_bootstrap(np.stack(list(ours_by_seed.values())), np.stack(list(theirs_by_seed.values())),
                                resamples)
    common = sorted(set(ours_by_seed) & set(theirs_by_seed))
    if not common:
        raise FramiError(f"{ours[0].recipe} and {theirs[0].recipe} have no seed in common.")
    return paired_bootstrap(np.stack([ours_by_seed[seed] for seed in common]),
                            np.stack([theirs_by_seed[seed] for seed in common]), resamples)


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
               mean_sd(divergences)[0] if divergences else None, first.samples,
               sum(result.seconds for result in found) / len(found) / 60, paper)


def markdown(table: str, rows: Sequence[Row], compared: Sequence[Comparison], results: Sequence[Result]) -> str:
    """The table, and below each column what the differences are worth."""
    lines = [f"# {table}", "", _how(results), ""]
    for column in dict.fromkeys(row.column for row in rows):
        inside = [row for row in rows if row.column == column]
        lines += [f"## {_title(inside, results)}", "",
                  "| | accuracy | sd | seeds | n | agreement with the teacher | KL | samples | minutes | paper |",
                  "|---|---|---|---|---|---|---|---|---|---|"]
        lines += [_line(row) for row in inside]
        here = [each for each in compared
                if each.group == column[0] and each.student in {row.student for row in inside}]
        if here:
            lines += ["", f"| {ARMS.get(here[0].arm, here[0].arm)} minus | points of accuracy | 95 % interval | p "
                      "| points of agreement with the teacher | 95 % interval | p | KL, nats | 95 % interval | p "
                      "| seeds |", "|---|---|---|---|---|---|---|---|---|---|---|"]
            lines += [_comparison_line(each) for each in here]
        told = correlations(result for result in results if (result.group, result.teacher) == column)
        if told:
            lines += ["", "| verdict without data | rank correlation with the accuracy | with the agreement | runs |",
                      "|---|---|---|---|"]
            lines += [f"| {name.replace('_', ' ')} | {_signed(accuracy)} | {_signed(agreement)} | {n} |"
                      for name, (accuracy, agreement, n) in told.items()]
        lines.append("")
    lines += [f"![accuracies]({table}.svg)", ""]
    return "\n".join(lines)


def _how(results: Sequence[Result]) -> str:
    computed = sorted({result.compute for result in results if result.compute})
    budgets = sorted({result.budget for result in results if result.budget})
    effort = f"equal time, {' and '.join(budgets)} for each data-free cell" if budgets \
        else "equal samples and steps of the student"
    return (f"frami-edge {__version__}; {'; '.join(computed) or 'no cell was trained'}; {effort}. Accuracy in % of "
            f"the last step, never of the best one, on n test clips; sd over the seeds. Intervals and p: paired "
            f"bootstrap over clips and seeds, {RESAMPLES} resamples, two-sided, not corrected for the number of "
            f"comparisons. KL: mean KL(teacher || student) on the test clips in nats, the smaller the closer.")


def _title(inside: Sequence[Row], results: Sequence[Result]) -> str:
    result = next(result for result in results if (result.group, result.teacher) == inside[0].column)
    students = " and ".join(sorted({row.student for row in inside} - {""})) or "no student"
    name = LAYOUTS[result.dataset].title if result.dataset in LAYOUTS else result.dataset
    teacher = result.given_teacher or result.teacher
    return f"{name}, test {', '.join(result.test)}: {teacher} -> {students}"


def _line(row: Row) -> str:
    sd = "" if row.sd is None else f"{row.sd:.1f}"
    agreement = "" if row.agreement is None else f"{row.agreement:.1f}"
    divergence = "" if row.divergence is None else f"{row.divergence:.3f}"
    paper = "" if row.paper is None else f"{row.paper:g}"
    return (f"| {row.title} | {row.mean:.1f} | {sd} | {len(row.seeds)} | {row.n} | {agreement} | {divergence} | "
            f"{row.samples or ''} | {row.minutes:.1f} | {paper} |")


def _comparison_line(each: Comparison) -> str:
    columns = " | ".join([_difference(each.difference), _difference(each.agreement),
                          _difference(each.divergence, 1, 3)])
    return f"| {ARMS.get(each.minus, each.minus)} | {columns} | {each.difference.seeds} |"


def _difference(found: Difference | None, scale: float = 100, digits: int = 1) -> str:
    """Three columns of the table."""
    if found is None:
        return " |  | "
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} | {low} to {high} | {found.p:.2g}"


def _signed(rho: float) -> str:
    return "" if math.isnan(rho) else f"{rho:+.2f}"


def as_dict(table: str, rows: Sequence[Row], compared: Sequence[Comparison]) -> dict[str, Any]:
    return {"schema": SCHEMA, "table": table, "version": __version__, "rows": [asdict(row) for row in rows],
            "comparisons": [asdict(each) | {"difference": each.difference._asdict(),
                                            "agreement": each.agreement and each.agreement._asdict(),
                                            "divergence": each.divergence and each.divergence._asdict()}
                            for each in compared]}


def write(out: Path, table: str, results: Sequence[Result], against: str) -> list[Path]:
    """Write TABLE.md, TABLE.json and TABLE.svg to ``out``; returns their paths."""
    made, compared = rows(results), comparisons(results, against)
    entries = [chart.Bar(f"{row.group}: {row.title} ({row.student or row.teacher})", row.mean, row.sd, row.paper)
               for row in made]
    texts = {".md": markdown(table, made, compared, results),
             ".json": json.dumps(as_dict(table, made, compared), indent=2) + "\n",
             ".svg": chart.bars(table, entries)}
    paths = []
    for suffix, text in texts.items():
        path = out / f"{table}{suffix}"
        write_atomically(path, lambda aside, text=text: aside.write_text(text, encoding="utf-8"))  # type: ignore[misc]
        paths.append(path)
    return paths
