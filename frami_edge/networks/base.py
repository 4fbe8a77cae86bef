"""What every network here has in common: features over time, statistics pooling, a linear classifier."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from frami_edge.pooling import StatisticsPooling


class Hidden(NamedTuple):
    """What the distillation and inversion losses look at."""

    logits: Tensor  # (batch, classes)
    frames: Tensor  # (batch, features, time'), before pooling
    pooled: Tensor  # (batch, 2 * features), after pooling
    stages: list[Tensor]  # outputs of the stem and of each stage, (batch, channels, mels', time')


class MelAverage(nn.Module):
    """The mean over Mel bands, (batch, channels, mels, time) -> (batch, channels, 1, time)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2, keepdim=True)


class Network(nn.Module):
    """A classifier of normalised log-Mels of any length.

    Args:
        stages: convolutional stages, the stem first; the last one ends in its activation.
        channels: channels that the last stage gives.
        reduction: how many times fewer Mel bands the last stage gives than it was given.
        classes: number of classes.
        n_mels: number of Mel bands.
    """

    name = ""
    code_sha256 = ""  # of the file that builds it, where that is the user's

    def __init__(self, stages: list[nn.Module], channels: int, reduction: int, classes: int, n_mels: int) -> None:
        super().__init__()
        self.classes, self.n_mels = classes, n_mels
        self.stages = nn.ModuleList(stages)
        self.pool = StatisticsPooling()
        self.features = channels * -(-n_mels // reduction)  # strided convolutions round up
        self.classifier = nn.Linear(2 * self.features, classes)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, n_mels, frames) or (batch, 1, n_mels, frames) -> logits (batch, classes)."""
        return self.forward_hidden(log_mel).logits

    def forward_hidden(self, log_mel: Tensor) -> Hidden:
        """The logits with the hidden states they came from."""
        x = log_mel if log_mel.dim() == 4 else log_mel.unsqueeze(1)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        frames = x.flatten(1, 2)  # (batch, channels * mels', time')
        if frames.dtype in (torch.bfloat16, torch.float16):
            frames = frames.float()  # statistics are taken in float32, or in float64 where the network is
        pooled = self.pool(frames)
        return Hidden(self._classify(pooled), frames, pooled, outputs)

    def _classify(self, pooled: Tensor) -> Tensor:
        device = pooled.device.type
        if not torch.is_autocast_enabled(device):
            return self.classifier(pooled)
        with torch.autocast(device, enabled=False):  # 8 bits of mantissa are too few for logits
            return self.classifier(pooled)


def initialise(network: nn.Module) -> None:
    """He initialisation for convolutions that a ReLU follows (He et al. 2015, arXiv:1502.01852)."""
    for module in network.modules():
        # on the device "meta" there is nothing to draw, and the first call that would imports sympy for seconds
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
