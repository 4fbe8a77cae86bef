"""How long the clips within the samples are, where a vendor padded them: learnt from the teacher like all the rest."""

import math

import torch
from torch import Tensor, nn

SHORTEST, LONGEST = 0.2, 0.95  # of the prepared length, to start from


class ClipLengths(nn.Module):
    """Lengths drawn uniformly from [shortest, longest], both learnt.

    How much of its training clips was silence is in every BatchNorm statistic and in the normalisation, so the losses
    know where to move them: padding is differentiable in the lengths (:func:`frami_edge.inversion.views.prepare`).

    Args:
        frames: of a sample.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.low = nn.Parameter(torch.tensor(_logit(SHORTEST)))
        self.high = nn.Parameter(torch.tensor(_logit((LONGEST - SHORTEST) / (1 - SHORTEST))))

    def forward(self, uniform: Tensor) -> Tensor:
        """Numbers in [0, 1] (batch, 1) -> lengths in frames (batch, 1)."""
        shortest, longest = self.limits()
        return self.frames * (shortest + (longest - shortest) * uniform)

    def limits(self) -> tuple[Tensor, Tensor]:
        """Shortest and longest clip, as shares of a sample, 0 < shortest < longest < 1."""
        shortest = self.low.sigmoid()
        return shortest, shortest + (1 - shortest) * self.high.sigmoid()


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
