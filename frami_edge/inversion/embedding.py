"""The embedding in which samples are contrasted: statistics of the teacher's stages, then a small head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.inversion.batch_norm import sample_statistics


def stage_statistics(stages: list[Tensor]) -> Tensor:
    """Per-sample mean and standard deviation of each stage's channels: stages (batch, channels, ...) -> (batch, d).

    d is twice the number of channels of all stages, a few hundred; taking every BatchNorm instead, as CMI does, would
    ask for a head larger than the teacher.
    """
    parts = []
    for stage in stages:
        mean, variance = sample_statistics(stage)
        parts += [mean, (variance + 1e-5).sqrt()]
    return torch.cat(parts, dim=1)


class Head(nn.Module):
    """h: stage statistics (batch, d) -> unit vectors (batch, 128)."""

    def __init__(self, inputs: int, hidden: int = 256, outputs: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, statistics: Tensor) -> Tensor:
        return F.normalize(self.layers(statistics), dim=1)
