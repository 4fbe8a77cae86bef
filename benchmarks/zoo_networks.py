"""Small networks of ten families, each written as a vendor would: nothing of frami-edge in them.

`benchmarks/zoo.py` trains and distils them; the tests open each of them. A function without arguments builds one, so
that a card can say ``architecture = "zoo_networks.py:resnet"``; :data:`FAMILIES` says what else the card must say.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_MELS, CLASSES, FRAMES = 40, 10, 101

# family -> what its card says about it
FAMILIES: dict[str, dict[str, str]] = {
    "resnet": {"layout": "B1FT", "output": "logits"},
    "wrn": {"layout": "B1FT", "output": "logits"},
    "vgg": {"layout": "BTF", "output": "log_softmax"},
    "bcresnet": {"layout": "B1FT", "output": "logits"},
    "mobilenet": {"layout": "B1FT", "output": "logits"},
    "crnn": {"layout": "B1FT", "output": "logits"},
    "tcresnet": {"layout": "BFT", "output": "logits"},
    "attention": {"layout": "BFT", "output": "softmax"},
    "dscnn": {"layout": "B1FT", "output": "logits"},
    "transformer": {"layout": "BTF", "output": "logits"},
}
WITHOUT_BN = ("transformer",)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_bn(inputs, outputs, 3, stride)
        self.conv2 = conv_bn(outputs, outputs, 3)
        self.shortcut = conv_bn(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ResNet(nn.Module):
    """As torchvision's: global average pooling over both axes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(1, 16, 3)
        self.layer1, self.layer2, self.layer3 = BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.stem(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class PreActivation(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + self.shortcut(active)


class WideResNet(nn.Module):
    """The last BatchNorm, its ReLU and the pooling over time are written as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(PreActivation(16, 16, 1), PreActivation(16, 32, 2), PreActivation(32, 64, 2))
        self.bn = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64 * N_MELS // 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.bn(self.blocks(self.stem(x)))).flatten(1, 2).mean(2))


class ConvBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_bn(inputs, outputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(self.conv(x)), 2)


class Vgg(nn.Module):
    """After PANNs' Cnn6: a BatchNorm over Mel bands first, mean + max over time, a hidden layer, log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(N_MELS)
        self.blocks = nn.Sequential(ConvBlock(1, 16), ConvBlock(16, 32), ConvBlock(32, 64))
        self.fc1 = nn.Linear(64, 64)
        self.fc_out = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.bn0(x.unsqueeze(1).transpose(1, 3)).transpose(1, 3)  # (batch, 1, time, mels)
        x = self.blocks(x).mean(3)
        embedding = F.relu(self.fc1(x.amax(2) + x.mean(2)))
        return {"clipwise_output": F.log_softmax(self.fc_out(embedding), 1), "embedding": embedding}


class SubSpectralNorm(nn.Module):
    def __init__(self, channels: int, bands: int = 5) -> None:
        super().__init__()
        self.bands = bands
        self.bn = nn.BatchNorm2d(channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, mels, time = x.size()
        return self.bn(x.view(batch, channels * self.bands, mels // self.bands, time)).view(batch, channels, mels, time)


class BroadcastedBlock(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.frequency = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels, bias=False)
        self.ssn = SubSpectralNorm(channels)
        self.temporal = nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation),
                                  groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.ssn(self.frequency(x))
        narrow = self.pointwise(F.silu(self.bn(self.temporal(wide.mean(2, keepdim=True)))))
        return F.relu(x + wide + narrow)


class BcResNet(nn.Module):
    """Sub-spectral normalisation on reshaped tensors; a 1 x 1 convolution classifies the pooled map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 5, (2, 1), 2, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.blocks = nn.Sequential(*[BroadcastedBlock(24, dilation) for dilation in (1, 1, 2, 4)])
        self.head = nn.Sequential(nn.Conv2d(24, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
                                  nn.AdaptiveAvgPool2d(1), nn.Conv2d(48, CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x))).squeeze(3).squeeze(2)


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.conv = nn.Sequential(conv_bn(inputs, wide, 1), nn.ReLU6(), conv_bn(wide, wide, 3, stride, wide),
                                  nn.ReLU6(), conv_bn(wide, outputs, 1))
        self.identity = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.identity else self.conv(x)


class MobileNet(nn.Module):
    """As torchvision's MobileNetV2: features, the mean over both axes, dropout and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(1, 16, 3, 2), nn.ReLU6(), InvertedResidual(16, 24, 2), InvertedResidual(24, 24, 1),
            InvertedResidual(24, 40, 2), InvertedResidual(40, 40, 1), conv_bn(40, 128, 1), nn.ReLU6())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class Crnn(nn.Module):
    """Convolutions, then a bidirectional GRU whose sequence comes first (batch_first is False)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv_bn(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), conv_bn(16, 32, 3), nn.ReLU(),
                                  nn.MaxPool2d(2), conv_bn(32, 32, 3), nn.ReLU(), nn.MaxPool2d((2, 1)))
        self.gru = nn.GRU(32 * N_MELS // 8, 48, bidirectional=True)
        self.fc = nn.Linear(96, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        sequence, _ = self.gru(self.conv(x).flatten(1, 2).permute(2, 0, 1))  # (time, batch, features)
        return self.fc(sequence.mean(0))


class TemporalBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 9, 2, 4, bias=False)
        self.conv2 = nn.Conv1d(outputs, outputs, 9, 1, 4, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(outputs), nn.BatchNorm1d(outputs)
        self.shortcut = nn.Sequential(nn.Conv1d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class TcResNet(nn.Module):
    """Mel bands are channels of one-dimensional convolutions (Choi et al. 2019); BatchNorm1d."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(N_MELS, 32, 3, padding=1, bias=False), TemporalBlock(32, 48),
                                    TemporalBlock(48, 64), TemporalBlock(64, 96))
        self.fc = nn.Linear(96, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool1d(self.layers(x), 1).squeeze(2))


class AttentionPooled(nn.Module):
    """BatchNorm without weights of its own; time is pooled by learned weights; gives probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(N_MELS, 64, 5, padding=2), nn.Conv1d(64, 64, 5, 2, padding=2)
        self.conv3 = nn.Conv1d(64, 96, 5, 2, padding=2)
        self.bn1, self.bn2 = nn.BatchNorm1d(64, affine=False), nn.BatchNorm1d(64, affine=False)
        self.bn3 = nn.BatchNorm1d(96, affine=False)
        self.act = nn.ReLU()
        self.score = nn.Linear(96, 1)
        self.fc = nn.Linear(96, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))
        x = self.act(self.bn3(self.conv3(x))).transpose(1, 2)  # (batch, time, channels)
        weights = torch.softmax(self.score(x), 1)
        return torch.softmax(self.fc((weights * x).sum(1)), 1)


class DsCnn(nn.Module):
    """Depthwise-separable; time is flattened, so it takes clips of one length alone."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(1, 32, 5, 2), nn.ReLU()]
        for _ in range(3):
            layers += [conv_bn(32, 32, 3, 1, groups=32), nn.ReLU(), conv_bn(32, 32, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AvgPool2d((4, 2)))
        self.fc = nn.Linear(32 * (N_MELS // 8) * ((FRAMES + 1) // 4), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).flatten(1))


class Transformer(nn.Module):
    """LayerNorm alone: what FRAMI's BatchNorm loss cannot use."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Conv1d(N_MELS, width, 4, 4)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, CLASSES)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.transpose(1, 2)).transpose(1, 2)
        position = torch.arange(tokens.size(1), device=x.device)[:, None]
        rates = torch.exp(torch.arange(0, self.width, 2, device=x.device) * (-math.log(1e4) / self.width))
        tokens = tokens + torch.cat([torch.sin(position * rates), torch.cos(position * rates)], 1)
        return self.fc(self.norm(self.encoder(tokens)).mean(1))


# what a card's FILE.py:FUNCTION names
resnet = ResNet
wrn = WideResNet
vgg = Vgg
bcresnet = BcResNet
mobilenet = MobileNet
crnn = Crnn
tcresnet = TcResNet
attention = AttentionPooled
dscnn = DsCnn
transformer = Transformer
