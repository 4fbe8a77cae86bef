"""The Mel front-end as a module that computes what torchaudio computes, and exports to plain convolutions.

The DFT is a convolution with the window folded in, power and Mel bands are one matrix product. In ONNX Runtime this is
13-15 times faster than the STFT operator at a window of 400 samples, and closer to a float64 reference.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge._torchaudio import torchaudio
from frami_edge.card import MelSpec, TeacherCard

SILENT_PEAK = 1e-8  # below this a clip counts as silent and is not amplified


def dft_basis(spec: MelSpec) -> Tensor:
    """Windowed cosines, then sines: (2 * bins, 1, win_length), float64; bins = n_fft // 2 + 1.

    A window shorter than ``n_fft`` lies in its middle; only its support is kept, which gives the same spectrum
    with fewer taps.
    """
    offset = (spec.n_fft - spec.win_length) // 2
    taps = torch.arange(spec.win_length, dtype=torch.float64) + offset
    bins = torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64)
    # the product is reduced modulo n_fft before the cosine: exact for any size
    phase = 2 * math.pi / spec.n_fft * torch.remainder(bins[:, None] * taps, spec.n_fft)
    window = torch.hann_window(spec.win_length, periodic=True, dtype=torch.float64)
    return (torch.cat([phase.cos(), -phase.sin()]) * window).unsqueeze(1)


def mel_bands(spec: MelSpec, sample_rate: int) -> Tensor:
    """Triangular Mel filters, (bins, n_mels), float32."""
    norm = None if spec.mel_norm == "none" else spec.mel_norm
    return torchaudio.functional.melscale_fbanks(
        spec.n_fft // 2 + 1, spec.f_min, spec.f_max, spec.n_mels, sample_rate, norm=norm, mel_scale=spec.mel_scale
    )


class MelFrontend(nn.Module):
    """Waveform (batch, samples) in [-1, 1] -> normalised log-Mel (batch, n_mels, frames).

    Args:
        spec: the Mel dialect.
        sample_rate: of the waveform, in Hz.
        level: ``"peak"`` divides each clip by its maximum first, ``"none"`` does not.

    Clips shorter than a window are filled with zeros to one window, so every length from 0 on works.
    """

    basis: Tensor
    bands: Tensor

    def __init__(self, spec: MelSpec, sample_rate: int, level: str = "none") -> None:
        super().__init__()
        self.spec, self.sample_rate, self.level = spec, sample_rate, level
        bands = mel_bands(spec, sample_rate)
        if spec.power == 2.0:
            bands = torch.cat([bands, bands])  # Mel of re^2 + im^2 in one product
        self.register_buffer("basis", dft_basis(spec).float(), persistent=False)
        self.register_buffer("bands", bands.T.float().contiguous(), persistent=False)  # (n_mels, rows of the spectrum)
        offset = (spec.n_fft - spec.win_length) // 2
        around = spec.n_fft // 2 if spec.center else 0
        self.pad_left = around - offset
        self.pad_right = around - (spec.n_fft - spec.win_length - offset)
        # reflection needs more samples than it pads; center=False needs a whole n_fft
        self.shortest = max(spec.win_length, spec.n_fft // 2 + 1 if spec.center else spec.n_fft)

    @classmethod
    def from_card(cls, card: TeacherCard) -> "MelFrontend":
        return cls(card.frontend, card.clip.sample_rate, card.clip.level)

    def forward(self, wave: Tensor) -> Tensor:
        """Normalised log-Mel (batch, n_mels, frames) of (batch, samples)."""
        return self.normalise(self.log_mel(wave))

    def log_mel(self, wave: Tensor) -> Tensor:
        """Log-Mel (batch, n_mels, frames) of (batch, samples), before normalisation."""
        spec = self.spec
        if self.level == "peak":
            wave = peak_level(wave)
        wave = F.pad(wave, (0, torch.sym_max(self.shortest - wave.shape[1], 0)))
        wave = self._pad_around(wave).unsqueeze(1)
        spectrum = F.conv1d(wave, self.basis, stride=spec.hop_length)  # (batch, 2 * bins, frames)
        if spec.frames:
            spectrum = spectrum[:, :, : spec.frames]
        mel = torch.matmul(self.bands, self._power(spectrum))
        return spec.log_scale * torch.log(mel + spec.log_offset)

    def normalise(self, log_mel: Tensor) -> Tensor:
        """The teacher's normalisation, any shape."""
        normalisation = self.spec.normalisation
        if normalisation.kind == "none":
            return log_mel
        return (log_mel - normalisation.mean) / normalisation.std

    def _pad_around(self, wave: Tensor) -> Tensor:
        if not self.spec.center:
            # the window does not reach the borders of n_fft: leave out what it never sees
            return wave[:, -self.pad_left : wave.shape[1] + self.pad_right]
        mode = "reflect" if self.spec.pad_mode == "reflect" else "constant"
        return F.pad(wave.unsqueeze(1), (self.pad_left, self.pad_right), mode=mode).squeeze(1)

    def _power(self, spectrum: Tensor) -> Tensor:
        squared = spectrum.square()
        if self.spec.power == 2.0:
            return squared
        real, imaginary = squared.chunk(2, dim=1)
        return (real + imaginary).pow(self.spec.power / 2)


def peak_level(wave: Tensor) -> Tensor:
    """Each clip of (batch, samples) divided by its largest magnitude; silence stays silence."""
    # one zero in front: the maximum of an empty clip is defined, and no other maximum changes
    peak = F.pad(wave, (1, 0)).abs().amax(1, keepdim=True)
    return wave / torch.where(peak > SILENT_PEAK, peak, torch.ones_like(peak))
