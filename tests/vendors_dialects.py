"""The cards of vendors in the documentation, and what they are named after: the vendor's own code, or its
documentation in numpy, in float64."""

import math
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from frami_edge._torchaudio import torchaudio
from frami_edge.card import MelSpec

PAGE = (Path(__file__).parents[1] / "docs" / "teachers.md").read_text(encoding="utf-8")
BLOCKS = PAGE.split("## Front-ends of vendors")[1].split("\n## ")[0].split("```toml")[1:]
NAMES = ("librosa", "torchaudio", "mfcc", "kaldi", "ast", "speechbrain", "panns", "yamnet")
CARDS = {name: MelSpec.model_validate(tomllib.loads(block.split("```")[0])["frontend"])
         for name, block in zip(NAMES, BLOCKS, strict=True)}
VENDOR_RATES = {"librosa": 22050, "panns": 32000}  # the others: 16000
Oracle = Callable[[torch.Tensor, int], torch.Tensor]  # (samples,) float64, Hz -> (rows, frames)


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def speech_like(samples: int, rate: int) -> torch.Tensor:
    """Harmonics of a gliding pitch in syllables, over noise at -60 dB and an offset."""
    seconds = torch.arange(samples, dtype=torch.float64) / rate
    phase = 2 * torch.pi * (120 * seconds + 4 * torch.sin(5 * seconds))
    voiced = sum(torch.sin(harmonic * phase) / harmonic for harmonic in range(1, 25))
    syllables = torch.sin(4 * torch.pi * seconds).clamp_min(0)
    return (0.2 * syllables * voiced + 0.01).float() + 0.01 * noise(samples)


def of_librosa(wave: torch.Tensor, rate: int) -> torch.Tensor:
    librosa = pytest.importorskip("librosa")
    return torch.from_numpy(librosa.power_to_db(librosa.feature.melspectrogram(y=wave.numpy(), sr=rate), ref=np.max))


def of_torchaudio(wave: torch.Tensor, rate: int) -> torch.Tensor:
    return torchaudio.transforms.AmplitudeToDB()(torchaudio.transforms.MelSpectrogram(rate).double()(wave))


def of_mfcc(wave: torch.Tensor, rate: int) -> torch.Tensor:
    return torchaudio.transforms.MFCC(rate).double()(wave)


def of_kaldi(wave: torch.Tensor, rate: int) -> torch.Tensor:
    from torchaudio.compliance.kaldi import fbank

    found = fbank(wave[None] * 32768, sample_frequency=rate, num_mel_bins=80, dither=0.0).T
    return found - found.mean(1, keepdim=True)


def of_ast(wave: torch.Tensor, rate: int) -> torch.Tensor:
    from torchaudio.compliance.kaldi import fbank

    found = fbank(wave[None], sample_frequency=rate, window_type="hanning", num_mel_bins=128, dither=0.0).T
    return (found + 4.2677393) / (2 * 4.5689974)


def of_speechbrain(wave: torch.Tensor, rate: int) -> torch.Tensor:
    """Its documentation in numpy: filters with equal slopes, decibels of at most 80 below the peak."""
    spectrum = torch.stft(wave, 400, 160, 400, torch.hamming_window(400, dtype=torch.float64), center=True,
                          pad_mode="constant", return_complex=True).abs().square()
    edges = 700 * (10 ** (np.linspace(0, 2595 * math.log10(1 + 8000 / 700), 82) / 2595) - 1)
    widths, frequencies = np.diff(edges)[:-1], np.linspace(0, rate // 2, 201)
    filters = np.stack([np.interp(frequencies, [centre - width, centre, centre + width], [0, 1, 0])
                        for centre, width in zip(edges[1:-1], widths, strict=True)])
    decibels = 10 * (torch.from_numpy(filters) @ spectrum).clamp_min(1e-10).log10()
    decibels = decibels.maximum(decibels.max() - 80)
    return (decibels - decibels.mean(1, keepdim=True)) / decibels.std(1, keepdim=True).clamp_min(1e-10)


def of_panns(wave: torch.Tensor, rate: int) -> torch.Tensor:
    librosa = pytest.importorskip("librosa")
    power = np.abs(librosa.stft(wave.numpy(), n_fft=1024, hop_length=320, pad_mode="reflect")) ** 2
    mel = librosa.filters.mel(sr=rate, n_fft=1024, n_mels=64, fmin=50, fmax=14000, dtype=np.float64) @ power
    return torch.from_numpy(librosa.power_to_db(mel, top_db=None))


def of_yamnet(wave: torch.Tensor, rate: int) -> torch.Tensor:
    """tf.signal's documentation in numpy: frames from the first sample on, triangles over the Mel axis."""
    frames = np.lib.stride_tricks.sliding_window_view(wave.numpy(), 400)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    magnitude = np.abs(np.fft.rfft(frames * window, 512))

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hertz) / 700)

    edges, bins = np.linspace(mel(125.0), mel(7500.0), 66), mel(np.arange(257) * rate / 512)
    filters = np.stack([np.interp(bins, edges[band : band + 3], [0, 1, 0]) for band in range(64)])
    return torch.from_numpy(np.log(filters @ magnitude.T + 0.001))


ORACLES: dict[str, Oracle] = {name: globals()[f"of_{name}"] for name in NAMES}
