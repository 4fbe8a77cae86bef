"""`frami-edge predict`: any format and sample rate, and a bad file does not keep the others from being heard."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, TeacherCard
from frami_edge.cli.main import app
from frami_edge.exporters.onnx import export_onnx


@pytest.fixture
def student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    card = TeacherCard(labels=("rain", "dog", "saw", "sea"), time_dependent=False, clip=Clip(seconds=0.5))
    checkpoints.save(Path("student.pt"), networks.build("wrn16", 4).eval(), card, {})
    return Path("student.pt")


def write_sine(name: str, sample_rate: int, channels: int = 1) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 500 * np.arange(sample_rate) / sample_rate)
    soundfile.write(name, np.stack([wave] * channels, axis=1), sample_rate)


def predict(*words: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, words)])


def scores(line: str) -> dict[str, float]:
    return {entry["label"]: entry["probability"] for entry in json.loads(line)["labels"]}


def test_the_same_sound_in_any_format_gives_the_same_labels(student: Path) -> None:
    write_sine("a.wav", 16000)
    write_sine("b.flac", 44100, channels=2)
    write_sine("c.aiff", 48000)
    done = predict(student, "a.wav", "b.flac", "c.aiff", "--json", "--top", 9)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [json.loads(line)["file"] for line in lines] == ["a.wav", "b.flac", "c.aiff"]
    first = scores(lines[0])
    assert list(first.values()) == sorted(first.values(), reverse=True)
    assert sum(first.values()) == pytest.approx(1)
    for line in lines[1:]:
        assert scores(line) == pytest.approx(first, abs=0.02)


def test_text_names_the_likeliest(student: Path) -> None:
    write_sine("a.wav", 16000)
    best, share = next(iter(scores(predict(student, "a.wav", "--json").stdout).items()))
    assert predict(student, "a.wav", "--top", 1).stdout == f"a.wav: {best} {100 * share:.1f} %\n"


def test_bad_recordings_are_told_and_the_others_heard(student: Path) -> None:
    write_sine("a.wav", 16000)
    soundfile.write("nan.wav", np.array([0.1, np.nan]), 16000, subtype="FLOAT")
    soundfile.write("empty.wav", np.zeros(0), 16000)
    Path("text.wav").write_text("no sound")
    Path("x.raw").write_bytes(bytes(100))
    done = predict(student, "nan.wav", "empty.wav", "x.raw", "a" * 300 + ".wav", "a.wav", "text.wav")
    assert done.exit_code == 3
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["a.wav"]
    for problem in ("nan.wav holds NaN", "empty.wav is empty", "text.wav cannot be read as audio",
                    "x.raw cannot be read", "aaa.wav cannot be read"):
        assert problem in done.stderr


def test_files_that_are_not_there(student: Path) -> None:
    assert predict(student, "missing.wav").exit_code == 3
    done = predict("missing.onnx", "a.wav")
    assert done.exit_code == 3
    assert "missing.onnx" in done.stderr


def test_options_that_would_be_ignored_are_refused(student: Path) -> None:
    soundfile.write("a.wav", np.zeros(8000), 16000)
    done = predict(student, "a.wav", "--arch", "wrn40")
    assert done.exit_code == 2 and "says itself which network it holds" in done.stderr
    export_onnx(student, Path("student.onnx"))
    done = predict("student.onnx", "a.wav", "--card", "nowhere.toml")
    assert done.exit_code == 2 and "no PyTorch file" in done.stderr
