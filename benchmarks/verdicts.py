"""Does what `distill` says without recordings follow what recordings say? Over students of any number of teachers.

    python benchmarks/verdicts.py digits/teacher.pt fsdd --test theo --students a.pt b.pt --out verdicts.json
    python benchmarks/verdicts.py esc10/teacher.pt esc10 --test 5 --students c.pt --out verdicts.json    # adds to them

Each student's verdict is in its file; how often it decides as its teacher is measured on the test recordings. Rows are
kept in --out, the same file again replaces its row. Prints them all, and for each figure of the verdict the rank
correlation with that agreement.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from frami_edge import checkpoints
from frami_edge.datasets import open_dataset
from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.evaluation import evaluate, torch_model
from frami_edge.files import write_atomically
from frami_edge.statistics import spearman
from frami_edge.teacher.opening import open_teacher

FIGURES = ("agreement", "divergence", "teacher_confidence", "bn_gap", "diversity", "richness", "chunk_spread")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("folder", type=Path, help="labelled recordings")
    parser.add_argument("--test", nargs="+", required=True, help="groups that the teacher has not seen")
    parser.add_argument("--students", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("verdicts.json"))
    parser.add_argument("--arch", help="code that builds the teacher: model.py:build")
    parser.add_argument("--trust", action="store_true", help="run the code that the teacher's card names")
    given = parser.parse_args(words)
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    try:
        opened = open_teacher(given.teacher, arch=given.arch, trust=given.trust)
        clips = open_dataset(given.folder).with_labels(opened.card.labels).split(*given.test)[1].clips
        taught = evaluate(torch_model(opened.teacher.cpu(), opened.card), clips)
        for path in given.students:
            student = checkpoints.load(path)
            if student.provenance.get("teacher_sha256") != opened.sha256:
                raise FramiError(f"{path} is not a student of {given.teacher}.")
            ours = evaluate(torch_model(student.network, student.card), clips)
            alike = ours.agreements(taught.predicted)
            kept[str(path)] = {"teacher": given.teacher.parent.name, "n": ours.n, "accuracy": ours.accuracy,
                               "real": alike / ours.n, "verdict": student.provenance["verdict"]}
            write_atomically(given.out, lambda aside: aside.write_text(json.dumps(kept, indent=2), encoding="utf-8"))
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(kept))
    return EXIT_OK


def table(kept: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row for each student, then the rank correlations."""
    lines = [f"| student | teacher | n | agreement, recordings | {' | '.join(FIGURES)} |",
             "|---" * (4 + len(FIGURES)) + "|"]
    for name, row in sorted(kept.items(), key=lambda item: -item[1]["real"]):
        said = (row["verdict"].get(figure) for figure in FIGURES)
        figures = " | ".join("" if value is None else f"{value:.3f}" for value in said)
        lines.append(f"| {Path(name).name} | {row['teacher']} | {row['n']} | {row['real']:.1%} | {figures} |")
    for figure in FIGURES:
        rows = [row for row in kept.values() if row["verdict"].get(figure) is not None]
        if len(rows) < 2:
            continue
        rho = spearman([row["verdict"][figure] for row in rows], [row["real"] for row in rows])
        if not math.isnan(rho):
            lines.append(f"\n{figure}: {rho:+.2f} over {len(rows)} students")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
