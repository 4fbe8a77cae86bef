"""Small teachers get more samples than large ones, unless a recipe is named."""

from importlib import resources
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from frami_edge import checkpoints
from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.cli.main import app
from frami_edge.distillation.usual import usual_recipe
from frami_edge.networks import build
from frami_edge.teacher.inspecting import macs_of
from frami_edge.teacher.opening import open_teacher
from frami_edge.teacher.taps import Teacher

CARD = TeacherCard(labels=("cat", "dog", "rain"), time_dependent=True, clip=Clip(seconds=1),
                   frontend=MelSpec(n_mels=8, hop_length=800))  # 21 frames


@pytest.mark.parametrize("network,recipe", [("dscnn_s", "thorough"), ("res34", "quick")])
def test_the_number_of_samples_follows_the_size_of_the_teacher(network: str, recipe: str) -> None:
    name, why = usual_recipe(Teacher(build(network, 3, 8), CARD))
    assert name == recipe and bool(why) == (recipe == "thorough")


def test_longer_clips_make_a_teacher_large() -> None:
    long = CARD.model_copy(update={"clip": Clip(seconds=60)})
    assert [usual_recipe(Teacher(build("wrn16", 3, 8), card))[0] for card in (CARD, long)] == ["thorough", "quick"]


def test_a_program_is_counted_as_the_network_that_it_was(tmp_path: Path) -> None:
    """Though its layers are no modules; and the demo's teacher is beyond the limit."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.AdaptiveAvgPool2d(1),
                              torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(net, (torch.randn(2, 1, 8, 21),), dynamic_shapes=({0: dynamic, 3: dynamic},))
    torch.export.save(program, tmp_path / "teacher.pt2")
    (tmp_path / "teacher.toml").write_text(CARD.to_toml())
    assert usual_recipe(open_teacher(tmp_path / "teacher.pt2").teacher)[0] == "thorough"
    macs = macs_of(open_teacher(tmp_path / "teacher.pt2").teacher, 8, 21)
    assert macs == 4 * 9 * 6 * 19 + 4 * 3
    (tmp_path / "demo.pt").write_bytes(resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes())
    assert usual_recipe(open_teacher(tmp_path / "demo.pt").teacher)[0] == "quick"


def test_distill_says_which_and_why_and_a_named_recipe_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    teacher = build("dscnn_s", 3, 8).train()
    for _ in range(20):
        teacher(4 * torch.randn(16, 8, 21))  # statistics that a training would leave
    checkpoints.save(Path("teacher.pt"), teacher.eval(), CARD, {})
    small = [word for value in ("inversion.batches=1", "inversion.warmup_batches=1", "inversion.batch_size=4",
                                "inversion.first_steps=2", "inversion.ngf=4", "distillation.batch_size=4",
                                "distillation.finish.steps=2",
                                "distillation.finish.clip_norm=1") for word in ("--set", value)]  # no time to warm up
    common = ["distill", "teacher.pt", "--student", "bcresnet1", "--believe-card", "--force", *small]
    done = CliRunner().invoke(app, common)
    assert done.exit_code == 0 and "recipe thorough (a small teacher, of" in " ".join(done.stderr.split()), done.output
    assert checkpoints.load(Path("student.pt")).provenance["recipe"]["inversion"]["steps"] == 20
    done = CliRunner().invoke(app, [*common, "--recipe", "quick"])
    assert done.exit_code == 0 and "recipe quick, seed 0" in " ".join(done.stderr.split()), done.output
    assert checkpoints.load(Path("student.pt")).provenance["recipe"]["inversion"]["steps"] == 10
