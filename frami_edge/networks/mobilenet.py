"""MobileNetV3-Large on one channel (Howard et al. 2019, arXiv:1905.02244) with a width multiplier.

mn10 is width 1.0, mn05 width 0.5, as EfficientAT names them (Schmid et al. 2022, arXiv:2211.04772). The blocks are
those of the paper: with EfficientAT's classifier (1280 hidden units times the width, 527 classes) they have the 4.88 M
and 1.43 M parameters it gives for mn10 and mn05, and at its 128 bands and 10 s its 0.54 G and 0.16 G
multiply-accumulates. Here a single linear layer follows the pooling over time: 2.99 M and 0.80 M with 12 classes.

The paper halves time five times: three frames a second would be left, too few for statistics over time or to compare
with a teacher's. Here the last two strides are along the Mel bands alone (8 times fewer frames, no parameter changed).
"""

from typing import NamedTuple

from torch import Tensor, nn

from frami_edge.networks.base import MelAverage, Network
from frami_edge.networks.registry import register

SQUEEZE = 4  # the gate's hidden layer is as many times narrower


class Block(NamedTuple):
    """One row of Table 1 of the paper."""

    kernel: int
    expanded: int
    outputs: int
    gated: bool  # squeeze-and-excitation
    hard: bool  # hard swish, else ReLU
    stride: int


LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2), Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2), Block(5, 120, 40, True, False, 1), Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2), Block(3, 200, 80, False, True, 1), Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1), Block(3, 480, 112, True, True, 1), Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2), Block(5, 960, 160, True, True, 1), Block(5, 960, 160, True, True, 1),
)
TIME_STRIDES = (2, 2, 2, 1, 1)  # of the stem and the four blocks that halve the bands


def rounded(channels: float) -> int:
    """To the nearest multiple of eight, and never by more than a tenth downwards (as in MobileNetV2's code)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class Gate(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018): each channel times a share in [0, 1] that depends on the whole clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = rounded(channels / SQUEEZE)
        self.share = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1),
                                   nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.share(x.mean((2, 3), keepdim=True))


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, gate, project (Sandler et al. 2018).

    (batch, inputs, mels, time) -> (batch, outputs, mels / stride, time / stride); ``stride`` is that of (mels, time).
    """

    def __init__(self, inputs: int, block: Block, stride: tuple[int, int]) -> None:
        super().__init__()
        act = nn.Hardswish if block.hard else nn.ReLU
        layers: list[nn.Module] = []
        if block.expanded != inputs:
            layers += [*_normalised(nn.Conv2d(inputs, block.expanded, 1, bias=False)), act()]
        layers += _normalised(nn.Conv2d(block.expanded, block.expanded, block.kernel, stride,
                                        padding=block.kernel // 2, groups=block.expanded, bias=False))
        layers += [act()]
        if block.gated:
            layers.append(Gate(block.expanded))
        layers += _normalised(nn.Conv2d(block.expanded, block.outputs, 1, bias=False))
        self.layers = nn.Sequential(*layers)
        self.identity = block.stride == 1 and inputs == block.outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.identity else self.layers(x)


def _normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels)]


def mobilenet(width: float, classes: int, n_mels: int, time_strides: tuple[int, ...] = TIME_STRIDES) -> Network:
    """MobileNetV3-Large with all channels times ``width``; ``time_strides`` (2, 2, 2, 2, 2) is the paper's."""
    remaining = list(time_strides)
    inputs = rounded(16 * width)
    stem = nn.Conv2d(1, inputs, 3, (2, remaining.pop(0)), padding=1, bias=False)
    stages: list[list[nn.Module]] = [[*_normalised(stem), nn.Hardswish()]]
    for row in LARGE:
        block = row._replace(expanded=rounded(row.expanded * width), outputs=rounded(row.outputs * width))
        if block.stride == 2:
            stages.append([])
        stride = (2, remaining.pop(0)) if block.stride == 2 else (1, 1)
        stages[-1].append(InvertedResidual(inputs, block, stride))
        inputs = block.outputs
    last = 6 * inputs
    stages.append([*_normalised(nn.Conv2d(inputs, last, 1, bias=False)), nn.Hardswish(), MelAverage()])
    return Network([nn.Sequential(*stage) for stage in stages], last, reduction=n_mels, classes=classes, n_mels=n_mels)


@register("mn02", summary="MobileNetV3, width 0.2")
def mn02(classes: int, n_mels: int) -> Network:
    return mobilenet(0.2, classes, n_mels)


@register("mn05", summary="MobileNetV3, width 0.5")
def mn05(classes: int, n_mels: int) -> Network:
    return mobilenet(0.5, classes, n_mels)


@register("mn10", summary="MobileNetV3-Large")
def mn10(classes: int, n_mels: int) -> Network:
    return mobilenet(1.0, classes, n_mels)
