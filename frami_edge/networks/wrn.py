"""Wide residual networks on one channel (Zagoruyko and Komodakis 2016, arXiv:1605.07146).

Pre-activation blocks as in He et al. 2016 (arXiv:1603.05027). WRN-d-k has (d - 4) / 6 blocks in each of three stages
of 16k, 32k and 64k channels; the second and third stage halve Mel bands and time.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.networks.base import Network
from frami_edge.networks.registry import register


class PreActivationBlock(nn.Module):
    """(batch, inputs, mels, time) -> (batch, outputs, mels / stride, time / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        residual = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return residual + (x if self.shortcut is None else self.shortcut(active))


def wide_resnet(depth: int, width: int, classes: int, n_mels: int) -> Network:
    """WRN-depth-width; depth is 6n + 4."""
    blocks, inputs = (depth - 4) // 6, 16
    stages: list[nn.Module] = [nn.Conv2d(1, inputs, 3, padding=1, bias=False)]
    for index, outputs in enumerate((16 * width, 32 * width, 64 * width)):
        stage: list[nn.Module] = []
        for block in range(blocks):
            stage.append(PreActivationBlock(inputs, outputs, stride=2 if index and not block else 1))
            inputs = outputs
        stages.append(nn.Sequential(*stage))
    stages[-1] = nn.Sequential(*stages[-1].children(), nn.BatchNorm2d(inputs), nn.ReLU())
    return Network(stages, inputs, reduction=4, classes=classes, n_mels=n_mels)


@register("wrn16", summary="WRN-16-1, the paper's small student")
def wrn16(classes: int, n_mels: int) -> Network:
    return wide_resnet(16, 1, classes, n_mels)


@register("wrn16x2", summary="WRN-16-2, a small teacher or a larger student")
def wrn16x2(classes: int, n_mels: int) -> Network:
    return wide_resnet(16, 2, classes, n_mels)


@register("wrn40", summary="WRN-40-2, the paper's small teacher")
def wrn40(classes: int, n_mels: int) -> Network:
    return wide_resnet(40, 2, classes, n_mels)
