"""Does what `distill` says without recordings follow what recordings say? Over all students that docs/cells keeps.

    python benchmarks/verdicts_of_cells.py docs/cells

The first table has a row for each teacher with at least FEWEST students: the rank correlation (Spearman) of each figure
of the verdict with the student's closeness to its teacher, which is minus the KL on the test recordings. Of KL and
BatchNorm gap less is better, so they should be negative. Students of noise and of a consensus are left out there: the
ones heard other samples altogether, the others are not meant to imitate the teacher. The second table has, for what
`distill` says of the agreement, what it is on recordings. (verdicts.py: students of which no cell is kept.)
"""

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.reproduce.results import FILE, Result, read
from frami_edge.statistics import spearman

FEWEST = 15
FIGURES = {
    "agreement": "agreement", "divergence": "KL", "bn_gap": "BatchNorm gap", "teacher_confidence": "confidence",
    "diversity": "diversity", "richness": "temporal richness", "chunk_spread": "spread over chunks",
}
KINDS = {"frami": "FRAMI and its ablations", "rival": "other methods", "consensus": "FRAMI with a consensus",
         "noise": "noise"}
FROM = (0.98, 0.96, 0.9, 0.0)  # agreement on fresh samples: from here to the one before


class Student(NamedTuple):
    cell: Result
    teacher: Result

    @property
    def kind(self) -> str:
        """Of KINDS: which students can be compared."""
        if self.cell.values["distillation"]["finish"].get("consensus", 1) > 1:
            return "consensus"
        return "frami" if self.cell.arm.startswith("frami") else "noise" if self.cell.arm == "noise" else "rival"

    @property
    def agreement(self) -> float:
        """With the teacher, on the test recordings."""
        return float(self.cell.agreeing(self.teacher).mean())

    @property
    def divergence(self) -> float:
        """Mean KL(teacher || student) on the test recordings, in nats."""
        return float(self.cell.divergences(self.teacher).mean())


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, help="cell.json are looked for at any depth")
    given = parser.parse_args(words)
    try:
        students = students_below(given.cells)
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{ranks(students)}\n\n{agreements(students)}")
    return EXIT_OK


def students_below(cells: Path) -> list[Student]:
    """All with a verdict whose teacher's cell is there too, with the same clips.

    Raises:
        FramiError: there are none.
    """
    found = [result for path in sorted(cells.rglob(FILE)) if (result := read(path.parent))]
    teachers = {(cell.model_sha256, *cell.clips): cell for cell in found if cell.kind == "teacher"}
    students = [Student(cell, teachers[key]) for cell in found
                if cell.verdict and (key := (cell.teacher_sha256, *cell.clips)) in teachers]
    if not students:
        raise FramiError(f"{cells} has no student with a verdict, or none with its teacher's cell.")
    return students


def ranks(students: list[Student]) -> str:
    """Markdown: rank correlations within each teacher."""
    groups: dict[str, list[Student]] = {}
    for each in students:
        if each.kind in ("frami", "rival"):
            groups.setdefault(each.teacher.model_sha256, []).append(each)
    lines = [f"| teacher | students | agreement with it | {' | '.join(FIGURES.values())} |",
             "|---" * (3 + len(FIGURES)) + "|"]
    for group in sorted(groups.values(), key=len, reverse=True):
        if len(group) >= FEWEST:
            teacher = group[0].teacher
            shown = [f"{teacher.dataset}, {teacher.test[0]}: {teacher.given_teacher or teacher.teacher}",
                     str(len(group)), _range([each.agreement for each in group]),
                     *(_rank(group, figure) for figure in FIGURES)]
            lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def agreements(students: list[Student]) -> str:
    """Markdown: the agreement on recordings of the students of whom `distill` says so much."""
    spans = list(zip(FROM, (math.inf, *FROM[:-1]), strict=True))
    heads = [f"{100 * at:.0f} % and more" if to == math.inf else f"{100 * at:.0f} to {100 * to:.0f} %"
             for at, to in spans]
    lines = [f"| agreement on fresh samples | {' | '.join(heads)} |", "|---" * (1 + len(spans)) + "|"]
    for kind, name in KINDS.items():
        said = [(each.cell.verdict["agreement"], each.agreement) for each in students if each.kind == kind]
        inside = [[real for fresh, real in said if at <= fresh < to] for at, to in spans]
        shown = (f"{_range(found)} ({len(found)})" if found else "" for found in inside)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _rank(students: list[Student], figure: str) -> str:
    pairs = [(value, -each.divergence) for each in students
             if (value := each.cell.verdict.get(figure)) is not None]
    rho = spearman(*zip(*pairs, strict=True)) if len(pairs) >= FEWEST else math.nan
    return "" if math.isnan(rho) else f"{rho:+.2f}"


def _range(shares: list[float]) -> str:
    least, most = (f"{100 * share:.1f}" for share in (min(shares), max(shares)))
    return f"{least} %" if least == most else f"{least} to {most} %"


if __name__ == "__main__":
    sys.exit(main())
