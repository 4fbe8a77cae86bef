"""Every container x suffix x prefix x precision x layout x output x BatchNorm, pairwise: the same logits, or a refusal
that says why."""

import itertools
import random
from pathlib import Path
from typing import NamedTuple

import matrix_network
import pytest
import torch
from torch import nn

from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.errors import FramiError
from frami_edge.inversion import batch_norm
from frami_edge.teacher.opening import open_teacher

HERE = Path(__file__).parent

CELLS, FRAMES = 100, 21


class Cell(NamedTuple):
    container: str
    suffix: str
    prefix: str
    precision: torch.dtype
    layout: str
    output: str
    norm: str
    told: bool  # whether the user says --arch, or --trust for a pickled module


AXES = (
    ("zip", "legacy", "checkpoint", "pickled", "script", "exported"),
    (".pt", ".pth", ".bin", ".ckpt", ""),
    ("", "module.", "_orig_mod.", "model."),
    (torch.float32, torch.float16, torch.bfloat16),
    ("B1FT", "BFT", "BTF"),
    ("logits", "log_softmax", "softmax"),
    ("BatchNorm2d", "BatchNorm1d", "no affine", "no counter", "none"),
    (True, False),
)


def pairs(cell: Cell) -> set[tuple[int, object, int, object]]:
    return {(i, cell[i], j, cell[j]) for i, j in itertools.combinations(range(len(cell)), 2)}


def covering(count: int) -> list[Cell]:
    """``count`` cells, each the one of many random ones that adds most pairs that no cell before has."""
    rng = random.Random(0)
    cells: list[Cell] = []
    seen: set[tuple[int, object, int, object]] = set()
    while len(cells) < count:
        drawn = [Cell(*(rng.choice(axis) for axis in AXES)) for _ in range(40)]
        best = max((cell for cell in drawn if cell not in cells), key=lambda cell: len(pairs(cell) - seen))
        cells.append(best)
        seen |= pairs(best)
    return cells


MATRIX = covering(CELLS)


def test_the_matrix_has_every_pair() -> None:
    every = {(i, a, j, b) for i, j in itertools.combinations(range(len(AXES)), 2)
             for a, b in itertools.product(AXES[i], AXES[j])}
    assert set().union(*map(pairs, MATRIX)) == every and len(set(MATRIX)) == CELLS >= 80


def source(cell: Cell) -> nn.Module:
    """The network, rounded to the precision of the cell, with statistics of its own."""
    torch.manual_seed(MATRIX.index(cell))
    net = matrix_network.Net(cell.layout, cell.output, cell.norm)
    if isinstance(net.bn.running_mean if cell.norm != "none" else None, torch.Tensor):
        net.bn.running_mean.normal_()
        net.bn.running_var.uniform_(0.5, 2)
    return net.eval().to(cell.precision)


def write(cell: Cell, net: nn.Module, folder: Path) -> Path:
    path = folder / f"teacher{cell.suffix}"
    wrapped = net if not cell.prefix else matrix_network.WRAPPERS[cell.prefix](net).eval()
    if cell.container == "script":
        torch.jit.save(torch.jit.script(wrapped), path)
    elif cell.container == "exported":
        time = {"B1FT": 3, "BFT": 2, "BTF": 1}[cell.layout]
        dynamic = torch.export.Dim.DYNAMIC
        x = arranged(torch.randn(2, matrix_network.N_MELS, FRAMES, dtype=cell.precision), cell.layout)
        torch.export.save(torch.export.export(wrapped, (x,), dynamic_shapes=({0: dynamic, time: dynamic},)),
                          folder / "program.pt2")
        (folder / "program.pt2").rename(path)
    elif cell.container == "pickled":
        torch.save(wrapped, path)
    else:
        state = wrapped.state_dict()
        content = {"epoch": 3, "net": {"weights": state}} if cell.container == "checkpoint" else state
        torch.save(content, path, _use_new_zipfile_serialization=cell.container != "legacy")
    return path


def arranged(log_mel: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "B1FT":
        return log_mel.unsqueeze(1)
    return log_mel.transpose(1, 2) if layout == "BTF" else log_mel


def refusal(cell: Cell) -> str:
    """What the error says where the user said nothing; "" where nothing needs to be said."""
    if cell.told or cell.container == "exported":
        return ""
    return {"pickled": "cannot be read without running code: it wants .*matrix_network.Net",
            "script": "is a TorchScript program, of which only the weights are read"
            }.get(cell.container, "card names no architecture")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("cell", MATRIX, ids=lambda cell: "-".join(str(part).replace("torch.", "") for part in cell))
def test_cell(cell: Cell, tmp_path: Path) -> None:
    net = source(cell)
    path = write(cell, net, tmp_path)
    norm = "BatchNorm2d" if cell.norm == "no counter" else cell.norm  # the file has none, the network has
    (tmp_path / "model.py").write_text((HERE / "matrix_network.py").read_text()
                                       + f"\n\ndef build():\n    return Net{cell.layout, cell.output, norm}\n")
    card = TeacherCard(labels=("a", "b", "c"), time_dependent=False, layout=cell.layout, output=cell.output,
                       clip=Clip(seconds=1), frontend=MelSpec(n_mels=matrix_network.N_MELS, hop_length=800))
    (tmp_path / "teacher.toml").write_text(card.to_toml())
    arch = "model.py:build" if cell.told and cell.container != "pickled" else None
    if message := refusal(cell):
        with pytest.raises(FramiError, match=message) as raised:
            open_teacher(path, arch=arch)
        assert raised.value.hint
        return
    teacher = open_teacher(path, arch=arch, trust=cell.told and cell.container == "pickled").teacher

    log_mel = torch.randn(3, matrix_network.N_MELS, FRAMES)
    expected = net.float()(arranged(log_mel, cell.layout))
    expected = expected.log() if cell.output == "softmax" else expected
    torch.testing.assert_close(teacher(log_mel), expected, rtol=0, atol=1e-6)
    if cell.norm == "none":
        with pytest.raises(FramiError, match="has no BatchNorm with running statistics"):
            teacher.require_batch_norms()
    else:
        (kept,) = batch_norm.targets(teacher).values()
        assert torch.equal(kept.mean, net.bn.running_mean) and torch.equal(kept.variance, net.bn.running_var)
