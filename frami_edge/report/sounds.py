"""Log-Mels made audible. Nothing is learned from these sounds: they show a person what the samples are like."""

import io

import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor

from frami_edge._torchaudio import torchaudio
from frami_edge.dialect import MelSpec
from frami_edge.frontend import analysis_window
from frami_edge.mel import mel_bands

ITERATIONS = 32  # of Griffin and Lim; more change little that can be heard
PEAK = 0.9  # of full scale, of each sound: a level is not to be heard from them
LEAST_OVERLAP = 1e-3  # of the squared windows, over the largest: below it the inverse STFT divides by next to nothing


def overlaps(spec: MelSpec) -> bool:
    """Whether neighbouring frames overlap, without which there is no way back to a waveform."""
    squared = analysis_window(spec).square()
    summed = F.pad(squared, (0, -len(squared) % spec.hop_length)).view(-1, spec.hop_length).sum(0)
    return bool(summed.min() > LEAST_OVERLAP * squared.max())


def magnitudes(log_mel: Tensor, spec: MelSpec, sample_rate: int) -> Tensor:
    """Spectrum (batch, bins, frames) to the card's ``power`` of log-Mels (batch, n_mels, frames).

    The logarithm is undone, and each frame's bands are spread over the bins by least squares (the solution of least
    norm; what is negative of it becomes 0). Pre-emphasis is undone bin by bin.
    """
    mel = ((log_mel.double() + spec.log_shift) / spec.log_scale).exp() - spec.log_offset
    bands = mel_bands(spec, sample_rate).double()
    spectrum = (torch.linalg.pinv(bands.T) @ mel.clamp_min(0)).clamp_min(0) / spec.log_gain
    bins = torch.linspace(0, torch.pi, len(bands), dtype=torch.float64)
    response = (1 - spec.preemphasis * torch.polar(torch.ones_like(bins), -bins)).abs()
    return spectrum / response.clamp_min(1e-3).pow(spec.power).unsqueeze(1)


def waveforms(log_mel: Tensor, spec: MelSpec, sample_rate: int) -> Tensor:
    """Sounds (batch, samples) whose log-Mels are about these (batch, n_mels, frames), before normalisation.

    The phase, which a log-Mel does not keep, is found by iteration (Griffin and Lim 1984, with the momentum of
    Perraudin et al. 2013). Of each sound the largest magnitude is :data:`PEAK`, and silence stays silence. The same
    log-Mels give the same sounds. Of no use where not :func:`overlaps`.
    """
    spectrum = magnitudes(log_mel, spec, sample_rate)
    # Griffin and Lim's result scales with its input; in float32 an extreme input_scale would not fit
    spectrum = (spectrum / spectrum.amax((1, 2), keepdim=True).clamp_min(1e-30)).float()
    # half a window is mirrored at the ends, so there has to be more than that: what is too short goes on in silence
    frames = max(spectrum.shape[2], spec.n_fft // 2 // spec.hop_length + 2)
    spectrum = F.pad(spectrum, (0, frames - spectrum.shape[2]))
    samples = spec.hop_length * (frames - 1) + spec.n_fft % 2  # as many as give so many frames again
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        waves: Tensor = torchaudio.functional.griffinlim(
            spectrum, (analysis_window(spec) / spec.input_scale).float(), spec.n_fft, spec.hop_length, spec.win_length,
            spec.power, ITERATIONS, momentum=0.99, length=samples, rand_init=True)
    waves = waves[:, : spec.hop_length * max(1, log_mel.shape[2] - 1)]
    loudest = waves.abs().amax(1, keepdim=True)
    return PEAK * waves / torch.where(loudest > 0, loudest, torch.ones_like(loudest))


def as_wav(wave: Tensor, sample_rate: int) -> bytes:
    """A WAV file, 16 bits, of one sound (samples,): what every browser plays."""
    written = io.BytesIO()
    soundfile.write(written, wave.numpy(), sample_rate, format="WAV", subtype="PCM_16")
    return written.getvalue()
