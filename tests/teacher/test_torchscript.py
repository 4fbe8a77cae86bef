"""Of TorchScript programs the weights are read, and nothing runs."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from frami_edge.errors import FramiError
from frami_edge.teacher.reading import read_content

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.GRU(5, 4), nn.Linear(3, 3))
    layers[3].weight = nn.Parameter(torch.randn(6, 3)[::2])  # not contiguous
    layers.register_buffer("table", torch.arange(6).view(2, 3).t())
    return layers.eval()


class Traced(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner[1](self.inner[0](x))


def test_the_state_dict_of_scripted_and_traced_programs(tmp_path: Path) -> None:
    path, net = tmp_path / "teacher.bin", Traced()
    torch.jit.save(torch.jit.trace(net, torch.zeros(1, 2, 5)), path)
    traced = read_content(path, trust=False)
    torch.jit.save(torch.jit.script(network()[1].half()), path)
    scripted = read_content(path, trust=False)
    for found, expected in ((traced, net.state_dict()), (scripted, network()[1].half().state_dict())):
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
        assert all(found[key].dtype == value.dtype for key, value in expected.items())


def test_a_frozen_program_has_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    torch.jit.save(torch.jit.freeze(torch.jit.script(Traced().inner[0].eval())), path)
    with pytest.raises(FramiError, match=r"torch.jit.freeze has put them into its code"):
        read_content(path, trust=True)


class Call:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_only_tensors_are_built(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "teacher.pt"
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), whole)
    pickle.dump(Call(tmp_path / "ran"), buffer, 2)
    huge_memo = b"\x80\x02}r\xff\xff\xff\x7f."  # pickle's own reader allocates 16 GB for this
    # 100 modules, each twice in the next: 2 to the 100 ways to the innermost
    shared = b"\x80\x02c__torch__\nNet\n)\x81" + b"".join(
        b"q%cc__torch__\nNet\n)\x81}(X\x01\0\0\0ah%cX\x01\0\0\0bh%cub" % (index, index, index)
        for index in range(100)) + b"."
    own_state = b"\x80\x02c__torch__\nNet\n)\x81X\x01\x00\x00\x00ab."  # the argument of a __setstate__
    for content, message in ((buffer.getvalue(), "needs posix.mkdir"), (huge_memo, "damaged"),
                             (shared, "more than 10000 modules"), (own_state, "__setstate__ of their own")):
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, content if name.endswith("/data.pkl") else old.read(name))
        with pytest.raises(FramiError, match=message):
            read_content(path, trust=True)
    assert not (tmp_path / "ran").exists()
