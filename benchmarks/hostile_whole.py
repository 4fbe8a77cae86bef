"""Whole files of each kind that can be opened, and what the makers of damaged ones share."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frami_edge import checkpoints
from frami_edge.card import MelSpec, TeacherCard
from frami_edge.networks import build as build_registered

N_MELS, CLASSES = 16, 4
CARD = TeacherCard(labels=tuple("abcd"), time_dependent=True, frontend=MelSpec(n_mels=N_MELS, hop_length=800))
EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
WHOLE = ("zip", "legacy", "checkpoint", "pickled", "frami-edge", "script", "exported")
ZIPPED = tuple(name for name in WHOLE if name != "legacy")


class Small(nn.Module):
    """The network that all of the files belong to."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


def build() -> nn.Module:
    return Small()


def whole_files(folder: Path) -> None:
    """One whole file of each kind, which the damaged ones are made from."""
    torch.manual_seed(0)
    net = Small().eval()
    state = net.state_dict()
    torch.save(state, folder / "zip")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "model": {f"module.{key}": value.half() for key, value in state.items()}},
               folder / "checkpoint")
    torch.save(net, folder / "pickled")
    checkpoints.save(folder / "frami-edge", build_registered("dscnn_s", CLASSES, N_MELS), CARD, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net), folder / "script")
        dynamic = torch.export.Dim.DYNAMIC
        exported = torch.export.export(net, (torch.randn(2, 1, N_MELS, 20),),
                                       dynamic_shapes=({0: dynamic, 3: dynamic},))
        torch.export.save(exported, folder / "exported.pt2")
    (folder / "exported.pt2").rename(folder / "exported")


def leaves(value: Any, with_inner: bool = False) -> Any:
    """(holder, key) of everything within parsed JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        if with_inner or not isinstance(inner, dict | list):
            yield value, key
        yield from leaves(inner, with_inner)


def rewritten(source: Path, path: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, content in more.items():
            new.writestr(name, content)
