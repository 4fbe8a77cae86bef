"""Statistics pooling: a sequence of any length becomes its mean and its standard deviation."""

import torch
from torch import Tensor, nn

VARIANCE_EPSILON = 1e-5  # inside the root: the gradient of sqrt at 0 is infinite


def pool_statistics(frames: Tensor) -> Tensor:
    """Mean and standard deviation over time, (batch, features, time) -> (batch, 2 * features).

    The variance is the biased one and centred: E[x^2] - E[x]^2 in float32 goes negative for features
    whose mean is large against their spread.
    """
    mean = frames.mean(-1)
    variance = (frames - mean.unsqueeze(-1)).square().mean(-1)
    return torch.cat([mean, (variance + VARIANCE_EPSILON).sqrt()], dim=1)


class StatisticsPooling(nn.Module):
    """:func:`pool_statistics` as a layer."""

    def forward(self, frames: Tensor) -> Tensor:
        return pool_statistics(frames)
