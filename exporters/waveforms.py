"""Test sounds for golden vectors: what breaks front-ends, and what resembles recordings.

All are multiples of 1 / 32768 (exact in int16 and in float32), the same in every export, neighbours of one length
side by side so that they are also run as a batch.
"""

from typing import Any

import numpy as np

from frami_edge.card import TeacherCard

Array = np.ndarray[Any, np.dtype[Any]]

INT16_MAX = 32767
SEED = 1706  # of the noises


def golden_waveforms(card: TeacherCard) -> dict[str, Array]:
    """Name -> waveform (samples,), float32 in [-1, 1], at the card's sample rate."""
    rate, window = card.clip.sample_rate, card.frontend.win_length
    random = np.random.default_rng(SEED)
    clip = card.clip.samples
    if clip > 2 * rate:  # many vectors of a long clip would fill megabytes
        clip = rate
    sounds = {
        "one sample": np.ones(1),
        "half a window of noise": 0.3 * random.standard_normal(window // 2),
        "a window less one of noise": 0.3 * random.standard_normal(window - 1),
        "a window of noise": 0.3 * random.standard_normal(window),
        "30 ms sine": sine(round(0.03 * rate), rate, 1000.0),
        "odd length noise": 0.1 * random.standard_normal(rate // 4 + 37),
        "silence": np.zeros(clip),
        "impulse": np.eye(1, clip, clip // 3)[0],
        "sine": sine(clip, rate, 440.0),
        "clipped sine": np.clip(4 * sine(clip, rate, 523.3), -1, 1),
        "offset": np.full(clip, 0.5),
        "white noise": 0.2 * random.standard_normal(clip),
        "quiet noise": 0.001 * random.standard_normal(clip),
        "chirp": chirp(clip, rate),
        "notes": notes(clip, rate, random),
        "2.37 s of notes in noise": notes(round(2.37 * rate) + 1, rate, random)
        + 0.01 * random.standard_normal(round(2.37 * rate) + 1),
        "5 s of notes": notes(5 * rate, rate, random),
        "10 s of notes": notes(10 * rate, rate, random),
    }
    return {name: as_int16(wave) / np.float32(INT16_MAX + 1) for name, wave in sounds.items()}


def as_int16(wave: Array) -> Array:
    return np.clip(np.round(wave * INT16_MAX), -INT16_MAX, INT16_MAX).astype(np.int16)


def sine(samples: int, rate: int, frequency: float, amplitude: float = 0.5) -> Array:
    return amplitude * np.sin(2 * np.pi * frequency / rate * np.arange(samples))


def chirp(samples: int, rate: int) -> Array:
    """From 50 Hz to 95 % of half the sample rate, the frequency growing by a constant factor."""
    begin, end = 50.0, 0.475 * rate
    growth = np.log(end / begin)
    position = np.arange(samples) / samples
    return 0.5 * np.sin(2 * np.pi * begin * samples / rate * np.expm1(growth * position) / growth)


def notes(samples: int, rate: int, random: np.random.Generator) -> Array:
    """Decaying harmonic tones, two a second, each of another pitch, with silence between them."""
    wave = np.zeros(samples)
    length = rate // 5
    seconds = np.arange(length) / rate
    envelope = np.minimum(seconds / 0.01, 1) * np.exp(-seconds / 0.04) * np.linspace(1, 0, length)
    for begin in range(rate // 20, samples - length, rate // 2):
        pitch = random.uniform(100, 500)
        for harmonic in range(1, 7):
            wave[begin : begin + length] += 0.4 / harmonic * envelope * np.sin(2 * np.pi * pitch * harmonic * seconds)
    return wave
