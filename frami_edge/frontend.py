"""The Mel front-end as a module that computes what torchaudio computes, and exports to plain convolutions.

The DFT is a convolution with the window folded in, power and Mel bands are one matrix product. In ONNX Runtime this is
13-15 times faster than the STFT operator at a window of 400 samples, and closer to a float64 reference.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.card import MelSpec, TeacherCard
from frami_edge.features import Features
from frami_edge.mel import mel_bands

SILENT_PEAK = 1e-8  # below this a clip counts as silent and is not amplified


def analysis_window(spec: MelSpec) -> Tensor:
    """The window, (win_length,), float64, ``input_scale`` included."""
    if spec.window == "povey":  # Kaldi's own
        window = torch.hann_window(spec.win_length, periodic=spec.window_periodic, dtype=torch.float64).pow(0.85)
    else:
        make = {"hann": torch.hann_window, "hamming": torch.hamming_window, "blackman": torch.blackman_window}
        # the symmetric one of a single sample is 1, and torch's blackman rounds its ends to below zero
        window = make[spec.window](spec.win_length, periodic=spec.window_periodic, dtype=torch.float64).clamp_min(0)
    return spec.input_scale * window


def dft_basis(spec: MelSpec) -> Tensor:
    """Windowed cosines, then sines: (2 * bins, 1, win_length), float64; bins = n_fft // 2 + 1.

    A window shorter than ``n_fft`` lies in its middle; only its support is kept, which gives the same spectrum
    with fewer taps. What the card does to each frame before the window is linear, and folded in.
    """
    offset = (spec.n_fft - spec.win_length) // 2
    taps = torch.arange(spec.win_length, dtype=torch.float64) + offset
    bins = torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64)
    # the product is reduced modulo n_fft before the cosine: exact for any size
    phase = 2 * math.pi / spec.n_fft * torch.remainder(bins[:, None] * taps, spec.n_fft)
    basis = torch.cat([phase.cos(), -phase.sin()]) * analysis_window(spec)
    if changes_frames(spec):
        basis = basis @ frame_map(spec)
    return basis.unsqueeze(1)


def changes_frames(spec: MelSpec) -> bool:
    """Whether frames are changed one by one before the window."""
    return spec.remove_dc or (spec.preemphasis > 0 and spec.preemphasis_of == "frame")


def frame_map(spec: MelSpec) -> Tensor:
    """What is done to a frame before the window, as a matrix (win_length, win_length), float64.

    As in Kaldi, the mean is subtracted first; then x[t] - a x[t - 1], where x[-1] is x[0].
    """
    size = spec.win_length
    identity = torch.eye(size, dtype=torch.float64)
    centring = identity - 1 / size if spec.remove_dc else identity
    if spec.preemphasis_of != "frame":
        return centring
    previous = identity[[0, *range(size - 1)]]
    return (identity - spec.preemphasis * previous) @ centring


class MelFrontend(nn.Module):
    """Waveform (batch, samples) in [-1, 1] -> what the network hears (batch, rows, frames).

    Args:
        spec: the Mel dialect.
        sample_rate: of the waveform, in Hz.
        level: ``"peak"`` divides each clip by its maximum first, ``"none"`` does not.

    Clips shorter than a window are filled with zeros to one window, so every length from 0 on works.
    """

    basis: Tensor
    bands: Tensor
    log_offset: Tensor

    def __init__(self, spec: MelSpec, sample_rate: int, level: str = "none") -> None:
        super().__init__()
        self.spec, self.sample_rate, self.level = spec, sample_rate, level
        self.features = Features(spec)
        bands = spec.log_gain * mel_bands(spec, sample_rate)
        if spec.power == 2.0:
            bands = torch.cat([bands, bands])  # Mel of re^2 + im^2 in one product
        self.register_buffer("basis", dft_basis(spec).float(), persistent=False)
        self.register_buffer("bands", bands.T.float().contiguous(), persistent=False)  # (n_mels, rows of the spectrum)
        # a number for each band: the exporter's optimiser drops the addition of a single one below 1e-8
        self.register_buffer("log_offset", torch.full((spec.n_mels, 1), spec.log_offset), persistent=False)
        offset = (spec.n_fft - spec.win_length) // 2
        around = spec.n_fft // 2 if spec.center else 0
        self.pad_left, self.pad_right = around - offset, around - (spec.n_fft - spec.win_length - offset)
        if spec.frame_length == "win_length":
            self.pad_left = self.pad_right = 0
        # reflection needs more samples than it pads; center=False needs a whole frame
        self.shortest = max(spec.win_length, spec.n_fft // 2 + 1 if spec.center else spec.frame_samples)

    @classmethod
    def from_card(cls, card: TeacherCard) -> "MelFrontend":
        """The front-end of a card. Of cropped sounds ``frames`` are those of a crop: longer clips are heard whole."""
        whole = card.clip.preparation == "crop"
        spec = card.frontend.model_copy(update={"frames": 0}) if whole else card.frontend
        return cls(spec, card.clip.sample_rate, card.clip.level)

    def forward(self, wave: Tensor) -> Tensor:
        """What the network hears (batch, rows, frames) of (batch, samples)."""
        return self.features(self.log_mel(wave))

    def log_mel(self, wave: Tensor) -> Tensor:
        """Log-Mel (batch, n_mels, frames) of (batch, samples), before what :class:`Features` does."""
        spec = self.spec
        mel = torch.matmul(self.bands, self._power(self._spectrum(wave)))
        guarded = torch.maximum(mel, self.log_offset) if spec.log_offset_by == "clamping" else mel + self.log_offset
        log_mel = spec.log_scale * torch.log(guarded)
        return log_mel - spec.log_shift if spec.log_shift else log_mel

    def _spectrum(self, wave: Tensor) -> Tensor:
        """Real parts, then imaginary parts of each frame's DFT, (batch, 2 * bins, frames)."""
        if self.level == "peak":
            wave = peak_level(wave)
        wave = F.pad(wave, (0, torch.sym_max(self.shortest - wave.shape[1], 0)))
        if self.spec.preemphasis and self.spec.preemphasis_of == "wave":
            wave = wave - self.spec.preemphasis * F.pad(wave[:, :-1], (1, 0))
        wave = self._pad_around(wave)
        if self.spec.remove_dc:
            # each frame loses its mean anyway; without what all share, float32 loses less
            wave = wave - wave.mean(1, keepdim=True)
        spectrum = F.conv1d(wave.unsqueeze(1), self.basis, stride=self.spec.hop_length)
        return spectrum[:, :, : self.spec.frames] if self.spec.frames else spectrum

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
