"""`frami-edge train` from the command line: a checkpoint that recognises what it was trained on, or a clear error."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from frami_edge import checkpoints, recipe
from frami_edge.cli.main import app
from frami_edge.training import Settings

PITCHES = {"high": 3000, "low": 300}


def make_tones(folder: Path, takes: int = 6) -> Path:
    """CLASS/SPEAKER/take.wav, 0.2 s at 8 kHz: sines in a little noise."""
    generator = np.random.default_rng(0)
    for label, hertz in PITCHES.items():
        for speaker in ("ann", "bob", "cy"):
            (folder / label / speaker).mkdir(parents=True)
            for take in range(takes):
                wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(1600) / 8000) + generator.normal(0, 0.03, 1600)
                soundfile.write(folder / label / speaker / f"{take}.wav", wave, 8000)
    return folder


@pytest.fixture
def tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_tones(tmp_path / "tones")


def train(*words: object) -> Result:
    short = ("--device", "cpu", "--precision", "float32", "--batch-size", "12")
    return CliRunner().invoke(app, ["train", *map(str, words), *short])


def test_a_teacher_then_a_student_that_imitates_it(tones: Path) -> None:
    done = train(tones, "--test", "cy", "--time-independent", "--seconds", "0.15", "--epochs", 12)
    assert done.exit_code == 0, done.output
    assert "24 clips of folders -> wrn16" in done.stderr
    assert "kept for the test: 12 clips (cy)" in done.stderr
    assert re.search(r"teacher\.pt after 12 epochs \(.* minutes; learned the labels\)", done.stdout)
    assert "Test: 12 of 12 right: 100.0 %" in done.stdout
    made = checkpoints.load(Path("teacher.pt"))
    assert made.card.labels == ("high", "low")
    assert (made.card.time_dependent, made.card.clip.seconds, made.card.clip.preparation) == (False, 0.15, "crop")
    assert made.card.frontend.normalisation.kind == "global"
    assert made.card.frontend.normalisation.mean == pytest.approx(-1.73, abs=0.05)
    assert made.provenance["recordings"] == {"dataset": "folders", "clips": 24, "groups": ["ann", "bob"],
                                             "test_groups": ["cy"]}
    assert made.provenance["teacher_sha256"] is None
    assert str(tones.parent) not in str(made.provenance)

    done = train(tones, "--test", "cy", "--teacher", "teacher.pt", "--epochs", 30, "--lr", 0.02, "--hard-weight", 0.1)
    assert done.exit_code == 0, done.output
    assert "student.pt after 30 epochs" in done.stdout
    assert "imitated the teacher at T = 4, weight of the labels 0.1" in done.stdout
    student = checkpoints.load(Path("student.pt"))
    assert student.card == made.card
    assert student.provenance["teacher_sha256"] == made.sha256
    assert student.provenance["settings"]["temperature"] == 4
    assert "Test: 12 of 12" in done.stdout


def test_a_card_is_followed(tones: Path) -> None:
    Path("card.toml").write_text(
        'format = 1\nlabels = ["low", "middle", "high"]\ntime_dependent = true\n'
        '[clip]\nsample_rate = 8000\nseconds = 0.2\npreparation = "center-pad"\n'
        '[frontend]\nn_fft = 256\nwin_length = 200\nhop_length = 80\nf_max = 4000.0\nn_mels = 16\n'
        '[frontend.normalisation]\nkind = "global"\nmean = -7.0\nstd = 4.0\n')
    done = train(tones, "--card", "card.toml", "--epochs", 1, "--out", "new/tones.pt")
    assert done.exit_code == 0, done.output
    assert "kept for the test: none" in done.stderr
    assert "Test:" not in done.stdout
    made = checkpoints.load(Path("new/tones.pt"))
    assert made.card.labels == ("low", "middle", "high")
    assert made.card.frontend.normalisation.mean == -7.0
    assert (made.network.classes, made.network.n_mels) == (3, 16)


def test_a_recipe_says_how(tones: Path) -> None:
    Path("mine.toml").write_text('extends = "training"\n[training]\nlr = 0.02\nepochs = 7\n')
    done = train(tones, "--recipe", "mine.toml", "--set", "training.momentum=0.5", "--epochs", 2)
    assert done.exit_code == 0, done.output
    expected = {"epochs": 2, "batch_size": 12, "lr": 0.02, "muon_lr": 0.0, "momentum": 0.5, "weight_decay": 5e-4,
                "clip_norm": 1.0, "temperature": 4.0, "hard_weight": 0.0}
    assert checkpoints.load(Path("teacher.pt")).provenance["recipe"] == {"training": expected}
    assert recipe.load_training("teacher.recipe.toml").training.model_dump() == expected
    assert Settings() == Settings(**recipe.load_training("training").training.model_dump())
    for words, problem in ((["--recipe", "quick"], "is for 'frami-edge distill'"),
                           (["--set", "training.lrr=1"], "Did you mean 'lr'"),
                           (["--set", "training.lr=0"], "training.lr")):
        done = train(tones, "--out", "no.pt", *words)
        assert done.exit_code == 2 and problem in done.stderr


def test_nothing_is_overwritten_without_force(tones: Path) -> None:
    Path("teacher.pt").write_text("precious")
    done = train(tones, "--epochs", 1)
    assert done.exit_code == 2
    assert "teacher.pt exists already" in done.stderr
    assert Path("teacher.pt").read_text() == "precious"
    mine = Path("other.recipe.toml")
    mine.write_text('extends = "training"  # mine\n')
    done = train(tones, "--epochs", 1, "--out", "other.pt")
    assert done.exit_code == 2 and "other.recipe.toml exists already" in done.stderr
    done = train(tones, "--epochs", 1, "--out", "other.pt", "--recipe", mine, "--force")
    assert done.exit_code == 2 and "would be replaced" in done.stderr and "mine" in mine.read_text()
    assert train(tones, "--epochs", 1, "--force").exit_code == 0
    assert checkpoints.load(Path("teacher.pt")).network.classes == 2


def test_ctrl_c_writes_the_last_whole_epoch(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frami_edge.training import Training

    whole_epoch = Training._epoch

    def interrupted(self: Training, report: object) -> None:
        if self.epochs_done == 2:
            raise KeyboardInterrupt
        whole_epoch(self, report)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "_epoch", interrupted)
    done = train(tones, "--test", "cy", "--epochs", 5)
    assert done.exit_code == 130
    assert "teacher.pt after epoch 2 of 5" in done.stdout
    assert "Test:" not in done.stdout
    provenance = checkpoints.load(Path("teacher.pt")).provenance
    assert (provenance["interrupted"], provenance["epochs_done"]) == (True, 2)

    monkeypatch.setattr(Training, "_epoch", lambda self, report: (_ for _ in ()).throw(KeyboardInterrupt))
    done = train(tones, "--out", "none.pt")
    assert done.exit_code == 130
    assert not Path("none.pt").exists()


@pytest.mark.parametrize("words, exit_code, problem", [
    (["--network", "wrn15"], 2, "Did you mean 'wrn16'"),
    (["--test", "dan"], 2, "no group 'dan'"),
    (["--test", "ann", "--test", "bob", "--test", "cy"], 3, "no recordings to train on"),
    (["--dataset", "fsdd"], 3, "No labelled recordings"),
    (["--trust"], 2, "there is no --teacher"),
    (["--seconds", "4000"], 2, "Invalid value for '--seconds'"),
    (["--temperature", "3"], 2, "there is no --teacher"),
    (["--hard-weight", "0.5"], 2, "there is no --teacher"),
    (["--seed", "100000000000000000000"], 2, "Invalid value for '--seed'"),
    (["--card", "missing.toml"], 3, "no teacher card missing.toml"),
    (["--teacher", "missing.pt"], 3, "missing.pt"),
    (["--card", "missing.toml", "--seconds", "2"], 2, "The card says how long clips are"),
    (["--lr", "0"], 2, "lr is 0.0"),
])
def test_what_cannot_be_done_is_said(tones: Path, words: list[str], exit_code: int, problem: str) -> None:
    done = train(tones, *words)
    assert done.exit_code == exit_code, done.output
    assert problem in done.stderr
    assert not Path("teacher.pt").exists()


def test_a_broken_clip_is_named(tones: Path) -> None:
    (tones / "low" / "ann" / "3.wav").write_bytes(b"RIFF, and nothing more")
    done = train(tones)
    assert done.exit_code == 3
    assert "3.wav cannot be read as audio" in done.stderr
