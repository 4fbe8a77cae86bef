"""Residual networks on one channel (He et al. 2016, arXiv:1512.03385), basic blocks, 64 to 512 channels.

The stem keeps the resolution (3 x 3, stride 1, no max-pooling), as usual for inputs of 32 to 64 rows; stages two to
four halve Mel bands and time.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.networks.base import Network
from frami_edge.networks.registry import register


class BasicBlock(nn.Module):
    """(batch, inputs, mels, time) -> (batch, outputs, mels / stride, time / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


def resnet(blocks: tuple[int, int, int, int], classes: int, n_mels: int) -> Network:
    """ResNet with basic blocks; ``blocks`` of them in each stage."""
    inputs = 64
    stages: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(1, inputs, 3, padding=1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU())
    ]
    for index, (count, outputs) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
        stage: list[nn.Module] = []
        for block in range(count):
            stage.append(BasicBlock(inputs, outputs, stride=2 if index and not block else 1))
            inputs = outputs
        stages.append(nn.Sequential(*stage))
    return Network(stages, inputs, reduction=8, classes=classes, n_mels=n_mels)


@register("res18", summary="ResNet-18, the paper's large student")
def res18(classes: int, n_mels: int) -> Network:
    return resnet((2, 2, 2, 2), classes, n_mels)


@register("res34", summary="ResNet-34, the paper's large teacher")
def res34(classes: int, n_mels: int) -> Network:
    return resnet((3, 4, 6, 3), classes, n_mels)
