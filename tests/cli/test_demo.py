"""The demo: the commands on the packaged teacher. Its settings are cut down here; what it does with them is not."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from frami_edge import checkpoints
from frami_edge.cli import demo
from frami_edge.cli.main import app
from frami_edge.recipe import load
from frami_edge.runtime import Classifier
from frami_edge.teacher.opening import open_teacher

runner = CliRunner()
TINY = [
    "inversion.batches=2", "inversion.warmup_batches=1", "inversion.batch_size=4", "inversion.steps=2",
    "inversion.first_steps=2", "distillation.batch_size=4", "distillation.alternate.steps=2",
    "distillation.finish.steps=2", "distillation.finish.clip_norm=1",
]


def test_four_commands_leave_what_they_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "OVERRIDES", TINY)
    monkeypatch.setattr(demo, "RUNS", 10)
    result = runner.invoke(app, ["demo", "--dir", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    written = ("student.pt", "student.html", "student.onnx", "student.bench.json")
    student, page, model, report = (tmp_path / "out" / name for name in written)
    end = result.stdout.split("Done in")[1]
    assert all(str(path) in end for path in (student, page, model, report))
    assert "<audio" in page.read_text(encoding="utf-8")
    assert checkpoints.load(student).provenance["recipe"]["inversion"]["batches"] == 2
    assert Classifier(model).labels == tuple("0123456789")
    assert json.loads(report.read_text())["passed"] is True
    commands = [line for line in result.stdout.splitlines() if line.startswith("$ frami-edge")]
    assert [command.split()[2] for command in commands] == ["distill", "report", "export", "bench"]

    again = runner.invoke(app, ["demo", "--dir", str(tmp_path / "out")])
    assert again.exit_code == 2 and "--force" in again.stderr


def test_its_settings_are_a_valid_recipe() -> None:
    recipe = load("quick", demo.OVERRIDES)
    assert recipe.inversion.warmup_batches < recipe.inversion.batches


def test_the_packaged_teacher_knows_spoken_digits(tmp_path: Path, fsdd: Path) -> None:
    from frami_edge.datasets import open_dataset
    from frami_edge.evaluation import evaluate, torch_model

    demo.unpack_teacher(tmp_path / "teacher.pt")
    opened = open_teacher(tmp_path / "teacher.pt")
    _, theo = open_dataset(fsdd, "fsdd", None, None).split("theo")
    accuracy = evaluate(torch_model(opened.teacher, opened.card), theo.clips).accuracy
    assert accuracy == pytest.approx(443 / 500, abs=2 / 500)  # as frami_edge/demo/README.md says


@pytest.mark.parametrize("name", ["teacher.pt", "student.pt", "student.html", "student.onnx"])
def test_nobodys_files_are_replaced(tmp_path: Path, name: str) -> None:
    """The README's own names, in the folder where somebody keeps what he bought."""
    (tmp_path / name).write_text("precious")
    result = runner.invoke(app, ["demo", "--dir", str(tmp_path)])
    assert result.exit_code == 2 and f"{name} exists already" in result.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_an_interrupted_demo_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between its commands: the student of the first one is taken as it is."""
    monkeypatch.setattr(demo, "OVERRIDES", TINY)
    monkeypatch.setattr(demo, "RUNS", 10)

    def interrupt(student: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(demo, "_export", interrupt)
        assert runner.invoke(app, ["demo", "--dir", str(tmp_path)]).exit_code != 0
    made = (tmp_path / "student.pt").read_bytes()
    result = runner.invoke(app, ["demo", "--dir", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert "$ frami-edge distill" not in result.stdout and (tmp_path / "student.onnx").is_file()
    assert (tmp_path / "student.pt").read_bytes() == made
    (tmp_path / "student.bench.json").unlink()  # interrupted while it was measured
    result = runner.invoke(app, ["demo", "--dir", str(tmp_path)])
    assert result.exit_code == 0 and "$ frami-edge distill" not in result.stdout, result.stderr
    result = runner.invoke(app, ["demo", "--dir", str(tmp_path)])
    assert result.exit_code == 2 and "--dir to go elsewhere" in result.stderr
