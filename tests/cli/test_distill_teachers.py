"""`frami-edge distill` with teachers that need a word from the user."""

from pathlib import Path

import pytest
import small
import torch
import zoo_networks
from typer.testing import CliRunner

from frami_edge.card import TeacherCard
from frami_edge.cli.main import app

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"



def distill(family: str, folder: Path, *options: str) -> tuple[int, str, str]:
    torch.manual_seed(0)
    torch.save(getattr(zoo_networks, family)().state_dict(), folder / "teacher.pt")
    card = TeacherCard(labels=tuple("abcdefghij"), time_dependent=True, **zoo_networks.FAMILIES[family])
    (folder / "teacher.toml").write_text(card.to_toml())
    done = CliRunner().invoke(app, [
        "distill", str(folder / "teacher.pt"), "--arch", f"{BENCHMARKS / 'zoo_networks.py'}:{family}",
        "--student", "bcresnet1", "--out", str(folder / "student.pt"), *small.OPTIONS, *options])
    return done.exit_code, done.stdout, done.stderr


def test_no_batch_norm_is_refused_and_the_way_out_named(tmp_path: Path) -> None:
    code, _, errors = distill("transformer", tmp_path)
    assert code == 3 and "no BatchNorm" in errors and "--without-bn" in errors
    assert not (tmp_path / "student.run").exists()


def test_without_bn_goes_on_and_says_what_it_costs(tmp_path: Path) -> None:
    code, printed, errors = distill("transformer", tmp_path, "--without-bn")
    assert code == 0, errors
    assert "nothing held the samples to the statistics" in printed
    assert "bn_weight = 0" in (tmp_path / "student.run" / "recipe.toml").read_text()


def test_without_bn_is_refused_where_there_is_batch_norm(tmp_path: Path) -> None:
    code, _, errors = distill("tcresnet", tmp_path, "--without-bn")
    assert code == 2 and "9 BatchNorm layers" in errors


@pytest.mark.parametrize("name,code,message", [("layers.2", 0, ""), ("fc", 2, "no time axis"),
                                               ("layer", 2, "not among the modules")])
def test_frames_at(name: str, code: int, message: str, tmp_path: Path) -> None:
    exit_code, _, errors = distill("tcresnet", tmp_path, "--frames-at", name)
    assert exit_code == code and message in errors
    if code == 0:
        assert '"frames_at": "layers.2"' in (tmp_path / "student.run" / "run.json").read_text()
