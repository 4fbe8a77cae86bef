"""The table as Markdown, JSON and a picture."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frami_edge import __version__
from frami_edge.files import write_atomically
from frami_edge.layouts import LAYOUTS
from frami_edge.reproduce import chart
from frami_edge.reproduce.results import Result
from frami_edge.reproduce.table import Comparison, Row, comparisons, correlations, rows
from frami_edge.reproduce.tasks import ARMS
from frami_edge.statistics import RESAMPLES, Difference

SCHEMA = 2  # 2: samples of each seed


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


def markdown(table: str, rows: Sequence[Row], compared: Sequence[Comparison], results: Sequence[Result]) -> str:
    """The table, and below each column what the differences are worth."""
    lines = [f"# {table}", "", _how(results), ""]
    for column in dict.fromkeys(row.column for row in rows):
        inside = [row for row in rows if row.column == column]
        lines += [f"## {_title(inside, results)}", "",
                  "| | accuracy | sd | seeds | n | agreement with the teacher | KL | samples | minutes | paper |",
                  "|---|---|---|---|---|---|---|---|---|---|"]
        lines += [_line(row) for row in inside]
        here = [each for each in compared if (each.group, each.teacher) == column]
        if here:
            lines += ["", f"| {ARMS.get(here[0].arm, here[0].arm)} minus | points of accuracy | 95 % interval | p | "
                      "p, classes | points of agreement with the teacher | 95 % interval | p | p, classes | KL, nats "
                      "| 95 % interval | p | p, classes | seeds |", f"|{'---|' * 14}"]
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
    efforts = {_effort(result) for result in results if result.kind == "data-free"}
    effort = f"equal time, {' and '.join(budgets)} for each data-free cell" if budgets \
        else "equal samples and steps of the student" if len(efforts) < 2 \
        else "samples and steps by the recipe of each row"
    return (f"frami-edge {__version__}; {'; '.join(computed) or 'no cell was trained'}; {effort}. Accuracy in % of "
            f"the last step, never of the best one, on n test clips; sd over the seeds. Intervals and p: paired "
            f"bootstrap over clips and seeds, {RESAMPLES} resamples, two-sided, not corrected for the number of "
            f"comparisons; p, classes: over the signs of the difference in each class, for clips of a class that are "
            f"alike. KL: mean KL(teacher || student) on the test clips in nats, the smaller the closer.")


def _effort(result: Result) -> tuple[Any, ...]:
    """What makes cells without a budget equal: the samples, and what the student is shown of them."""
    settings = result.values["distillation"]
    return (result.samples, result.values["inversion"]["minutes"], settings["batch_size"],
            *(settings[phase]["steps"] for phase in ("alternate", "finish")))


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
            f"{_range(row.samples)} | {row.minutes:.1f} | {paper} |")


def _range(numbers: Sequence[int]) -> str:
    """``768 to 2176``: with a time budget every seed has a number of its own."""
    ends = sorted({min(numbers), max(numbers)}) if numbers else []
    return " to ".join(map(str, ends))


def _comparison_line(each: Comparison) -> str:
    columns = " | ".join([_difference(each.difference), _difference(each.agreement),
                          _difference(each.divergence, 1, 3)])
    return f"| {ARMS.get(each.minus, each.minus)} | {columns} | {each.difference.seeds} |"


def _difference(found: Difference | None, scale: float = 100, digits: int = 1) -> str:
    """Four columns of the table."""
    if found is None:
        return " |  |  | "
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} | {low} to {high} | {found.p:.2g} | {found.p_units:.2g}"


def _signed(rho: float) -> str:
    return "" if math.isnan(rho) else f"{rho:+.2f}"


def as_dict(table: str, rows: Sequence[Row], compared: Sequence[Comparison]) -> dict[str, Any]:
    return {"schema": SCHEMA, "table": table, "version": __version__, "rows": [asdict(row) for row in rows],
            "comparisons": [asdict(each) | {"difference": each.difference._asdict(),
                                            "agreement": each.agreement and each.agreement._asdict(),
                                            "divergence": each.divergence and each.divergence._asdict()}
                            for each in compared]}
