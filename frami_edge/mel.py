"""Triangular Mel filters as the common libraries make them."""

import torch
from torch import Tensor

from frami_edge._torchaudio import torchaudio
from frami_edge.dialect import MelSpec, hertz_to_mel


def mel_bands(spec: MelSpec, sample_rate: int) -> Tensor:
    """Mel filters, (bins, n_mels), float32; bins = n_fft // 2 + 1."""
    if spec.mel_scale == "kaldi":
        return _kaldi(spec, sample_rate).float()
    if spec.mel_scale == "speechbrain":
        return _speechbrain(spec, sample_rate).float()
    norm = None if spec.mel_norm == "none" else spec.mel_norm
    bands: Tensor = torchaudio.functional.melscale_fbanks(
        spec.n_fft // 2 + 1, spec.f_min, spec.f_max, spec.n_mels, sample_rate, norm=norm, mel_scale=spec.mel_scale
    )
    return bands


def _kaldi(spec: MelSpec, sample_rate: int) -> Tensor:
    """Triangles over the Mel axis, where ``htk`` has them over the frequency axis; TensorFlow's are the same."""
    edges = _edges(spec)
    bins = 1127 * (_bins(spec, sample_rate) / 700).log1p()
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp_min(0)


def _speechbrain(spec: MelSpec, sample_rate: int) -> Tensor:
    """Triangles over frequency that are symmetric, as wide on both sides as a band is to the left."""
    edges = _edges(spec)
    hertz = 700 * torch.expm1(edges / 1127)
    away = (_bins(spec, sample_rate)[:, None] - hertz[1:-1]) / (hertz[1:-1] - hertz[:-2])
    return (1 - away.abs()).clamp_min(0)


def _edges(spec: MelSpec) -> Tensor:
    """Of the filters, in HTK's Mel: where the first begins, then where each is highest, then where the last ends."""
    low, high = (hertz_to_mel(hertz, "htk") for hertz in (spec.f_min, spec.f_max))
    return torch.linspace(low, high, spec.n_mels + 2, dtype=torch.float64)


def _bins(spec: MelSpec, sample_rate: int) -> Tensor:
    """Frequency of each bin of the DFT, in Hz."""
    return torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64) * sample_rate / spec.n_fft
