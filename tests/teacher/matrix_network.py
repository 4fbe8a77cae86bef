"""The networks of test_container_matrix.py: a plain module, as a vendor's file defines it."""

import torch
from torch import Tensor, nn

N_MELS, CLASSES, WIDTH = 8, 3, 4


class Net(nn.Module):
    """One convolution, one normalisation of the given kind, the mean over time, a classifier."""

    def __init__(self, layout: str, output: str, norm: str) -> None:
        super().__init__()
        self.layout, self.output, self.flat = layout, output, norm == "BatchNorm1d"
        self.conv = nn.Conv1d(N_MELS, WIDTH, 3, padding=1) if self.flat else nn.Conv2d(1, WIDTH, 3, padding=1)
        if norm == "none":
            self.bn: nn.Module = nn.Identity()
        elif norm == "BatchNorm1d":
            self.bn = nn.BatchNorm1d(WIDTH)
        else:
            self.bn = nn.BatchNorm2d(WIDTH, affine=norm != "no affine")
        if norm == "no counter":
            self.bn.num_batches_tracked = None
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.layout == "B1FT":
            x = x.squeeze(1)
        if self.layout == "BTF":
            x = x.transpose(1, 2)
        if not self.flat:
            x = x.unsqueeze(1)
        x = torch.relu(self.bn(self.conv(x)))
        if not self.flat:
            x = x.mean(2)
        x = self.fc(x.mean(2))
        if self.output == "softmax":
            return torch.softmax(x, 1)
        if self.output == "log_softmax":
            return torch.log_softmax(x, 1)
        return x


class DataParallel(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.module = net

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


class Compiled(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._orig_mod = net

    def forward(self, x: Tensor) -> Tensor:
        return self._orig_mod(x)


class Lightning(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.model = net

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


WRAPPERS = {"": nn.Sequential, "module.": DataParallel, "_orig_mod.": Compiled, "model.": Lightning}
