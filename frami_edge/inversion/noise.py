"""The floor that other methods have to beat: samples that know nothing of the teacher's sounds."""

import math

import torch
from torch import Tensor

from frami_edge.compute import Compute
from frami_edge.inversion import batch_norm
from frami_edge.inversion.bank import Bank, Samples
from frami_edge.inversion.sources import usual_levels
from frami_edge.inversion.synthesizer import Synthesized, Synthesizer, Told, nobody
from frami_edge.networks.base import Network
from frami_edge.recipe import Inversion
from frami_edge.teacher.taps import Teacher


class NoiseSynthesizer(Synthesizer):
    """Log-Mels of noise at the level that the teacher's normalisation expects, labelled by the teacher.

    A third each of white noise, of noise with a 1/f spectrum over time and bands, and of bands that rise and fall
    independently with 1/f along time.
    """

    def __init__(self, teacher: Teacher, settings: Inversion, compute: Compute) -> None:
        super().__init__(teacher, settings, compute)
        self.target = batch_norm.targets(teacher)

    @torch.no_grad()
    def synthesize(self, student: Network | None, bank: Bank, told: Told = nobody, until: float = math.inf
                   ) -> Synthesized:
        spec, device = self.card.frontend, self.compute.device
        centre, spread = usual_levels(self.card)
        noise = noise_fields(self.settings.batch_size, spec.n_mels, self.card.frames).to(device)
        log_mel = (centre + spread * noise).clamp(spec.log_floor, spec.log_ceiling)
        log_mel = self.prepared(log_mel, self.lengths(torch.rand(len(log_mel), 1, device=device)))
        x = self.normalise(log_mel)
        with self.compute.autocast(), batch_norm.recording(self.teacher) as statistics:
            labels = self.teacher(x).argmax(1)
        losses = {"bn": float(batch_norm.bn_loss(statistics, self.target))}
        told(1, losses)
        return Synthesized(Samples(log_mel.cpu(), labels.cpu(), self.embed(x).cpu()), losses)


def noise_fields(batch: int, n_mels: int, frames: int) -> Tensor:
    """Noise of three kinds in turn, each sample of mean 0 and variance 1: (batch, n_mels, frames)."""
    white = torch.randn(batch, n_mels, frames)
    along_time = torch.fft.rfftfreq(frames).clamp_min(1 / frames)
    along_bands = torch.fft.fftfreq(n_mels).abs()
    both = (along_time.square() + along_bands.unsqueeze(1).square()).sqrt()
    pink = torch.fft.irfft2(torch.fft.rfft2(white) / both, s=(n_mels, frames))
    bands = torch.fft.irfft(torch.fft.rfft(white) / along_time, n=frames)
    kind = (torch.arange(batch) % 3).view(batch, 1, 1)
    field = torch.where(kind == 0, white, torch.where(kind == 1, pink, bands))
    variance, mean = torch.var_mean(field, dim=(1, 2), keepdim=True, correction=0)
    return (field - mean) / (variance + 1e-12).sqrt()
