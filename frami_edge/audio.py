"""Recordings from files: any format and sample rate that libsndfile reads, mixed down and resampled. No torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from frami_edge.errors import FramiError
from frami_edge.runtime.clips import check_wave
from frami_edge.runtime.resample import resample

Array = np.ndarray[Any, np.dtype[Any]]

SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"}
)


def read(path: Path, sample_rate: int) -> Array:
    """One channel of a recording, float32 (samples,) with full scale 1, at ``sample_rate`` Hz.

    Channels are averaged; another sample rate is resampled.

    Raises:
        FramiError: the file is missing, is no audio that libsndfile reads, is empty, or holds NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a recording" if path.is_dir() else "does not exist"
        raise FramiError(f"{path} {what}.", "Give audio files, such as clip.wav.")
    if path.stat().st_size == 0:
        raise FramiError(f"{path} is an empty file (0 bytes).", "Copy it again from where it was recorded.")
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        reason = str(error).split(": ")[-1].strip().rstrip(".")
        raise FramiError(f"{path} cannot be read as audio: {reason}.",
                         "WAV, FLAC, Ogg, MP3 and AIFF are read; convert other formats first.") from error
    wave = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    return resample(check_wave(wave, str(path)), rate, sample_rate)


def batches_of_equal_length(waves: Sequence[Array], batch_size: int) -> Iterator[list[int]]:
    """Indices of ``waves`` in batches that can be stacked: each of one length, at most ``batch_size`` clips."""
    same: dict[int, list[int]] = {}
    for index, wave in enumerate(waves):
        same.setdefault(len(wave), []).append(index)
    for indices in same.values():
        yield from (indices[first : first + batch_size] for first in range(0, len(indices), batch_size))
