"""benchmarks/verdicts_of_cells.py: what a verdict without recordings is worth, of cells that are made up."""

from dataclasses import replace
from pathlib import Path

import pytest
import verdicts_of_cells
from made_up import TEACHER, cell

from frami_edge.errors import EXIT_CANNOT_RUN, EXIT_OK
from frami_edge.reproduce.results import Result

FINISH = {"distillation": {"finish": {"consensus": 1}}}


def student(arm: str, right: int, seed: int, **verdict: float) -> Result:
    return replace(cell(arm, right, seed), values=FINISH, verdict=verdict)


def keep(out: Path, *results: Result) -> None:
    for result in (replace(TEACHER, model_sha256="t"), *results):
        folder = out / "set" / "ann" / "digits" / f"{result.arm}-{result.seed}"
        folder.mkdir(parents=True)
        result.write(folder)


def test_ranks_within_a_teacher_and_what_the_agreement_promises(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promising = [student("frami", 20 + seed, seed, agreement=0.9 + seed / 200, divergence=0.1 - seed / 1000, bn_gap=1.0)
                 for seed in range(15)]  # the gap is the same everywhere: no rank
    consensus = replace(student("frami-consensus", 8, 0, agreement=0.99),
                        values={"distillation": {"finish": {"consensus": 4}}})
    keep(tmp_path, *promising, student("cmi", 0, 0, agreement=1.0, divergence=0.0), consensus,
         student("noise", 4, 0, agreement=0.97), replace(student("adi", 1, 0, agreement=1.0), teacher_sha256="another"))
    assert verdicts_of_cells.main([str(tmp_path)]) == EXIT_OK
    ranks, agreements = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert ranks[0].split(" | ")[3:6] == ["agreement", "KL", "BatchNorm gap"] and len(ranks) == 3
    teacher, n, real, agreement, divergence, gap, *rest = (part.strip() for part in ranks[2].split("|")[1:-1])
    assert (teacher, n, real, gap, rest) == ("fsdd, ann: wrn40", "16", "0.0 to 85.0 %", "", [""] * 4)
    # fifteen in order, and one that is said to be the best and is the worst: 1 - 6 (15 + 15 * 15) / (16 * 255)
    assert agreement == "+0.65" and divergence == "-0.65"
    assert agreements[2:] == ["| FRAMI and its ablations |  | 80.0 to 85.0 % (3) | 50.0 to 77.5 % (12) |  |",
                              "| other methods | 0.0 % (1) |  |  |  |",
                              "| FRAMI with a consensus | 20.0 % (1) |  |  |  |", "| noise |  | 10.0 % (1) |  |  |"]


def test_too_few_for_ranks_and_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdicts_of_cells.main([str(tmp_path)]) == EXIT_CANNOT_RUN
    assert "no student with a verdict" in capsys.readouterr().err
    keep(tmp_path, student("frami", 30, 0, agreement=0.99))
    assert len(verdicts_of_cells.ranks(verdicts_of_cells.students_below(tmp_path)).splitlines()) == 2
