"""benchmarks/finishes.py: the variance it splits, what its table says, and the whole on a cell of noise."""

import math
from dataclasses import replace
from pathlib import Path

import finishes
import held_out
import made_up
import numpy as np
import pytest
import small
from made_up import TEACHER, cell
from typer.testing import CliRunner

from frami_edge.cli.main import app
from frami_edge.errors import FramiError
from frami_edge.reproduce import results, running


def test_variance_is_split_into_that_of_finishes_and_that_of_samples() -> None:
    rng = np.random.default_rng(0)
    banks = [rng.normal(5, 0.3) + rng.normal(0, 0.7, size) for size in rng.integers(2, 5, 4000)]
    within, between = finishes.components(banks)
    assert within == pytest.approx(0.7, rel=0.03) and between == pytest.approx(0.3, rel=0.1)
    assert finishes.components([np.array([1.0, 3.0]), np.array([1.0, 3.0])]) == (pytest.approx(math.sqrt(2)), 0.0)


def test_what_one_value_cannot_tell() -> None:
    for of in ([1.0],), ([1.0], [2.0]):
        assert all(map(math.isnan, finishes.components([np.array(each) for each in of])))
    within, between = finishes.components([np.array([1.0, 2.0])])
    assert within > 0 and math.isnan(between)


def test_the_table() -> None:
    banks = [finishes.Bank("noise", 0, (cell("noise", 20), cell("noise", 24))),
             finishes.Bank("frami", 0, (cell("frami", 40), cell("frami", 32), cell("frami", 36))),
             finishes.Bank("frami", 1, (cell("frami", 40), cell("frami", 40))),
             finishes.Bank("frami+no-reuse", 1, (cell("frami", 30),))]
    lines = finishes.table(TEACHER, banks, "frami").splitlines()
    assert "| noise | 1 | 2 | 55.0 | 55.0 | 7.1 |  |" in lines  # 50 and 60 %
    assert "| FRAMI | 2 | 3, 2 | 90.0, 100.0 | 95.0 | 8.2 | 4.7 |" in lines  # 100, 80, 90 and 100, 100 %
    assert "| FRAMI, finished with no-reuse | 1 | 1 | 75.0 | 75.0 |  |  |" in lines
    assert "| all | 4 | | | | 7.9 | |" in lines
    accuracy = next(line for line in lines if line.startswith("| noise | +"))
    assert accuracy.startswith("| noise | +35.0 | ") and accuracy.endswith(" | +35.0 |")  # seed 0 of both
    assert any(line.startswith("| FRAMI, finished with no-reuse | +25.0 | ") for line in lines)


def test_samples_are_finished_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    fsdd, out = str(made_up.digits(tmp_path)), tmp_path / "out"
    made: list[list[str]] = []

    def call(words: list[str], output: Path) -> int:
        made.append(words)
        return CliRunner().invoke(app, words).exit_code

    monkeypatch.setattr(running, "run_command", call)
    assert held_out.main([fsdd, "--out", str(out), "--groups", "ann", "--arms", "noise", "--network", "wrn16",
                          "--epochs", "1", *small.OPTIONS]) == 0, capsys.readouterr().err
    made.clear()
    words = [fsdd, "--out", str(out / "ann"), "--seeds", "7"]
    assert finishes.main(words) == 0, capsys.readouterr().err
    assert [each[0] for each in made] == ["distill"] and "--bank" in made[0]
    folder = next((out / "ann").glob("*/*noise*"))
    first, again = results.read(folder), results.read(folder / "finish-7")
    assert first and again and again.clips == first.clips and again.logits != first.logits
    assert replace(again, predicted=first.predicted, logits=first.logits, model_sha256=first.model_sha256,
                   agreement=first.agreement, verdict=first.verdict, seconds=first.seconds) == first
    assert "| noise | 1 | 2 |" in capsys.readouterr().out
    made.clear()
    assert finishes.main(words) == 0 and not made  # it is there
    assert held_out.main(["--out", str(out)]) == 0
    assert "| noise | 1 | 1 |" in capsys.readouterr().out  # other finishes are no cells
    assert finishes.main([*words, "--trust", "--label", "hot", "--set", "distillation.finish.temperature=9"]) == 0
    assert "--trust" in made[-1]
    assert "temperature = 9" in (folder / "finish-hot-7" / "student.run" / "recipe.toml").read_text()
    assert results.read(folder / "finish-hot-7").values["distillation"]["finish"]["temperature"] == 9
    assert "| noise, finished with hot | 1 | 1 |" in capsys.readouterr().out
    replace(first, clips=[f"moved/{name}" for name in first.clips]).write(folder)
    assert finishes.main([*words[:-1], "8"]) == 3
    assert "has other clips" in capsys.readouterr().err


def test_without_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finishes.main(["--out", str(tmp_path)]) == 3
    assert "No teacher's cell" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        finishes.main(["--out", str(tmp_path), "--set", "distillation.finish.steps=9"])
    assert "go together" in capsys.readouterr().err


def test_two_teachers_are_told_apart() -> None:
    cells = Path(__file__).parents[2] / "docs" / "cells" / "digits-held-out"
    with pytest.raises(FramiError, match="are of 2 teachers"):
        finishes.read([cells / "jackson", cells / "george"])
    with pytest.raises(FramiError, match="another cell of"):
        finishes.read([cells / "jackson", cells / "jackson"])


def test_a_row_with_recordings_is_compared_with() -> None:
    teacher, banks = finishes.read([Path(__file__).parents[2] / "docs" / "cells" / "digits-vendor" / "theo"])
    rows = [line for line in finishes.table(teacher, banks, "frami+muon").splitlines()
            if line.startswith("| student, KD with the recordings |")]
    assert len(rows) == 2 * len(finishes.FIGURES)  # its figures, and the differences
    assert rows[0].endswith("| 95.0, 95.4, 95.2 | 95.2 |  |  |") and "-2.0, -2.2, -2.2" in rows[len(finishes.FIGURES)]
