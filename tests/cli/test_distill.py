"""`frami-edge distill` as a user types it, on the teacher that ships with the package."""

import json
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest
import small
from typer.testing import CliRunner

from frami_edge import checkpoints
from frami_edge.cli.main import app
from frami_edge.cli.verdict import print_verdict
from frami_edge.distillation.verdict import Verdict

run = CliRunner().invoke


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a teacher and nothing else, where the commands are typed."""
    (tmp_path / "teacher.pt").write_bytes(resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_writes_a_student_and_says_how_far_to_trust_it(folder: Path) -> None:
    done = run(app, ["distill", "teacher.pt", "--seed", "3", *small.OPTIONS])
    assert done.exit_code == 0, done.output
    student = checkpoints.load(folder / "student.pt")
    assert student.network.name == "wrn16" and student.card.classes == 10
    assert student.provenance["seed"] == 3 and student.provenance["samples"] == 12
    assert student.provenance["recipe"]["inversion"]["steps"] == 2
    assert str(folder) not in json.dumps(student.provenance)  # where files lie is nobody's business
    assert "agreement with the teacher" in done.stdout and "fresh samples" in done.stdout
    assert "recipe quick" in done.stderr and "recipe quick" not in done.stdout
    entries = {path.name for path in (folder / "student.run").iterdir()}
    assert entries == {"recipe.toml", "run.json", "metrics.jsonl", "checkpoint.pt", "bank", ".lock"}
    assert "verdict" in (folder / "student.run" / "metrics.jsonl").read_text().splitlines()[-1]


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "student.pt").write_text("precious")
    done = run(app, ["distill", "teacher.pt", *small.OPTIONS])
    assert done.exit_code == 2 and "exists already" in done.stderr and "--force" in done.stderr
    assert (folder / "student.pt").read_text() == "precious" and not (folder / "student.run").exists()
    (folder / "student.pt").unlink()
    assert run(app, ["distill", "teacher.pt", *small.OPTIONS]).exit_code == 0
    (folder / "student.pt").unlink()
    done = run(app, ["distill", "teacher.pt", *small.OPTIONS])
    assert done.exit_code == 2 and "holds a run already" in done.stderr
    assert run(app, ["distill", "teacher.pt", "--force", *small.OPTIONS]).exit_code == 0


@pytest.mark.parametrize("arguments,message", [
    (["distill", "missing.pt"], "missing.pt"),
    (["distill", "teacher.pt", "--student", "wrn-16"], "Did you mean 'wrn16'"),
    (["distill", "teacher.pt", "--recipe", "papper"], "Did you mean 'paper'"),
    (["distill", "teacher.pt", "--set", "inversion.tua=1"], "Did you mean 'tau'"),
    (["distill", "teacher.pt", "--precision", "fp8"], "Unknown precision"),
    (["distill", "teacher.pt", "--device", "gpu"], "Unknown device 'gpu'"),
    (["distill", "teacher.pt", "--devices", "2", "--device", "tpu"], "Unknown device 'tpu'"),
])
def test_mistakes_are_told_before_anything_is_written(folder: Path, arguments: list[str], message: str) -> None:
    done = run(app, arguments)
    assert done.exit_code in (2, 3) and message in done.stderr and "Traceback" not in done.output
    assert [path.name for path in folder.iterdir()] == ["teacher.pt"]


def test_ctrl_c_keeps_everything_and_resume_goes_on(folder: Path) -> None:
    """A real process, a real SIGINT after the first batches, then --resume."""
    command = [sys.executable, "-m", "frami_edge", "distill", "teacher.pt", *small.OPTIONS,
               "--set", "distillation.finish.steps=200"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = folder / "student.run" / "metrics.jsonl"
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and not (metrics.exists() and "finish_step" in metrics.read_text()):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130 and "--resume" in stderr and "Traceback" not in stderr
    assert not (folder / "student.pt").exists()
    kept = len(metrics.read_text().splitlines())
    done = run(app, ["distill", "teacher.pt", "--resume", *small.OPTIONS])
    assert done.exit_code == 2 and "another recipe" in done.stderr
    recipe = folder / "student.run" / "recipe.toml"
    short = recipe.read_text()
    assert "steps = 200" in short
    done = run(app, ["distill", "teacher.pt", "--resume", "--recipe", str(recipe)])
    assert done.exit_code == 0, done.output
    lines = metrics.read_text().splitlines()
    assert len(lines) > kept and json.loads(lines[-2])["finish_step"] == 200
    assert [json.loads(line)["batch"] for line in lines[:3]] == [1, 2, 3]  # none was made twice


def test_resume_is_for_the_run_of_this_card_and_this_student(folder: Path) -> None:
    """A card that was corrected would mix two front-ends; a student of somebody else's is not replaced."""
    (folder / "student.pt").write_text("precious")
    done = run(app, ["distill", "teacher.pt", "--resume", *small.OPTIONS])
    assert done.exit_code == 2 and "exists already" in done.stderr
    assert (folder / "student.pt").read_text() == "precious" and not (folder / "student.run").exists()
    (folder / "student.pt").unlink()
    assert run(app, ["distill", "teacher.pt", *small.OPTIONS]).exit_code == 0
    card = checkpoints.load(folder / "teacher.pt").card
    (folder / "corrected.toml").write_text(card.model_copy(update={"labels": tuple("abcdefghij")}).to_toml())
    done = run(app, ["distill", "teacher.pt", "--card", "corrected.toml", "--resume", *small.OPTIONS])
    assert done.exit_code == 2 and "card_sha256" in done.stderr
    done = run(app, ["distill", "teacher.pt", "--card", "corrected.toml", "--bank", "student.run", "--out", "other.pt"])
    assert done.exit_code == 2 and "made with another card" in done.stderr
    assert run(app, ["distill", "teacher.pt", "--resume", *small.OPTIONS]).exit_code == 0


