"""benchmarks/held_out.py: what its table says of cells that are made up, and the whole on two small speakers."""

import shutil
from dataclasses import replace
from pathlib import Path

import held_out
import made_up
import pytest
import small
import torch
from made_up import TEACHER, cell
from typer.testing import CliRunner

from frami_edge.cli.main import app
from frami_edge.errors import FramiError
from frami_edge.reproduce import running


def group(name: str, **right: int) -> held_out.Group:
    return held_out.Group(name, TEACHER, {arm: {0: cell(arm, count)} for arm, count in right.items()})


def test_means_over_groups_and_differences_over_those_in_common() -> None:
    groups = [group("ann", frami=40, noise=20), group("bob", frami=36, noise=32), group("cid", frami=20)]
    lines = held_out.table(groups, "frami").splitlines()
    assert "| teachers | 3 | | 120 | 100.0 | | | 0.313 | |" in lines
    assert "| noise | 2 | 2 | 80 | 65.0 | 65.0 | 0.1617 | 0.663 | 1.0 |" in lines  # KL 0.4621 for each that is wrong
    assert "| FRAMI | 3 | 3 | 120 | 80.0 | 80.0 | 0.0924 | 0.513 | 1.0 |" in lines
    accuracy = next(line for line in lines if line.startswith("| noise | +"))
    assert accuracy.startswith("| noise | +30.0 | +") and accuracy.endswith("| +50.0, +10.0 | 0.5 |")
    divergence, loss = (line for line in lines if line.startswith("| noise | -"))
    assert "| -0.2311, -0.0462 |" in divergence and "| -0.500, -0.100 |" in loss


def test_groups_of_different_sizes_are_not_pooled() -> None:
    """The means count each group the same; +100 points on 40 clips and -100 on 4 would come to +82."""
    few = replace(TEACHER, clips=TEACHER.clips[:4], truth=TEACHER.truth[:4], predicted=TEACHER.predicted[:4],
                  logits=TEACHER.logits[:4])
    cells = {arm: {0: replace(cell(arm, 4), clips=few.clips, truth=few.truth, predicted=cell(arm, 4).predicted[:4],
                              logits=cell(arm, 4).logits[:4])} for arm in ("frami", "noise")}
    with pytest.raises(FramiError, match="Groups ann, bob have different numbers of clips"):
        held_out.table([group("ann", frami=40, noise=20), held_out.Group("bob", few, cells)], "frami")


def test_only_seeds_in_common_are_compared() -> None:
    seeds = {"frami": {0: cell("frami", 40), 1: cell("frami", 0, 1)}, "noise": {0: cell("noise", 30)}}
    table = held_out.table([held_out.Group("ann", TEACHER, seeds)], "frami")
    assert "| FRAMI | 1 | 2 | 40 | 50.0 |" in table and "| noise | +25.0 |" in table


def test_arms_without_a_seed_in_common_are_not_compared() -> None:
    seeds = {"frami": {1: cell("frami", 40, 1), 2: cell("frami", 30, 2)}, "noise": {0: cell("noise", 30)},
             "cmi": {0: cell("cmi", 30), 2: cell("cmi", 20, 2)}}
    table = held_out.table([held_out.Group("ann", TEACHER, seeds)], "frami")
    assert "| noise | +" not in table and "| CMI | +25.0 |" in table
    other = seeds | {"cmi": {1: cell("cmi", 0, 1)}}  # seed 1 there, seed 2 here: no seeds of both
    table = held_out.table([held_out.Group("ann", TEACHER, seeds), held_out.Group("bob", TEACHER, other)], "frami")
    line = next(line for line in table.splitlines() if line.startswith("| CMI | +"))
    assert line.endswith("|  | +25.0, +100.0 | 0.5 |")


@pytest.mark.parametrize("changed,message", [({"key": "other"}, "two cells of frami, seed 0"),
                                             ({"seed": 1, "teacher_sha256": "other"}, "made for another teacher"),
                                             ({"seed": 1, "clips": ["other.wav"] * made_up.N}, "on other clips")])
