"""Synthetic sounds of many kinds, to see what a front-end can produce: noises, bursts, chirps, clicks, speech-like.

Not recordings, and not meant to be like those a teacher was trained on: together they span the levels, the spectra and
the envelopes that recordings have, so that some mixture of them has about the statistics of any.
"""

from typing import Any

import numpy as np

from frami_edge.card import TeacherCard
from frami_edge.runtime.clips import prepare

Array = np.ndarray[Any, np.dtype[Any]]

SEED = 2303
GAINS = (0.5, 0.1, 0.02, 0.004)  # of the loudest sample: -6, -20, -34 and -48 dB
LENGTHS = (1.0, 0.6, 0.3)  # of a clip, where the preparation pads; elsewhere all are whole clips
BACKGROUND = (-5.0, -1.3)  # powers of ten: the noise behind a sound, as a part of its level
HIGHEST = (0.4, 0.95)  # of half the rate: where a band-limited recording ends, such as one of another rate
BEYOND = (-5.0, -2.0)  # powers of ten: what is left of the amplitude there
FORMANTS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240))  # Hz, of a, i, u (Peterson and Barney 1952)


def sounds(card: TeacherCard, seconds: float | None = None) -> Array:
    """Clips prepared as the card says, (sounds, samples), float32 in [-1, 1]; the same ones each time.

    Args:
        seconds: of the clips, where not the card's.
    """
    table = card.clip.model_dump() | ({"seconds": seconds} if seconds else {})
    samples, rate = round(table["seconds"] * card.clip.sample_rate), card.clip.sample_rate
    random = np.random.default_rng(SEED)
    clips = []
    for length in (LENGTHS if table["preparation"] != "crop" else [1.0] * len(LENGTHS)):
        for make in MAKERS:
            wave = make(max(1, round(length * samples)), rate, random)
            for gain in GAINS:
                quiet = gain * wave / max(float(np.abs(wave).max()), 1e-9)
                background = 10 ** random.uniform(*BACKGROUND) * gain * random.standard_normal(len(wave))
                whole = quiet + background
                clips += [prepare(each.astype(np.float32), table)[:samples]
                          for each in (whole, band_limited(whole, random))]
    return np.stack(clips)


def band_limited(wave: Array, random: np.random.Generator) -> Array:
    """As recordings are that were compressed, or made at a lower rate: next to nothing in the highest bands."""
    spectrum = np.fft.rfft(wave)
    end = round(random.uniform(*HIGHEST) * len(spectrum))
    spectrum[end:] *= 10 ** random.uniform(*BEYOND)
    return np.fft.irfft(spectrum, len(wave))


def noise(samples: int, rate: int, random: np.random.Generator, slope: float = 0.0) -> Array:
    """Gaussian, its power falling by ``slope`` dB for each octave above 100 Hz."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / rate), 100.0) / 100.0)
    return np.fft.irfft(spectrum * 10 ** (-slope * octaves / 20), samples)


def pink(samples: int, rate: int, random: np.random.Generator) -> Array:
    return noise(samples, rate, random, 3.0)


def brown(samples: int, rate: int, random: np.random.Generator) -> Array:
    return noise(samples, rate, random, 6.0)


def steep(samples: int, rate: int, random: np.random.Generator) -> Array:
    return noise(samples, rate, random, 12.0)


def bursts(samples: int, rate: int, random: np.random.Generator) -> Array:
    """Coloured noise that starts at random moments and dies away."""
    time, envelope = np.arange(samples) / rate, np.zeros(samples)
    for start in random.uniform(0, time[-1], 3):
        after = np.maximum(time - start, 0)
        envelope += (time >= start) * np.exp(-after / random.uniform(0.02, 0.15))
    return envelope * pink(samples, rate, random)


def clicks(samples: int, rate: int, random: np.random.Generator) -> Array:
    wave = np.zeros(samples)
    wave[random.integers(0, samples, 6)] = random.uniform(0.3, 1.0, 6)
    return wave


def chirp(samples: int, rate: int, random: np.random.Generator) -> Array:
    """From 80 Hz to 40 % of the rate, the frequency growing by a constant factor."""
    frequency = 80 * (0.4 * rate / 80) ** (np.arange(samples) / samples)
    return np.sin(2 * np.pi * np.cumsum(frequency) / rate)


def tones(samples: int, rate: int, random: np.random.Generator) -> Array:
    """Decaying notes with harmonics."""
    time, wave = np.arange(samples) / rate, np.zeros(samples)
    for start in np.linspace(0, time[-1], 4, endpoint=False):
        pitch, after = random.uniform(150, 900), np.maximum(time - start, 0)
        for harmonic in range(1, 5):
            if harmonic * pitch < rate / 2:
                wave += (time >= start) * np.exp(-6 * after) / harmonic * np.sin(2 * np.pi * harmonic * pitch * after)
    return wave


def speech(samples: int, rate: int, random: np.random.Generator) -> Array:
    """Harmonics of a gliding pitch under formants, in syllables of vowel and hiss."""
    time = np.arange(samples) / rate
    pitch = random.uniform(90, 220) * (1 + 0.15 * np.sin(2 * np.pi * random.uniform(1, 3) * time))
    phase, wave = 2 * np.pi * np.cumsum(pitch) / rate, np.zeros(samples)
    formants = np.array(FORMANTS[random.integers(len(FORMANTS))])
    for harmonic in range(1, 40):
        frequency = harmonic * float(pitch.mean())
        if frequency < 0.45 * rate:
            gain = float((1 / (1 + ((frequency - formants) / 120) ** 2)).sum()) / harmonic**0.5
            wave += gain * np.sin(harmonic * phase)
    syllables = np.maximum(np.sin(2 * np.pi * random.uniform(2, 5) * time + random.uniform(0, 6)), 0)
    hiss = np.maximum(-np.sin(2 * np.pi * random.uniform(2, 4) * time), 0) * noise(samples, rate, random, -3.0)
    return wave / max(float(np.abs(wave).max()), 1e-9) * syllables + 0.05 * hiss / max(float(np.abs(hiss).max()), 1e-9)


MAKERS = (noise, pink, brown, steep, bursts, clicks, chirp, tones, speech)