@pytest.mark.parametrize("words,code,message", [
    (["--out", "."], 2, ". is a folder"),
    (["--out", "student.run"], 2, "is what the folder of the run is called"),
    (["--seed", "100000000000000000000"], 2, "Invalid value for '--seed'"),
    (["--resume", "--force"], 2, "Leave one of them out"),
    (["--student", "my.py:needs_lengths"], 3, "missing 1 required positional argument: 'lengths'"),
    (["--set", "inversion.min_chunks=6"], 2, "is more than max_chunks"),
])
def test_what_cannot_be_done_is_said_before_anything_is_written(words: list[str], code: int, message: str,
                                                                folder: Path) -> None:
    (folder / "my.py").write_text("from torch import nn\nclass Two(nn.Linear):\n"
                                  "    def forward(self, x, lengths):\n        return x\n"
                                  "def needs_lengths(classes, n_mels):\n    return Two(n_mels, classes)\n")
    done = run(app, ["distill", "teacher.pt", *small.OPTIONS, *words])
    assert done.exit_code == code and message in done.stderr, done.output
    assert not (folder / "student.run").exists()


def test_paths_are_printed_as_they_are(folder: Path) -> None:
    """In other programs' names brackets are no markup."""
    (folder / "a[").mkdir()
    (folder / "a[" / "b]").mkdir()
    out = "a[/b]/student.pt"
    done = run(app, ["distill", "teacher.pt", "--out", out, "--resume", *small.OPTIONS])
    assert done.exit_code == 0 and "nothing to resume in a[/b]/student.run" in done.stderr, done.output
    assert f"{out} after" in done.stdout and (folder / out).is_file()


def test_clips_too_short_for_chunks_are_told(folder: Path) -> None:
    card = checkpoints.load(folder / "teacher.pt").card
    short = card.clip.model_copy(update={"preparation": "crop", "seconds": 0.5})
    (folder / "card.toml").write_text(card.model_copy(update={"time_dependent": False, "clip": short}).to_toml())
    done = run(app, ["distill", "teacher.pt", "--card", "card.toml", "--believe-card", *small.OPTIONS])
    assert done.exit_code == 0 and "Without T_finv (Eq. 2): clips of" in done.stderr, done.output
    done = run(app, ["distill", "teacher.pt", "--card", "card.toml", "--believe-card", "--no-finv", "--force",
                     *small.OPTIONS])
    assert done.exit_code == 0 and "Without T_finv" not in done.stderr, done.output


