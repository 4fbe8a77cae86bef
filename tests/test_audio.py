"""Reading recordings: what comes out is one channel at the rate asked for, or an error that names the file."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from frami_edge import audio
from frami_edge.audio import batches_of_equal_length, read, read_clip
from frami_edge.errors import EXIT_CANNOT_RUN, FramiError


def sine(sample_rate: int, hertz: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)


@pytest.mark.parametrize(("name", "format_", "subtype", "tolerance"), [
    ("a.wav", "WAV", "PCM_16", 1e-4),
    ("a.wav", "WAV", "FLOAT", 1e-6),
    ("a.flac", "FLAC", "PCM_24", 1e-6),
    ("a.ogg", "OGG", "VORBIS", 0.05),
    ("a.mp3", "MP3", "MPEG_LAYER_III", 0.05),
    ("no-suffix", "AIFF", "PCM_16", 1e-4),
])
def test_formats_give_the_same_samples(tmp_path: Path, name: str, format_: str, subtype: str, tolerance: float) -> None:
    wave = sine(16000)
    soundfile.write(tmp_path / name, wave, 16000, format=format_, subtype=subtype)
    heard = read(tmp_path / name, 16000)
    assert heard.dtype == np.float32
    assert heard.shape == wave.shape
    assert np.abs(heard - wave)[500:-500].max() < tolerance


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000])
def test_other_sample_rates_are_resampled(tmp_path: Path, sample_rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", sine(sample_rate), sample_rate, subtype="FLOAT")
    heard = read(tmp_path / "a.wav", 16000)
    assert len(heard) == 8000
    assert np.abs(heard - sine(16000))[200:-200].max() < 2e-3


@pytest.mark.parametrize("sample_rate", [1, 2_000_000_000])
def test_a_sample_rate_that_cannot_be_is_told_with_the_file(tmp_path: Path, sample_rate: int) -> None:
    soundfile.write(tmp_path / "odd.wav", sine(16000), sample_rate)
    for heard in (lambda: read(tmp_path / "odd.wav", 16000),
                  lambda: read_clip(tmp_path / "odd.wav", {"sample_rate": 16000, "seconds": 1, "preparation": "loop"})):
        with pytest.raises(FramiError, match=r"odd\.wav: Cannot resample from"):
            heard()


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sine(16000, 440), sine(16000, 1000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(read(tmp_path / "a.wav", 16000), (left + right) / 2, atol=1e-6)


def write_wave(path: Path, samples: list[float]) -> Path:
    soundfile.write(path, np.array(samples, dtype=np.float32), 16000, subtype="FLOAT")
    return path


def test_bad_recordings_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not audio at all, whatever its name says")
    bad = {
        tmp_path / "missing.wav": "does not exist",
        tmp_path: "is a folder",
        tmp_path / "empty.wav": "empty file",
        tmp_path / "text.wav": "cannot be read as audio",
        write_wave(tmp_path / "silent.wav", []): "is empty",
        write_wave(tmp_path / "nan.wav", [0.0, float("nan")]): "NaN",
        write_wave(tmp_path / "loud.wav", [0.0, 20000.0]): "full scale is 1",
    }
    for path, problem in bad.items():
        with pytest.raises(FramiError, match=problem) as raised:
            read(path, 16000)
        assert str(path) in raised.value.problem
        assert raised.value.hint
        assert raised.value.exit_code == EXIT_CANNOT_RUN


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    """As one written to a pipe: its STREAMINFO has a total of 0 samples, which means unknown."""
    wave = sine(16000, seconds=20.0)
    soundfile.write(tmp_path / "a.flac", wave, 16000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # the lower 36 bits of bytes 18 to 25
    content[22:26] = bytes(4)
    (tmp_path / "unknown.flac").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "unknown.flac", 16000), read(tmp_path / "a.flac", 16000))
    for preparation in ("crop", "end-pad"):
        clip = {"sample_rate": 16000, "seconds": 1.0, "preparation": preparation, "level": "none"}
        np.testing.assert_array_equal(read_clip(tmp_path / "unknown.flac", clip), read_clip(tmp_path / "a.flac", clip))


def test_truncated_recording_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", sine(16000), 16000)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "b.flac").write_bytes(content[:20])
    with pytest.raises(FramiError, match=r"b\.flac cannot be read as audio"):
        read(tmp_path / "b.flac", 16000)


@given(lengths=st.lists(st.integers(1, 4), max_size=40), batch_size=st.integers(1, 7))
def test_batches_of_equal_length_cover_every_clip_once(lengths: list[int], batch_size: int) -> None:
    batches = list(batches_of_equal_length([np.zeros(length) for length in lengths], batch_size))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len({lengths[index] for index in batch}) == 1
    # no two batches that could have been one
    short = [lengths[batch[0]] for batch in batches if len(batch) < batch_size]
    assert len(short) == len(set(short))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_is_a_name(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    soundfile.write(tmp_path / "plain.wav", np.zeros(100), 8000)
    (tmp_path / "plain.wav").rename(path)
    assert len(read(path, 8000)) == 100


def test_of_long_clips_fewer_go_through_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "BATCH_SAMPLES", 10)
    waves = [np.zeros(length) for length in (3, 3, 3, 3, 3, 30, 30)]
    assert list(batches_of_equal_length(waves, 4)) == [[0, 1, 2], [3, 4], [5], [6]]
