"""Where `frami-edge listen` hears: a file, raw samples from another program, a microphone. Each gives blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from frami_edge import audio
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.runtime.errors import nearest

Array = np.ndarray[Any, np.dtype[Any]]

# little-endian, as ffmpeg -f and sox -t call them: type of a sample, and what full scale and zero are in it
FORMATS = {"s16le": ("<i2", 2**15, 0), "s32le": ("<i4", 2**31, 0), "f32le": ("<f4", 1, 0), "u8": ("u1", 2**7, 2**7)}
AUDIO_FILES = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"ID3", b"caff", b".snd")  # how they begin
READ_BYTES = 1 << 14
MICROPHONE_SECONDS = 0.1  # of a block


@dataclass(frozen=True)
class Source:
    """A sound that arrives in blocks: float (samples,) with full scale 1, one channel."""

    name: str  # as an error calls it
    sample_rate: int  # Hz
    blocks: Iterator[Array]
    live: bool  # has no end of its own
    lost: list[str]  # what the source could not deliver, in words; grows while it is read


def from_file(path: Path) -> Source:
    """A recording, read as fast as it is heard."""
    rate, _ = audio.header(path)
    return Source(str(path), rate, audio.blocks(path), False, [])


def from_stdin(stream: BinaryIO, sample_rate: int, format_name: str, channels: int) -> Source:
    """Raw samples, interleaved; a sample that the end of the stream cut off is told in ``lost``."""
    if format_name not in FORMATS:
        raise FramiError(f"There is no sample format '{format_name}'.", nearest(format_name, list(FORMATS)),
                         exit_code=EXIT_USAGE)
    lost: list[str] = []
    return Source("standard input", sample_rate, _raw_blocks(stream, format_name, channels, lost), True, lost)


def _raw_blocks(stream: BinaryIO, format_name: str, channels: int, lost: list[str]) -> Iterator[Array]:
    type_name, scale, zero = FORMATS[format_name]
    frame = np.dtype(type_name).itemsize * channels
    read = getattr(stream, "read1", stream.read)  # what is there, without waiting for more
    rest, started = b"", False

    def samples(content: bytes) -> Array:
        values = np.frombuffer(content, type_name).reshape(-1, channels)
        return audio.mixed_down((values.astype(np.float32) - zero) / np.float32(scale))

    while content := read(READ_BYTES):
        content = rest + content
        if not started and len(content) < 4:  # a pipe may deliver byte by byte
            rest = content
            continue
        if not started and content.startswith(AUDIO_FILES):
            raise FramiError("Standard input holds an audio file, not raw samples.",
                             "Give the file's name, or decode it: ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | "
                             "frami-edge listen student.onnx - --rate 16000")
        started = True
        whole = len(content) // frame * frame
        rest = content[whole:]
        yield samples(content[:whole])
    if not started and (whole := len(rest) // frame * frame):  # the stream was shorter than a file's first letters
        yield samples(rest[:whole])
        rest = rest[whole:]
    if rest:
        lost.append(f"The last {len(rest)} bytes are no whole sample: do --format {format_name} and the number of "
                    "channels fit?")


def from_microphone(sample_rate: int, device: str | None) -> Source:
    """The microphone, through PortAudio.

    Args:
        sample_rate: wanted; a device that cannot is asked for its own.
        device: number or part of its name; None for the system's choice.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise FramiError("The microphone needs the package sounddevice, which is not installed here.",
                         "pip install 'frami-edge[listen]', or pipe samples in: arecord -t raw -f S16_LE "
                         "-r 16000 | frami-edge listen student.onnx - --rate 16000") from error
    except OSError as error:  # its wheel for Linux brings no PortAudio
        raise FramiError(f"The microphone needs PortAudio: {error}.",
                         "On Debian: apt install libportaudio2.") from error
    name: int | str | None = int(device) if device is not None and device.isdigit() else device
    try:
        try:
            sounddevice.check_input_settings(device=name, channels=1, dtype="float32", samplerate=sample_rate)
        except sounddevice.PortAudioError:
            sample_rate = round(sounddevice.query_devices(name, "input")["default_samplerate"])
        stream = sounddevice.InputStream(device=name, channels=1, dtype="float32", samplerate=sample_rate)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise FramiError(f"Cannot open the microphone: {error}.",
                         "'python -m sounddevice' lists the devices; choose one with --device.") from error
    lost: list[str] = []
    return Source("the microphone", sample_rate, _microphone_blocks(stream, sample_rate, lost), True, lost)


def _microphone_blocks(stream: Any, sample_rate: int, lost: list[str]) -> Iterator[Array]:
    with stream:
        while True:
            samples, overflowed = stream.read(max(1, round(MICROPHONE_SECONDS * sample_rate)))
            if overflowed:
                lost.append("Sound was lost: the model is slower than the microphone. Give a longer --hop.")
            yield samples[:, 0].copy()  # the buffer is used again