def test_switches_stand_for_their_settings(folder: Path) -> None:
    done = run(app, ["distill", "teacher.pt", "--no-finv", "--no-reuse", *small.OPTIONS])
    assert done.exit_code == 0, done.output
    settings = checkpoints.load(folder / "student.pt").provenance["recipe"]
    assert settings["inversion"]["finv_weight"] == 0 and settings["inversion"]["method"] == "frami"
    assert settings["distillation"]["alternate"]["frame_reuse"] == 0
    done = run(app, ["distill", "teacher.pt", "--method", "fastdfkd", "--force", *small.OPTIONS])
    assert done.exit_code == 0 and "recipe fastdfkd" in done.stderr, done.output
    assert checkpoints.load(folder / "student.pt").provenance["recipe"]["inversion"]["method"] == "fastdfkd"
    done = run(app, ["distill", "teacher.pt", "--method", "dafl", "--force", *small.OPTIONS])
    assert done.exit_code == 2 and "no recipe 'dafl'" in done.stderr


@pytest.mark.parametrize("least,verdict,code", [(0.9, (0.89, 0.95), 1), (0.9, (0.91, 0.95), 0), (0.9, (1.0, 0.1), 1)])
def test_a_verdict_below_what_was_asked_for_is_an_exit_code(
        least: float, verdict: tuple[float, float], code: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agreement, confidence = verdict
    monkeypatch.setattr("frami_edge.distillation.data_free.DataFreeDistillation.verdict",
                        lambda self, network: Verdict(128, agreement, 0.05, confidence, 0.1, 1, 0.1, None, None))
    done = run(app, ["distill", "teacher.pt", "--min-agreement", str(least), *small.OPTIONS])
    assert done.exit_code == code and ("below --min-agreement 0.9" in done.stderr) == bool(code), done.output
    assert checkpoints.load(folder / "student.pt").network.name == "wrn16"  # written whatever the verdict


@pytest.mark.parametrize("confidence,warned", [(0.1, True), (0.49, True), (0.51, False), (0.93, False)])
def test_a_synthesis_that_failed_is_called_so(confidence: float, warned: bool,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict(128, 0.9, 0.05, confidence, 827.0, 1e6, 0.1, None, None)
    print_verdict(Path("student.pt"), Path("student.run"), verdict, 60, "quick", 24, 0)
    printed = capsys.readouterr()
    assert ("synthesis has failed" in printed.err) == warned and "teacher's confidence" in printed.out
    assert "90.0%   (KL 0.0500 nats)" in printed.out


@pytest.mark.parametrize("diversity", [None, 0.25])
def test_diversity_is_not_told_where_no_class_has_two_samples(diversity: float | None,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict(128, 0.99, 0.05, 0.9, 0.1, 1.0, diversity, None, None)
    print_verdict(Path("student.pt"), Path("student.run"), verdict, 60, "quick", 24, 0)
    assert ("diversity within a class      0.250" in capsys.readouterr().out) == (diversity is not None)


@pytest.mark.parametrize("agreement,confidence,noted", [(0.92, 0.95, True), (0.97, 0.95, False), (0.92, 0.1, False)])
def test_a_student_that_disagrees_on_fresh_samples_is_offered_more_of_them(
        agreement: float, confidence: float, noted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict(128, agreement, 0.05, confidence, 0.1, 1, 0.1, None, None)
    print_verdict(Path("student.pt"), Path("student.run"), verdict, 60, "quick", 24, 0)
    note = capsys.readouterr().err
    assert ("on 8% of these" in note and "--recipe thorough, or --set inversion.batches=72." in note) == noted


@pytest.mark.parametrize("recipe,minutes,of_a_bank,offered", [
    ("thorough", 0, False, "as a rule: --set inversion.batches=216."),
    ("quick", 10, False, "than 10 minutes (--budget 30m)."),
    ("student.run/recipe.toml", 0, True, "--set inversion.batches=216, without --bank."),
])
def test_what_is_offered_is_more_than_there_was(recipe: str, minutes: float, of_a_bank: bool, offered: str,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict(128, 0.92, 0.05, 0.95, 0.1, 1, 0.1, None, None)
    print_verdict(Path("student.pt"), Path("student.run"), verdict, 60, recipe, 72, minutes, of_a_bank)
    note = capsys.readouterr().err
    assert offered in note and "thorough" not in note
