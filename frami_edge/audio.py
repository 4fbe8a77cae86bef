"""Recordings from files: any format and sample rate that libsndfile reads, mixed down and resampled. No torch."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from frami_edge.errors import FramiError
from frami_edge.runtime.clips import check_wave, kept_range, prepare, same_length
from frami_edge.runtime.resample import Resampler

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 1 << 18  # frames of a recording in memory at a time: 6 s at 44.1 kHz
BATCH_SAMPLES = 2**20  # of all clips that go through a network at once: a minute at 16 kHz
READ_AT_ONCE = 512, 2**25  # clips in memory at most, and samples, unless one clip alone has more
LONGEST = 2**48  # frames; 46 years at 192 kHz
SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"}
)


def read(path: Path, sample_rate: int) -> Array:
    """One channel of a recording, float32 (samples,) with full scale 1, at ``sample_rate`` Hz.

    Channels are averaged; another sample rate is resampled.

    Raises:
        FramiError: the file is missing, is no audio that libsndfile reads, is empty, or holds NaN or infinity.
    """
    rate, _ = header(path)
    # block by block: ten minutes at 44.1 kHz are 106 MB, of which 38 stay
    resampler = _resampler(path, rate, sample_rate)
    return np.concatenate([*map(resampler.feed, blocks(path)), resampler.flush()])


def _resampler(path: Path, rate: int, wanted: int) -> Resampler:
    try:
        return Resampler(rate, wanted)
    except FramiError as error:
        raise FramiError(f"{path}: {error.problem}", error.hint) from error


def read_clip(path: Path, clip: Mapping[str, Any]) -> Array:
    """A recording as a model takes it, float32 (samples,): what :func:`read` gives, brought to length.

    Only what the preparation keeps is held in memory and resampled; the whole recording is still read and checked.

    Args:
        clip: the card's ``[clip]`` table, as :func:`frami_edge.runtime.clips.prepare` takes it.
    """
    if not same_length(clip):
        return prepare(read(path, clip["sample_rate"]), clip)
    rate, samples = header(path)
    resampler = _resampler(path, rate, clip["sample_rate"])
    begin, end = kept_range(resampler.length(samples), clip)
    low, high = resampler.inputs(begin, end)
    kept, position = [], 0
    for block in blocks(path):
        part = block[max(0, low - position) : max(0, high - position)]
        if len(part):
            kept.append(part.copy())  # a view would hold on to the whole block
        position += len(block)
    if position != samples:  # the header of a stream without an end, or of a damaged file, is wrong about its length
        return prepare(read(path, clip["sample_rate"]), clip)
    return prepare(resampler.part(np.concatenate(kept), low, samples, begin, end), clip)


def header(path: Path) -> tuple[int, int]:
    """Sample rate in Hz, and number of samples of each channel, of a recording."""
    with _opened(path) as sound:
        return sound.samplerate, sound.frames


def blocks(path: Path) -> Iterator[Array]:
    """A recording in blocks, at its own sample rate: float32 (samples,), channels averaged, each checked.

    Raises:
        FramiError: as :func:`read`, some of it only when the iteration gets there.
    """
    with _opened(path) as sound:
        for first in itertools.count():
            try:
                channels = sound.read(BLOCK, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError) as error:
                raise _unreadable(path, error) from error
            if len(channels) == 0 and first > 0:
                return
            yield check_wave(mixed_down(channels), str(path))  # an empty recording is refused here


def mixed_down(channels: Array) -> Array:
    """(samples, channels) -> their mean, (samples,)."""
    mean: Array = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    return mean


def _opened(path: Path) -> Any:
    path = Path(path)
    try:
        if not path.is_file():
            what = "is a folder, not a recording" if path.is_dir() else "does not exist"
            raise FramiError(f"{path} {what}.", "Give audio files, such as clip.wav.")
        if path.stat().st_size == 0:
            raise FramiError(f"{path} is an empty file (0 bytes).", "Copy it again from where it was recorded.")
        # soundfile encodes a name itself, and refuses one that is not UTF-8
        sound = soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path)
        if sound.frames > LONGEST:  # a FLAC that was written to a pipe does not say how long it is
            sound.seekable = lambda: False  # soundfile seeks behind each block, which fails where that is the last one
        return sound
    # TypeError: a .raw file needs what only options could say; ValueError: a name that is no text
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FramiError:
    reason = str(error).split(": ")[-1].strip().rstrip(".")
    return FramiError(f"{path} cannot be read as audio: {reason}.",
                      "WAV, FLAC, Ogg, MP3 and AIFF are read; convert other formats first.")


def batches_of_equal_length(waves: Sequence[Array], batch_size: int) -> Iterator[list[int]]:
    """Indices of ``waves`` in batches that can be stacked: each of one length, at most ``batch_size`` clips.

    Of long clips fewer (:data:`BATCH_SAMPLES` in all, but one at least): a network's memory grows with both.
    """
    same: dict[int, list[int]] = {}
    for index, wave in enumerate(waves):
        same.setdefault(len(wave), []).append(index)
    for length, indices in same.items():
        size = min(batch_size, max(1, BATCH_SAMPLES // max(1, length)))
        yield from (indices[first : first + size] for first in range(0, len(indices), size))


def in_memory(waves: Iterable[Array]) -> Iterator[list[Array]]:
    """The waveforms in turn, as many at once as memory is for (:data:`READ_AT_ONCE`), and at least one."""
    held = list[Array]()
    for wave in waves:
        if held and (len(held) == READ_AT_ONCE[0] or sum(map(len, held)) + len(wave) > READ_AT_ONCE[1]):
            yield held
            held = []
        held.append(wave)
    if held:
        yield held
