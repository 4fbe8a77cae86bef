"""benchmarks/overview.py: one line for each rival and setting, of cells that are made up."""

from dataclasses import replace
from pathlib import Path

import overview
import pytest
from made_up import TEACHER, cell

from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.reproduce.results import Result


def keep(out: Path, setting: str, *results: Result) -> None:
    for result in (replace(TEACHER, model_sha256="t"), *results):
        folder = out / setting / "ann" / "digits" / f"{result.arm}-{result.seed}"
        folder.mkdir(parents=True)
        result.write(folder)


def test_a_line_for_each_rival_and_setting_over_the_seeds_that_both_have(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, "digits-demo-6m", cell("frami", 40), cell("frami", 36, 1), cell("frami", 0, 2), cell("cmi", 20),
         cell("cmi", 24, 1), cell("noise", 10, 3))
    keep(tmp_path, "esc10-6m", cell("frami", 30), cell("cmi", 30), cell("noise", 38))
    keep(tmp_path, "another", cell("frami", 0), cell("cmi", 40))
    assert overview.main([str(tmp_path)]) == EXIT_OK
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[1][:7]) for row in rows[2:]] == [("noise", "[ESC-10"), ("CMI", "[digits"), ("", "[ESC-10")]
    noise, cmi, level = rows[2:]  # each wrong answer has a KL of .4621
    assert cmi[2:5] == ["2", "40", "0.0231, 0.2080"] and cmi[6] == cmi[8] == "+40.0"
    assert float(cmi[5].split(";")[0]) < 0.01 and cmi[5].endswith("; 1")  # over clips, and over the one class
    assert noise[2:5] == ["1", "40", "0.1155, 0.0231"] and noise[6] == "-20.0" and float(noise[9].split(";")[0]) < 0.05
    assert level[4] == "0.1155, 0.1155" and level[5:] == ["1; 1", "+0.0", "1; 1", "+0.0", "1; 1"]


def test_of_another_arm_and_of_nothing(tmp_path: Path) -> None:
    keep(tmp_path, "digits-vendor", cell("frami", 40), cell("cmi", 20))
    header, _, line = overview.table(tmp_path, "cmi").splitlines()
    assert header.startswith("| CMI against |")
    assert line.startswith("| FRAMI | [digits, equal samples") and "| -50.0 |" in line
    with pytest.raises(FramiError, match="has none of digits-demo-6m"):
        overview.table(tmp_path / "nothing", "frami")
