"""A classification that is learned in seconds: log-Mels of noise in which one third of the bands is louder."""

import torch

from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.networks.base import Network
from frami_edge.recordings import Recordings

CARD = TeacherCard(labels=("low", "middle", "high"), time_dependent=False, clip=Clip(seconds=0.2),
                   frontend=MelSpec(n_mels=12, normalisation=Normalisation(kind="global", mean=-8.0, std=3.0)))


def bands(clips: int = 96, frames: int = 25, seed: int = 0) -> Recordings:
    """Log-Mels of noise in which one third of the bands is louder; the class is which third."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % 3
    log_mel = -10 + torch.randn(clips, frames, 12, generator=generator)
    for clip, label in enumerate(labels):
        log_mel[clip, :, 4 * label : 4 * label + 4] += 3
    lengths = torch.full((clips,), frames)
    return Recordings(log_mel.flatten(0, 1), lengths.cumsum(0) - lengths, lengths, labels)


@torch.no_grad()
def accuracy(network: Network, seed: int = 1, permuted: bool = False) -> float:
    """On fresh clips; a guess has a third. ``permuted``: of naming the next class instead."""
    fresh = bands(seed=seed)
    log_mel = (fresh.frames.unflatten(0, (-1, 25)).transpose(1, 2) + 8) / 3
    labels = (fresh.labels + 1) % 3 if permuted else fresh.labels
    return float((network(log_mel).argmax(1) == labels).float().mean())
