"""`frami-edge reproduce`: a small table from end to end, on the teacher that ships with the package."""

import json
import shutil
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from frami_edge import checkpoints, networks, recipe
from frami_edge.cli.main import app
from frami_edge.exporters.onnx import export_onnx
from frami_edge.reproduce import results, running
from frami_edge.runs import RunDirectory

TINY = [part for value in (
    "inversion.batches=2", "inversion.warmup_batches=1", "inversion.batch_size=4", "inversion.steps=2",
    "inversion.first_steps=2", "inversion.ngf=4", "distillation.batch_size=4", "distillation.alternate.steps=2",
    "distillation.finish.steps=2", "distillation.finish.clip_norm=1", "training.epochs=1",
    "training.batch_size=8") for part in ("--set", value)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher of digits, and forty tones in the layout of the Free Spoken Digit Dataset below ``sounds``."""
    (tmp_path / "teacher.pt").write_bytes(resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes())
    recordings = tmp_path / "sounds" / "free-spoken-digit-dataset" / "recordings"
    recordings.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("ann", "theo"):
            for take in range(2):
                wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * digit + 10 * take) * np.arange(1600) / 8000)
                soundfile.write(recordings / f"{digit}_{speaker}_{take}.wav", wave, 8000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the cells, run in this process instead of one for each."""
    made: list[list[str]] = []

    def call(words: list[str], output: Path) -> int:
        made.append(words)
        return CliRunner().invoke(app, words).exit_code

    monkeypatch.setattr(running, "run_command", call)
    return made


def words(*more: object, teacher: bool = True) -> list[str]:
    given = ["--teacher", "teacher.pt"] if teacher else []
    return ["reproduce", "digits", "--data", "sounds", "--student", "wrn16", "--device", "cpu", "--precision",
            "float32", *given, *TINY, *map(str, more)]


def reproduce(*more: object, teacher: bool = True) -> Result:
    return CliRunner().invoke(app, words(*more, teacher=teacher))


def test_a_table_and_its_cells(folder: Path, commands: list[list[str]]) -> None:
    done = reproduce("--arms", "student,kd", "--arms", "frami", "--seeds", 2)
    assert done.exit_code == 0, done.output
    assert [command[0] for command in commands] == ["train", "train", "distill"] * 2
    assert "| FRAMI minus | points of accuracy |" in done.stdout
    assert "Free Spoken Digit Dataset, test theo: frami-edge checkpoint, wrn16x2 -> wrn16" in done.stdout
    assert "40 of the 3000 clips of fsdd are there" in done.stderr and "7 of 7 cells to run" in done.stderr
    table = json.loads(Path("reproduce-digits/digits.json").read_text())
    assert [(row["arm"], row["seeds"], row["n"]) for row in table["rows"]] == [
        ("teacher", [0], 20), ("student", [0, 1], 20), ("kd", [0, 1], 20), ("frami", [0, 1], 20)]

    cells = {(cell.arm, cell.seed): cell for cell in results.below(Path("reproduce-digits"))}
    frami = cells["frami", 1]
    assert frami.clips[0] == "recordings/0_theo_0.wav" and frami.truth == sorted(2 * list(range(10)))
    agreeing = np.mean(np.array(frami.predicted) == np.array(cells["teacher", 0].predicted))
    assert frami.agreement == pytest.approx(agreeing) and frami.seconds > 0 and frami.samples == 8
    student = next(Path("reproduce-digits/digits").glob("wrn16-frami-1-*"))
    assert json.loads((student / "cell.json").read_text())["correct"] == round(20 * frami.accuracy)

    # the resolved recipe lies beside the result, in the checkpoint, and in what is exported
    overrides = [each for each in TINY if each.startswith(("inversion", "distillation"))]
    resolved = recipe.load("digits/wrn16-frami", overrides)
    assert recipe.load(str(student / "student.run" / "recipe.toml")) == resolved
    assert checkpoints.load(student / "student.pt").provenance["recipe"] == resolved.model_dump(mode="json")
    export_onnx(student / "student.pt", folder / "student.onnx")
    metadata = onnxruntime.InferenceSession(folder / "student.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["frami.provenance"])["recipe"] == resolved.model_dump(mode="json")
    kd = next(Path("reproduce-digits/digits").glob("wrn16-kd-0-*"))
    assert recipe.load_training(str(kd / "student.recipe.toml")).training.epochs == 1

    # what is done is not done again; one more seed is one more cell for each arm, and other values are other cells
    commands.clear()
    again = reproduce("--arms", "student,kd,frami", "--seeds", 2)
    assert again.exit_code == 0 and commands == [] and again.stdout == done.stdout
    assert "All 7 cells are done" in again.stderr
    planned = reproduce("--arms", "frami", "--seeds", 3, "--plan")
    assert planned.exit_code == 0 and "2 done, 1 to do" in planned.stdout and "timing" not in planned.stderr
    beyond = reproduce("--arms", "frami", "--seeds", 1, "--first-seed", 4, "--plan")
    assert beyond.exit_code == 0 and "1 to do" in beyond.stdout and "timing" not in beyond.stderr
    rows = json.loads(Path("reproduce-digits/digits.json").read_text())["rows"]
    assert reproduce("--arms", "kd", "--seeds", 1, "--first-seed", 1).exit_code == 0 and commands == []
    assert reproduce("--arms", "kd", "--seeds", 1).exit_code == 0 and commands == []  # the table still shows it all
    assert json.loads(Path("reproduce-digits/digits.json").read_text())["rows"] == rows
    shutil.copytree("reproduce-digits/digits", "elsewhere/digits")  # cells of another machine
    assert reproduce("--arms", "kd", "--seeds", 1, "--out", "elsewhere").exit_code == 0 and commands == []
    assert json.loads(Path("elsewhere/digits.json").read_text())["rows"] == rows
    assert reproduce("--arms", "frami", "--seeds", 1, "--set", "inversion.tau=0.9").exit_code == 0
    assert [(command[0], command[-1]) for command in commands] == [("distill", "--resume")]
    assert not list(Path("reproduce-digits/digits").glob("*.toml"))  # cards lie in the cells' folders
    assert len(list(Path("reproduce-digits/digits").glob("wrn16-frami-0-*"))) == 2


def test_a_teacher_is_trained_where_none_is_given(folder: Path, commands: list[list[str]],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    real = recipe.cell
    monkeypatch.setattr(recipe, "cell", lambda name: (cell := real(name)) and cell.model_copy(  # a small one
        update={"teacher": cell.teacher.replace("wrn40", "wrn16")}))
    done = reproduce("--arms", "student", "--seeds", 1, teacher=False)
    assert done.exit_code == 0, done.output
    assert [command[0] for command in commands] == ["train", "train"]
    teacher = next(Path("reproduce-digits/digits").glob("wrn16-teacher-0-*")) / "teacher.pt"
    made = checkpoints.load(teacher)
    student = checkpoints.load(next(Path("reproduce-digits/digits").glob("wrn16-student-0-*")) / "student.pt")
    assert student.card.frontend == made.card.frontend  # what the teacher hears, the student hears
    assert "--card" in commands[1] and student.provenance["recordings"]["test_groups"] == ["theo"]
    assert results.below(Path("reproduce-digits"))[0].teacher_sha256 == made.sha256
    commands.clear()
    assert reproduce("--arms", "student", "--seeds", 1, teacher=False).exit_code == 0 and commands == []
    done = reproduce("--teacher", teacher, "--test", "ann", "--out", "other", teacher=False)
    assert done.exit_code == 2 and "was trained on ann, which this table keeps for the test" in done.stderr


def test_a_cell_that_fails_is_left_out_and_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(command: list[str], output: Path) -> int:
        return 3 if "digits/wrn16-kd" in command else CliRunner().invoke(app, command).exit_code

    monkeypatch.setattr(running, "run_command", call)
    done = reproduce("--arms", "kd,frami", "--seeds", 1)
    assert done.exit_code == 3
    assert "digits/wrn16-kd, seed 0, failed with exit code 3" in done.stderr and "not in the table: 1." in done.stderr
    rows = json.loads(Path("reproduce-digits/digits.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == ["teacher", "frami"]


def test_a_training_that_was_interrupted_is_not_taken_for_a_result(folder: Path, commands: list[list[str]],
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    from frami_edge.training import Training

    whole_epoch = Training._epoch
    state = {"interrupt": False}  # not in the timing of steps before

    def epoch(self: Training, report: object) -> None:
        if state["interrupt"] and self.epochs_done == 1:
            raise KeyboardInterrupt
        state["interrupt"] = self.epochs == 3
        whole_epoch(self, report)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "_epoch", epoch)
    done = reproduce("--arms", "student", "--seeds", 1, "--set", "training.epochs=3")
    assert done.exit_code == 130 and "the same command goes on" in done.stderr
    model = next(Path("reproduce-digits/digits").glob("wrn16-student-0-*")) / "student.pt"
    assert checkpoints.load(model).provenance["interrupted"] and not (model.parent / "cell.json").exists()
    monkeypatch.setattr(Training, "_epoch", whole_epoch)
    assert reproduce("--arms", "student", "--seeds", 1, "--set", "training.epochs=3").exit_code == 0
    assert not checkpoints.load(model).provenance["interrupted"] and (model.parent / "cell.json").exists()


def test_ctrl_c_reaches_the_cell_and_the_same_command_goes_on(folder: Path, commands: list[list[str]]) -> None:
    """A real process with a real child, a real SIGINT while the student is finished, then the same command."""
    more = ("--arms", "frami", "--seeds", "1", "--set", "distillation.finish.steps=200")
    process = subprocess.Popen([sys.executable, "-m", "frami_edge", *words(*more)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deadline, metrics = time.monotonic() + 400, None
    while time.monotonic() < deadline and not (metrics and "finish_step" in metrics.read_text()):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        metrics = next(Path("reproduce-digits/digits").glob("*/student.run/metrics.jsonl"), None)
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 130 and stdout == "" and "Traceback" not in stderr
    assert "the same command goes on" in stderr
    assert metrics and not (metrics.parents[1] / "student.pt").exists()
    for folder_of_run in (Path("reproduce-digits"), metrics.parent):
        with RunDirectory(folder_of_run).locked():  # nobody holds it any more
            pass
    kept = metrics.read_text().splitlines()
    done = CliRunner().invoke(app, words(*more))
    assert done.exit_code == 0, done.output
    assert "1 begun" in done.stderr and len(commands) == 1
    lines = metrics.read_text().splitlines()
    assert lines[: len(kept)] == kept and len(lines) > len(kept)
    assert results.below(Path("reproduce-digits"))[0].samples == 8


@pytest.mark.parametrize("more,exit_code,problem", [
    (("--arms", "famri"), 2, "Did you mean 'frami'"),
    (("--against", "framy"), 2, "has no row 'framy'"),
    (("--against", "mine.toml"), 2, "has no row 'mine'"),
    (("--budget", "10m", "--set", "inversion.minutes=5"), 2, "both say for how long"),
    (("--budget", "soon"), 2, "is no duration"),
    (("--test", "bob"), 2, "no group 'bob'"),
    (("--test", "ann", "--test", "theo"), 3, "none is left to train on"),
    (("--teacher", "missing.pt"), 3, "missing.pt"),
    (("--data", "nowhere"), 3, "github.com/Jakobovski"),
    (("--set", "inversion.tua=1"), 2, "Did you mean 'tau'"),
    (("--test", "official"), 2, "no official split"),
    (("--arms", "frami,mine.toml"), 2, "mine.toml is tested on ann, and the others of its column on theo"),
])
def test_mistakes_are_told_before_anything_is_run(folder: Path, commands: list[list[str]], more: tuple[str, ...],
                                                  exit_code: int, problem: str) -> None:
    Path("mine.toml").write_text('extends = "digits/wrn16-frami"\n[cell]\ntest = ["ann"]\n')
    done = reproduce(*more)
    assert done.exit_code == exit_code and problem in done.stderr, done.output
    assert commands == [] and not Path("reproduce-digits").exists()


def test_how_to_open_a_teacher_needs_a_teacher(folder: Path) -> None:
    done = reproduce("--trust", teacher=False)
    assert done.exit_code == 2 and "there is no --teacher" in done.stderr


def test_a_teacher_of_ones_own_network_is_not_tested_on_what_it_has_heard(folder: Path) -> None:
    """Its record is in the file, though its code is not."""
    Path("own.py").write_text("from frami_edge import networks\ndef build(classes, n_mels):\n"
                              "    return networks.build('dscnn_s', classes, n_mels)\n")
    demo = checkpoints.load(Path("teacher.pt"))
    network = networks.build_student("own.py:build", 10, demo.card.frontend.rows)
    checkpoints.save(Path("own.pt"), network, demo.card, {"recordings": {"groups": ["theo", "ann"]}})
    done = reproduce("--teacher", "own.pt", "--trust", teacher=False)
    assert done.exit_code == 2 and "own.pt was trained on theo, which this table keeps" in done.stderr, done.output


def test_a_budget_goes_to_the_data_free_cells(folder: Path, commands: list[list[str]]) -> None:
    done = reproduce("--budget", "2s", "--arms", "kd,frami", "--seeds", 1)
    assert done.exit_code == 0 and ["--budget" in command for command in commands] == [False, True]
    assert [cell.budget for cell in results.below(Path("reproduce-digits"))] == ["2s", "", ""]
    assert reproduce("--budget", "2 s").exit_code == 2


def test_an_arm_that_leaves_nothing_out_is_named(folder: Path) -> None:
    arms = ("--arms", "frami,frami-no-prepare", "--seeds", 1, "--plan")
    assert "FRAMI once more" not in reproduce(*arms).stderr  # the demo's clips are padded
    content = torch.load("teacher.pt", weights_only=True)
    content["card"]["clip"]["preparation"] = "crop"
    torch.save(content, "teacher.pt")
    done = reproduce(*arms)
    assert done.exit_code == 0 and "wrn16-frami-no-prepare: the teacher's clips are cropped" in done.stderr, done.output
    assert "FRAMI once more" not in reproduce("--arms", "frami", "--seeds", 1, "--plan").stderr
    arms = ("--arms", "frami,frami-no-reuse", "--seeds", 1, "--plan")
    reuse = [word for phase in ("alternate", "finish") for which in ("frame", "utterance")
             for word in ("--set", f"distillation.{phase}.{which}_reuse=1")]
    assert "FRAMI once more" not in reproduce(*arms).stderr
    assert "wrn16-frami-no-reuse: with these --set it has the values of frami" in reproduce(*arms, *reuse).stderr


def test_an_interrupted_table_still_shows_what_is_done(folder: Path, commands: list[list[str]],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    assert reproduce("--arms", "kd", "--seeds", 1).exit_code == 0
    monkeypatch.setattr(running, "run_command", lambda words, output: running.INTERRUPTED)
    assert reproduce("--arms", "student,kd", "--seeds", 1).exit_code == 130  # in the student, which comes first
    rows = json.loads(Path("reproduce-digits/digits.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == ["teacher", "kd"]
