"""BC-ResNet: broadcasted residual learning for keyword spotting (Kim et al. 2021, arXiv:2106.04140).

Most of each block works on one row, the mean over the Mel bands, along time; its result is broadcast back over the
bands. Depthwise convolutions along frequency are followed by sub-spectral normalisation (Chang et al. 2021,
arXiv:2103.13620). Time is never strided, only dilated, so each frame keeps its place.

In the paper BC-ResNet-1, 2, 3 and 8 have 9.2 k, 27.3 k, 54.2 k and 321 k parameters (12 classes, 40 Mel bands). So they
do here, and 32 * width * classes more, because the classifier also sees the deviation over time. The paper gives 3.6 M
and 89.1 M multiply-accumulates for the smallest and the largest; convolutions and linear layers, which is what is
counted here, are 2.5 M and 86 M of them.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.networks.base import MelAverage, Network
from frami_edge.networks.registry import register

SUB_BANDS = 5  # of sub-spectral normalisation, as in the paper
DROPOUT = 0.1  # of whole channels, as in the paper


class SubSpectralNorm(nn.Module):
    """BatchNorm with its own statistics for each of up to five groups of neighbouring bands.

    (batch, channels, mels, time) -> the same. Where the bands do not divide by five, the next smaller number of groups
    that divides them is taken; with 40 bands it is five throughout.
    """

    def __init__(self, channels: int, mels: int) -> None:
        super().__init__()
        self.groups = max(count for count in range(1, SUB_BANDS + 1) if mels % count == 0)
        self.shape = channels, self.groups, mels // self.groups
        self.bn = nn.BatchNorm2d(channels * self.groups)

    def forward(self, x: Tensor) -> Tensor:
        channels, groups, bands = self.shape
        apart = x.unflatten(2, (groups, bands)).flatten(1, 2)  # (batch, channels * groups, bands, time)
        return self.bn(apart).unflatten(1, (channels, groups)).flatten(2, 3)


class BroadcastedBlock(nn.Module):
    """(batch, inputs, mels, time) -> (batch, outputs, mels / stride, time); Eq. 2 of the paper, y = x + f2 + BC(f1).

    A block that changes the number of channels (a transition) has no identity, and a 1 x 1 convolution first.
    """

    def __init__(self, inputs: int, outputs: int, mels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.transition = inputs != outputs
        self.enter: nn.Module = nn.Identity()
        if self.transition:
            self.enter = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
        self.along_mels = nn.Conv2d(outputs, outputs, (3, 1), (stride, 1), padding=(1, 0), groups=outputs, bias=False)
        self.norm = SubSpectralNorm(outputs, -(-mels // stride))
        self.along_time = nn.Sequential(
            nn.Conv2d(outputs, outputs, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=outputs,
                      bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.Dropout2d(DROPOUT),
        )

    def forward(self, x: Tensor) -> Tensor:
        two_dimensional = self.norm(self.along_mels(self.enter(x)))  # f2
        temporal = self.along_time(two_dimensional.mean(2, keepdim=True))  # f1, (batch, outputs, 1, time)
        y = two_dimensional + temporal
        return F.relu(y if self.transition else y + x)


def bcresnet(width: int, classes: int, n_mels: int) -> Network:
    """BC-ResNet-width: stages of 8, 12, 16 and 20 channels times ``width``, dilated 1, 2, 4 and 8."""
    inputs, mels = 16 * width, -(-n_mels // 2)
    stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(1, inputs, 5, (2, 1), padding=2, bias=False),
                                             nn.BatchNorm2d(inputs), nn.ReLU())]
    for index, (channels, blocks, stride) in enumerate(((8, 2, 1), (12, 2, 2), (16, 4, 2), (20, 4, 1))):
        stage: list[nn.Module] = []
        for block in range(blocks):
            first = stride if block == 0 else 1
            stage.append(BroadcastedBlock(inputs, channels * width, mels, first, dilation=2**index))
            inputs, mels = channels * width, -(-mels // first)
        stages.append(nn.Sequential(*stage))
    outputs, rows = 32 * width, min(5, mels)  # the 5 x 5 kernel ends the bands: no padding along frequency
    stages.append(nn.Sequential(
        nn.Conv2d(inputs, inputs, (rows, 5), padding=(0, 2), groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), MelAverage(),
    ))
    return Network(stages, outputs, reduction=n_mels, classes=classes, n_mels=n_mels)


@register("bcresnet1", summary="BC-ResNet-1, for microcontrollers")
def bcresnet1(classes: int, n_mels: int) -> Network:
    return bcresnet(1, classes, n_mels)


@register("bcresnet2", summary="BC-ResNet-2")
def bcresnet2(classes: int, n_mels: int) -> Network:
    return bcresnet(2, classes, n_mels)


@register("bcresnet3", summary="BC-ResNet-3")
def bcresnet3(classes: int, n_mels: int) -> Network:
    return bcresnet(3, classes, n_mels)


@register("bcresnet8", summary="BC-ResNet-8, few operations for its accuracy")
def bcresnet8(classes: int, n_mels: int) -> Network:
    return bcresnet(8, classes, n_mels)
