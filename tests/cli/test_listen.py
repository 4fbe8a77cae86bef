"""`frami-edge listen`: files, raw samples and a microphone, which is played by a module that has its signature."""

import io
import json
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from typer.testing import CliRunner, Result

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, TeacherCard
from frami_edge.cli import console
from frami_edge.cli.main import app
from frami_edge.exporters.onnx import export_onnx
from frami_edge.runtime import Classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listen")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.build("wrn16", 4).eval()
        network.classifier.weight.data *= 100
    card = TeacherCard(labels=("rain", "dog", "saw", "sea"), time_dependent=False,
                       clip=Clip(seconds=0.5, preparation="center-pad"))
    checkpoints.save(folder / "student.pt", network, card, {})
    return export_onnx(folder / "student.pt", folder / "student.onnx").model


@pytest.fixture
def wave() -> np.ndarray:
    """2 s at 16 kHz: what no two windows share."""
    time = np.arange(32000) / 16000
    return (0.5 * np.sin(2 * np.pi * (100 + 1500 * time) * time)).astype(np.float32)


def listen(*words: object, given: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["listen", *map(str, words)], input=given)


def lines(done: Result) -> list[dict]:
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_file_is_heard_as_the_classifier_hears_it(model: Path, wave: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    heard = lines(listen(model, tmp_path / "a.wav", "--json", "--smooth", "none", "--top", 4))
    expected = list(Classifier(model).windows(wave, 16000, 0.5, 0.25))
    assert [line["begin"] for line in heard] == [one.begin for one in expected] == [k / 4 for k in range(7)]
    for line, one in zip(heard, expected, strict=True):
        assert [(entry["label"], entry["probability"]) for entry in line["labels"]] == one.best(4)


def test_stereo_at_another_rate_is_the_same_sound(model: Path, wave: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([2 * wave, 0 * wave], axis=1), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", wave, 16000, subtype="FLOAT")
    assert listen(model, tmp_path / "a.wav").stdout == listen(model, tmp_path / "b.wav").stdout


@pytest.mark.parametrize(("name", "given"), [
    ("s16le", lambda wave: np.round(wave * 32768).astype("<i2")),
    ("s32le", lambda wave: np.round(wave.astype(float) * 2**31).astype("<i4")),
    ("f32le", lambda wave: wave.astype("<f4")),
])
def test_raw_samples_on_standard_input(model: Path, wave: np.ndarray, name: str, given) -> None:
    expected = list(Classifier(model).windows(wave, 16000))
    samples = np.repeat(given(wave), 2)  # two equal channels
    heard = lines(listen(model, "-", "--json", "--format", name, "--channels", 2, "--smooth", "none",
                         given=samples.tobytes()))
    assert len(heard) == len(expected)
    for line, one in zip(heard, expected, strict=True):
        assert line["labels"][0]["label"] == one.best(1)[0][0]
        assert line["labels"][0]["probability"] == pytest.approx(one.best(1)[0][1], abs=1e-2)


def test_eight_bits_are_centred(model: Path) -> None:
    silence = listen(model, "-", "--format", "u8", given=bytes([128]) * 16000)
    assert silence.stdout == listen(model, "-", given=bytes(32000)).stdout


def test_smoothing_is_over_the_windows(model: Path, wave: np.ndarray) -> None:
    given = np.round(wave * 32768).astype("<i2").tobytes()
    plain = lines(listen(model, "-", "--json", "--smooth", "none", "--top", 4, given=given))
    mean = lines(listen(model, "-", "--json", "--smooth", "mean", "--over", 0.5, "--top", 4, given=given))
    first, second = ({entry["label"]: entry["probability"] for entry in line["labels"]} for line in plain[:2])
    for entry in mean[1]["labels"]:
        assert entry["probability"] == pytest.approx((first[entry["label"]] + second[entry["label"]]) / 2)


@pytest.mark.parametrize(("words", "given", "code", "said"), [
    (("-",), b"", 3, "standard input is empty"),
    (("-",), b"RIFF\0\0\0\0WAVEfmt ", 3, "holds an audio file, not raw samples"),
    (("-",), b"ID3\4" + bytes(8000), 3, "holds an audio file, not raw samples"),
    (("-", "--format", "f32le"), np.full(8000, np.nan, "<f4").tobytes(), 3, "NaN or infinity"),
    (("-", "--format", "s24"), b"", 2, "no sample format 's24'"),
    (("-", "--window", "2"), b"", 2, "longer than the model's clips"),
    (("-", "--hop", "0"), b"", 2, "hop of 0 s"),
    (("-", "--smooth", "median"), b"", 2, "no smoothing 'median'"),
    (("-", "--over", "0"), b"", 2, "Cannot smooth over 0 s"),
    (("-", "--smooth", "mean", "--over", "1e30"), b"", 2, "Cannot smooth over 1e+30 s"),
    (("-", "--rate", "1"), b"", 3, "too far apart"),
    (("missing.wav",), b"", 3, "missing.wav does not exist"),
    (("missing.wav", "--rate", "8000"), b"", 2, "describe raw samples on standard input"),
    (("missing.wav", "--format", "u8"), b"", 2, "describe raw samples on standard input"),
    (("--channels", "2"), b"", 2, "describe raw samples on standard input"),
    (("-", "--device", "1"), b"", 2, "--device chooses a microphone"),
])
def test_exit_codes(model: Path, words: tuple[str, ...], given: bytes, code: int, said: str) -> None:
    done = listen(model, *words, given=given)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stdout == ""


def test_a_single_sample_is_one(model: Path) -> None:
    done = listen(model, "-", given=b"\x01\x02")
    assert "no whole sample" not in done.stderr and "is empty" not in done.stderr
    done = listen(model, "-", given=b"\x01\x02\x03")
    assert "The last 1 bytes are no whole sample" in done.stderr


def test_a_cut_sample_is_told(model: Path) -> None:
    done = listen(model, "-", given=bytes(16001))
    assert done.exit_code == 0
    assert "The last 1 bytes are no whole sample" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_a_terminal_shows_bars(model: Path, wave: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=80))
    done = listen(model, tmp_path / "a.wav", "--top", 2)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "━" in screen.getvalue()
    best = Classifier(model).labels
    assert sum(label in screen.getvalue() for label in best) >= 2


def test_ctrl_c_ends_it_well(model: Path) -> None:
    command = [sys.executable, "-m", "frami_edge", "listen", str(model), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(bytes(16000))
        process.stdin.flush()
        assert b"0.00 s" in process.stdout.readline()  # the first window is printed although more is to come
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.wait(timeout=20) == 0  # although its input goes on
        assert time.monotonic() - started < 10
        told = process.stderr.read().decode()
    assert told.endswith("Ended.\n")
    assert "Traceback" not in told


class PortAudioError(Exception):
    pass


class InputStream:
    """Plays a wave block by block as a microphone, then Ctrl-C."""

    wave = np.zeros(0, np.float32)
    lost = False

    def __init__(self, **options: object) -> None:
        if options["device"] == "broken":
            raise PortAudioError("no such device")
        self.options, self.position = options, 0

    def __enter__(self) -> "InputStream":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        if self.position >= len(self.wave):
            raise KeyboardInterrupt
        block = self.wave[self.position : self.position + frames]
        self.position += frames
        return block[:, None], self.lost


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch, wave: np.ndarray) -> type[InputStream]:
    def check_input_settings(samplerate: int, **_: object) -> None:
        if samplerate != 16000:
            raise PortAudioError("invalid sample rate")

    fake = types.SimpleNamespace(PortAudioError=PortAudioError, InputStream=InputStream,
                                 check_input_settings=check_input_settings,
                                 query_devices=lambda name, kind: {"default_samplerate": 48000.0})
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(InputStream, "wave", wave)
    return InputStream


def test_a_microphone_until_ctrl_c(model: Path, microphone, wave: np.ndarray) -> None:
    heard = lines(listen(model, "--json", "--smooth", "none"))
    expected = list(Classifier(model).windows(wave, 16000))
    assert [line["labels"][0]["probability"] for line in heard] == [one.best(1)[0][1] for one in expected]


def test_a_microphone_at_its_own_rate(model: Path, microphone) -> None:
    done = listen(model, "--rate", 44100)
    assert done.exit_code == 0
    assert "the microphone: 48000 Hz" in done.stderr


def test_lost_sound_is_told_once(model: Path, microphone, monkeypatch) -> None:
    monkeypatch.setattr(microphone, "lost", True)
    assert listen(model).stderr.count("Sound was lost") == 1


def test_a_microphone_that_does_not_open(model: Path, microphone) -> None:
    done = listen(model, "--device", "broken")
    assert done.exit_code == 3
    assert "no such device" in done.stderr and "python -m sounddevice" in done.stderr


def test_without_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = listen(model)
    assert done.exit_code == 3
    assert "frami-edge[listen]" in done.stderr
