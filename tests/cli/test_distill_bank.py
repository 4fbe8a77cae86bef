"""`frami-edge distill --bank`: further students from the samples that a run has made."""

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest
import small
import torch
from typer.testing import CliRunner

from frami_edge import checkpoints
from frami_edge.cli.main import app


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher, and a student with its run."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "teacher.pt").write_bytes(resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes())
    done = CliRunner().invoke(app, ["distill", str(folder / "teacher.pt"), "--out", str(folder / "student.pt"),
                                    *small.OPTIONS])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def distill(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["distill", "teacher.pt", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout + done.stderr


def test_another_student_learns_from_the_same_samples(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "student.run" / "bank").iterdir()}
    code, printed = distill("--bank", "student.run", "--student", "dscnn_s", "--out", "small.pt",
                            "--set", "distillation.finish.steps=5")
    assert code == 0 and "agreement with the teacher" in printed, printed
    small = checkpoints.load(folder / "small.pt")
    assert small.network.name == "dscnn_s" and small.provenance["samples"] == 12
    assert small.provenance["bank_of"]["student"] == "wrn16"
    assert small.provenance["recipe"]["inversion"]["steps"] == 2  # as the samples were made
    events = [json.loads(line) for line in (folder / "small.run" / "metrics.jsonl").read_text().splitlines()]
    assert [event.get("finish_step") for event in events] == [5, None]  # no batch was made
    for run in ("student.run", "small.run"):
        assert {path.name: path.read_bytes() for path in (folder / run / "bank").iterdir()} == before


def test_the_seed_is_that_of_the_new_run(folder: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert distill("--bank", "student.run", "--out", f"{name}.pt", "--seed", str(seed))[0] == 0
    first, same, other = (checkpoints.load(folder / f"{name}.pt").network.state_dict() for name in "abc")
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_an_interrupted_one_is_resumed(folder: Path) -> None:
    words = ("--bank", "student.run", "--out", "small.pt")
    assert distill(*words)[0] == 0
    (folder / "small.pt").unlink()
    code, printed = distill(*words, "--resume")
    assert code == 0 and checkpoints.load(folder / "small.pt").provenance["bank_of"]["seed"] == 0, printed


def test_a_resumed_one_needs_the_other_run_no_more_and_takes_no_other(folder: Path) -> None:
    words = ("--bank", "student.run", "--out", "small.pt")
    assert distill(*words)[0] == 0 and distill("--bank", "small.run", "--out", "third.pt")[0] == 0
    code, printed = distill("--bank", "third.run", "--out", "small.pt", "--resume")
    assert code == 2 and "was not started on the samples of third.run" in printed
    code, printed = distill("--bank", "third.run", "--out", "student.pt", "--resume")
    assert code == 2 and "was not started on the samples of third.run" in printed
    shutil.rmtree("student.run")
    (folder / "small.pt").unlink()
    code, printed = distill(*words, "--resume")
    assert code == 0 and (folder / "small.pt").exists(), printed


@pytest.mark.parametrize("words,message", [
    (["--bank", "student.run", "--force"], "would be its own bank"),
    (["--bank", "missing.run", "--out", "small.pt"], "holds no run"),
    (["--bank", "student.run", "--out", "small.pt", "--set", "inversion.tau=1"], "were made otherwise"),
    (["--bank", "student.run", "--out", "small.pt", "--method", "noise"], "were made otherwise"),
    (["--bank", "student.run", "--out", "small.pt", "--set", "distillation.finish.steps=0"], "no finishing phase"),
])
def test_what_does_not_fit_is_told(folder: Path, words: list[str], message: str) -> None:
    code, printed = distill(*words)
    assert code == 2 and message in printed and "Traceback" not in printed
    assert not (folder / "small.pt").exists() and len(list((folder / "student.run" / "bank").iterdir())) == 3


def test_samples_that_are_not_this_teachers_or_not_finished(folder: Path) -> None:
    run = folder / "student.run"
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(identity | {"teacher_sha256": "0" * 64}))
    code, printed = distill("--bank", "student.run", "--out", "small.pt")
    assert code == 2 and "another teacher" in printed
    (run / "run.json").write_text(json.dumps(identity))
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    del state["finishing"]
    torch.save(state | {"batches": 2, "complete": False}, run / "checkpoint.pt")
    code, printed = distill("--bank", "student.run", "--out", "small.pt")
    assert code == 3 and "not done with its samples" in printed and "--resume" in printed
    (run / "checkpoint.pt").unlink()
    code, printed = distill("--bank", "student.run", "--out", "small.pt")
    assert code == 3 and "no checkpoint" in printed and not (folder / "small.run" / "run.json").exists()


def test_samples_made_with_other_hidden_states_are_told(folder: Path) -> None:
    run = folder / "student.run"
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(identity | {"frames_at": "stages.1"}))
    code, printed = distill("--bank", "student.run", "--out", "small.pt")
    assert code == 2 and "made with --frames-at stages.1" in printed and "Say the same" in printed