def test_cells_that_do_not_belong_together_are_refused(tmp_path: Path, changed: dict[str, object],
                                                       message: str) -> None:
    own = replace(cell("frami", 40), teacher_sha256=TEACHER.model_sha256)
    for name, each in (("t", TEACHER), ("a", own), ("b", replace(own, **changed))):  # type: ignore[arg-type]
        (tmp_path / "digits" / name).mkdir(parents=True)
        each.write(tmp_path / "digits" / name)
    with pytest.raises(FramiError, match=message):
        held_out.read(tmp_path)


def test_nothing_is_compared_where_there_is_one_arm() -> None:
    groups = [held_out.Group("ann", TEACHER, {"frami": {0: cell("frami", 40)}})]
    assert "minus" not in held_out.table(groups, "frami") and "| FRAMI | 1 | 1 |" in held_out.table(groups, "frami")


def test_seeds_are_resampled_where_there_are_several() -> None:
    """A gain that one seed has and another has not is no finding, however many clips there are."""
    two = {"frami": {seed: cell("frami", right, seed) for seed, right in enumerate((40, 28))},
           "noise": {seed: cell("noise", 28, seed) for seed in range(2)}}
    line = next(line for line in held_out.table([held_out.Group("ann", TEACHER, two)], "frami").splitlines()
                if line.startswith("| noise | +15.0"))
    assert "+0.0 to +" in line and float(line.split("|")[4]) > 0.3 and line.endswith("| +30.0, +0.0 | +15.0 | 1 |")
    one = {arm: {0: seeds[0]} for arm, seeds in two.items()}
    both = [held_out.Group("ann", TEACHER, two), held_out.Group("bob", TEACHER, one)]
    assert "|  | +15.0, +30.0 | 0.5 |" in held_out.table(both, "frami")  # no seeds in common: over clips alone


def test_teachers_and_cells_of_each_speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    recordings = made_up.digits(tmp_path)
    made: list[str] = []

    def call(words: list[str], output: Path) -> int:
        made.append(words[0])
        return CliRunner().invoke(app, words).exit_code

    monkeypatch.setattr(running, "run_command", call)
    words = [str(recordings), "--out", str(tmp_path / "out"), "--arms", "noise,frami",
             "--network", "wrn16", "--epochs", "1", *small.OPTIONS]
    assert held_out.main(words) == 0, capsys.readouterr().err
    assert made == ["train", "reproduce", "distill", "distill"] * 2
    printed = capsys.readouterr().out
    assert "| FRAMI | 2 | 2 | 20 |" in printed and (tmp_path / "out" / "table.md").read_text() in printed
    card = (tmp_path / "out" / "ann" / "card.toml").read_text()
    assert "n_mels = 32" in card and "sample_rate = 8000" in card and 'kind = "global"' in card

    made.clear()
    assert held_out.main(words) == 0 and made == ["reproduce", "reproduce"]  # each finds all of its cells
    teacher = tmp_path / "out" / "ann" / "teacher.pt"
    content = torch.load(teacher, weights_only=True)
    content["provenance"]["interrupted"] = True  # as Ctrl-C leaves it after a whole epoch
    torch.save(content, teacher)
    made.clear()
    shutil.rmtree(tmp_path / "out" / "ann" / "digits")
    assert held_out.main(words) == 0 and made[:2] == ["train", "reproduce"] and made.count("train") == 1
    made.clear()
    assert held_out.main(["--out", str(tmp_path / "out")]) == 0 and not made
    capsys.readouterr()
    assert held_out.main(["--out", str(tmp_path / "out"), "--groups", "bob"]) == 0 and not made
    assert "| FRAMI | 1 | 1 | 10 |" in capsys.readouterr().out
    assert "| FRAMI | 2 | 2 | 20 |" in (tmp_path / "out" / "table.md").read_text()  # that of all groups stays
    assert held_out.main([*words, "--network", "dscnn_s"]) != 0
    assert "is a wrn16 trained for 1 epochs, not a dscnn_s for 1" in capsys.readouterr().err


def test_errors_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert held_out.main(["--out", str(tmp_path / "nothing")]) != 0
    assert "has no cells yet" in capsys.readouterr().err
