"""Views of log-Mels: clip preparation, augmentations and chunks. All on (batch, n_mels, frames)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from frami_edge.recipe import Views


def prepare(log_mel: Tensor, preparation: str, floor: float, lengths: Tensor) -> Tensor:
    """Give samples the clip preparation that the teacher's training clips had.

    How a vendor brings clips to length shapes every BatchNorm statistic, and is known without data. Outside the clip
    lies silence, ``floor`` exactly.

    Args:
        log_mel: before normalisation.
        preparation: as on the card: center-pad, end-pad, loop, or crop (which leaves samples as they are).
        floor: the log-Mel of silence.
        lengths: of the clips within the samples, in frames, (batch, 1). Where padded, fractions count: a frame that
            a clip fills in part lies as far above the floor, so that the result is differentiable in the lengths.
    """
    if preparation == "crop":
        return log_mel
    batch, n_mels, frames = log_mel.shape
    time = torch.arange(frames, device=log_mel.device)
    if preparation == "loop":
        index = (time % lengths.detach().round().clamp_min(1).long()).unsqueeze(1).expand(batch, n_mels, frames)
        return log_mel.gather(2, index)
    start = (frames - lengths) / 2 if preparation == "center-pad" else torch.zeros_like(lengths)
    # the share of frame t, which reaches from t to t + 1, that lies between start and start + length
    filled = (torch.minimum(time + 1.0, start + lengths) - torch.maximum(time.float(), start)).clamp(0, 1)
    return floor + filled.unsqueeze(1) * (log_mel - floor)


def roll(log_mel: Tensor) -> Tensor:
    """Roll each sample by a random number of frames: the same sound for time-independent classes."""
    batch, n_mels, frames = log_mel.shape
    shift = torch.randint(frames, (batch, 1), device=log_mel.device)
    index = (torch.arange(frames, device=log_mel.device) + shift) % frames
    return log_mel.gather(2, index.unsqueeze(1).expand(batch, n_mels, frames))


def shift(log_mel: Tensor, furthest: int, floor: Tensor | float) -> Tensor:
    """Move each sample by up to ``furthest`` frames either way; what comes in is silence."""
    batch, n_mels, frames = log_mel.shape
    by = torch.randint(-furthest, furthest + 1, (batch, 1), device=log_mel.device)
    source = torch.arange(frames, device=log_mel.device) - by
    moved = log_mel.gather(2, source.clamp(0, frames - 1).unsqueeze(1).expand(batch, n_mels, frames))
    return torch.where(((source < 0) | (source >= frames)).unsqueeze(1), floor, moved)


def cut(log_mel: Tensor, shortest: float) -> Tensor:
    """A random part of each sample, [shortest, 1] of its length, the same length for the whole batch."""
    batch, n_mels, frames = log_mel.shape
    length = int(torch.randint(max(1, round(shortest * frames)), frames + 1, ()))
    start = torch.randint(frames - length + 1, (batch, 1), device=log_mel.device)
    index = start + torch.arange(length, device=log_mel.device)
    return log_mel.gather(2, index.unsqueeze(1).expand(batch, n_mels, length))


def warp(log_mel: Tensor, bands: float, frames: float) -> Tensor:
    """Stretch each sample along both axes, by factors of at most 1 + ``bands`` and 1 + ``frames`` either way.

    Along the Mel axis from the lowest band, as a longer or shorter vocal tract would (VTLP, Jaitly and Hinton 2013),
    along time from the middle, as slower or faster speech (Ko et al. 2015). Linearly interpolated; what is missing at
    the ends continues the last value.
    """
    furthest = torch.tensor([frames, bands], device=log_mel.device).log1p()
    along_time, along_bands = ((2 * torch.rand(len(log_mel), 2, device=log_mel.device) - 1) * furthest).exp().T
    # output position -> input position, both in [-1, 1]: x * factor along time, (y + 1) * factor - 1 along the bands
    affine = log_mel.new_zeros(len(log_mel), 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, 1, 2] = along_time, along_bands, along_bands - 1
    grid = F.affine_grid(affine, [len(log_mel), 1, *log_mel.shape[1:]], align_corners=True)
    return F.grid_sample(log_mel.unsqueeze(1), grid, padding_mode="border", align_corners=True).squeeze(1)


def splice(log_mel: Tensor, alike: int = 1) -> Tensor:
    """Each sample up to a random frame, then a random other one of the batch (CutMix, Yun et al. 2019, along time).

    Teachers say what they hear in it: it has no label. Each of the two keeps a quarter of the frames at least.
    ``alike`` views of each sample lie next to each other, and stay views of one sound.
    """
    batch, _, frames = log_mel.shape
    least = round(0.25 * frames)
    end = torch.randint(least, frames - least + 1, (batch // alike, 1, 1), device=log_mel.device)
    other = log_mel[_others(batch, alike, log_mel.device)]
    return torch.where(torch.arange(frames, device=log_mel.device) < end.repeat_interleave(alike, 0), log_mel, other)


def mix(log_mel: Tensor, alike: int = 1) -> Tensor:
    """Each sample mixed with a random other one of the batch, shares uniform in [0, 1] (mixup, Zhang et al. 2018).

    As :func:`splice` in all else.
    """
    share = torch.rand(len(log_mel) // alike, 1, 1, device=log_mel.device).repeat_interleave(alike, 0)
    return share * log_mel + (1 - share) * log_mel[_others(len(log_mel), alike, log_mel.device)]


def _others(batch: int, alike: int, device: torch.device) -> Tensor:
    """Which row goes with each row: of a random sample, the view at the same place; (batch,)."""
    return (torch.randperm(batch // alike, device=device).unsqueeze(1) * alike
            + torch.arange(alike, device=device)).flatten()


def mask(log_mel: Tensor, axis: int, widest: int, floor: Tensor | float) -> Tensor:
    """Silence a random run of at most ``widest`` Mel bands (axis 1) or frames (axis 2) of each sample (SpecAugment)."""
    length = log_mel.shape[axis]
    width = torch.randint(min(widest, length) + 1, (len(log_mel), 1), device=log_mel.device)
    start = (torch.rand(len(log_mel), 1, device=log_mel.device) * (length - width + 1)).long()
    position = torch.arange(length, device=log_mel.device)
    silent = (position >= start) & (position < start + width)
    return torch.where(silent.unsqueeze(3 - axis), floor, log_mel)


def local_view(log_mel: Tensor, time_dependent: bool, floor: Tensor | float) -> Tensor:
    """The view that the contrast pulls towards its sample: rolled (time-independent only), cut, masked, noisy.

    ``log_mel`` is normalised; so is ``floor``. Never along frequency: a sound shifted in pitch is another sound.
    """
    view = log_mel if time_dependent else roll(log_mel)
    view = cut(view, 0.8 if time_dependent else 0.5)
    return mask(view, 1, 4, floor) + 0.02 * torch.randn_like(view)


def training_view(log_mel: Tensor, time_dependent: bool, floor: Tensor | float, settings: Views) -> Tensor:
    """The view that the student is trained on; ``log_mel`` and ``floor`` are normalised."""
    if time_dependent:
        view = shift(log_mel, round(settings.shift * log_mel.shape[2]), floor)
    else:
        view = cut(roll(log_mel), settings.shortest)
    view = mask(view, 1, round(settings.mask_bands * view.shape[1]), floor)
    view = mask(view, 2, round(settings.mask_frames * view.shape[2]), floor)
    return view + settings.noise * torch.randn_like(view)


def chunks(log_mel: Tensor, count: int) -> Tensor:
    """``count`` equal chunks along time (Eq. 2) -> (count * batch, n_mels, frames // count), chunk by chunk.

    What does not divide is left out at a random end.
    """
    length = log_mel.shape[2] // count
    start = int(torch.randint(log_mel.shape[2] - count * length + 1, ()))
    return torch.cat(log_mel[:, :, start : start + count * length].split(length, dim=2))
