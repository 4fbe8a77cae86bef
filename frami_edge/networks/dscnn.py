"""DS-CNN: depthwise-separable convolutions for keyword spotting on microcontrollers (Zhang et al. 2017, "Hello Edge",
arXiv:1711.07128).

One convolution over 10 frames and 4 bands, then depthwise 3 x 3 and pointwise 1 x 1 convolutions of the same width.
With BatchNorm folded in, the paper's networks have 22.6 k (S), 135 k (M) and 411 k (L) weights and biases for 12
classes; these have as many, and as many more as the classifier has for the deviation over time.

The paper's input is 49 frames of 10 MFCC (a hop of 20 ms). Here it is 101 frames of 40 bands, so the first stride is
2 or 4 times as long, and the maps have twice the rows: multiply-accumulates are 6.1 M, 22 M and 62 M, a little more
than twice the paper's 2.7 M, 9.9 M and 28 M (half its "operations").
"""

from torch import nn

from frami_edge.networks.base import MelAverage, Network
from frami_edge.networks.registry import register


def _normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


def separable(channels: int, stride: int) -> nn.Sequential:
    """Depthwise 3 x 3, then pointwise: (batch, channels, mels, time) -> (batch, channels, mels / stride, ...)."""
    return nn.Sequential(
        *_normalised(nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)),
        *_normalised(nn.Conv2d(channels, channels, 1, bias=False)),
    )


def dscnn(channels: int, stem_stride: tuple[int, int], strides: tuple[int, ...], classes: int, n_mels: int) -> Network:
    """DS-CNN; ``stem_stride`` is that of (mels, time), ``strides`` those of the separable convolutions."""
    stem = nn.Conv2d(1, channels, (4, 10), stem_stride, padding=(2, 5), bias=False)
    stages: list[nn.Module] = [nn.Sequential(*_normalised(stem))]
    stages += [separable(channels, stride) for stride in strides]
    stages.append(MelAverage())
    return Network(stages, channels, reduction=n_mels, classes=classes, n_mels=n_mels)


@register("dscnn_s", summary="DS-CNN-S of Hello Edge, for microcontrollers")
def dscnn_s(classes: int, n_mels: int) -> Network:
    return dscnn(64, (4, 4), (1, 1, 1, 1), classes, n_mels)


@register("dscnn_m", summary="DS-CNN-M of Hello Edge")
def dscnn_m(classes: int, n_mels: int) -> Network:
    return dscnn(172, (2, 4), (2, 1, 1, 1), classes, n_mels)


@register("dscnn_l", summary="DS-CNN-L of Hello Edge")
def dscnn_l(classes: int, n_mels: int) -> Network:
    return dscnn(276, (2, 4), (2, 1, 1, 1, 1), classes, n_mels)
