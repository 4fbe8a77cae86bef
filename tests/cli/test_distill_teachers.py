"""`frami-edge distill` with teachers that need a word from the user."""

from pathlib import Path

import pytest
import small
import torch
import zoo_networks
from typer.testing import CliRunner

from frami_edge import checkpoints, demo, networks
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.cli.main import app
from frami_edge.frontend import MelFrontend
from frami_edge.teacher.opening import open_teacher

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"



def distill(family: str, folder: Path, *options: str, frames_at: str = "") -> tuple[int, str, str]:
    torch.manual_seed(0)
    torch.save(getattr(zoo_networks, family)().state_dict(), folder / "teacher.pt")
    card = TeacherCard(labels=tuple("abcdefghij"), time_dependent=True, frames_at=frames_at,
                       **zoo_networks.FAMILIES[family])
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
@pytest.mark.parametrize("in_card", [False, True])
def test_frames_at(name: str, code: int, message: str, in_card: bool, tmp_path: Path) -> None:
    options = () if in_card else ("--frames-at", name)
    exit_code, _, errors = distill("tcresnet", tmp_path, *options, frames_at=name if in_card else "")
    assert exit_code == code and message in errors
    if code == 0:
        assert '"frames_at": "layers.2"' in (tmp_path / "student.run" / "run.json").read_text()
        assert not checkpoints.load(tmp_path / "student.pt").card.frames_at  # the student has other modules


def test_a_teacher_of_cepstra_from_inspect_to_student(tmp_path: Path) -> None:
    """wrn16 keeps the rows apart, so 40 Mel bands in the place of 13 coefficients would fail."""
    torch.manual_seed(0)
    cepstra = MelSpec(kind="mfcc", n_mfcc=13, log="db", log_offset=1e-10)
    card = TeacherCard(labels=("a", "b"), time_dependent=True, clip=Clip(seconds=0.5), frontend=cepstra)
    network = networks.build("wrn16", 2, 13)
    with torch.no_grad():
        for _ in range(9):
            network.train()(MelFrontend.from_card(card)(0.1 * torch.randn(8, 8000)))
    checkpoints.save(tmp_path / "teacher.pt", network.eval(), card, {})
    inspected = CliRunner().invoke(app, ["inspect", str(tmp_path / "teacher.pt")])
    assert "takes           B1FT, 13 Mel bands" in inspected.output, inspected.output  # what it was taught is noise
    done = CliRunner().invoke(app, ["distill", str(tmp_path / "teacher.pt"), "--believe-card", "--out",
                                    str(tmp_path / "student.pt"), *small.OPTIONS])
    assert done.exit_code == 0, done.stderr
    assert checkpoints.load(tmp_path / "student.pt").network.n_mels == 13


def test_a_card_that_is_surely_wrong_is_refused_where_resume_starts_a_run(tmp_path: Path) -> None:
    opened = open_teacher(Path(demo.__file__).parent / "teacher.pt")
    wrong = opened.card.model_copy(update={"frontend": opened.card.frontend.model_copy(
        update={"normalisation": Normalisation()})})
    network = checkpoints.load(Path(demo.__file__).parent / "teacher.pt").network
    checkpoints.save(tmp_path / "teacher.pt", network, wrong, {})
    words = ["distill", str(tmp_path / "teacher.pt"), "--out", str(tmp_path / "student.pt"), *small.OPTIONS, "--resume"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3 and "The card is wrong" in done.stderr and "--believe-card" in done.stderr
    assert CliRunner().invoke(app, [*words, "--believe-card"]).exit_code == 0
    assert CliRunner().invoke(app, words).exit_code == 0  # a run that was begun is not asked again
