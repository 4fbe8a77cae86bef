"""Files that are whole and not what they seem: tensors, numbers, nesting, and what is no file at all."""

import os
import random
from pathlib import Path
from typing import Any

import torch
from hostile_whole import EXTREMES, WHOLE, Small, leaves
from torch import nn


def odd_tensors(rng: random.Random, whole: Path, path: Path) -> None:
    """State_dicts that are not what they seem: other types, layouts and shapes, more elements than bytes."""
    state: dict[Any, Any] = dict(Small().state_dict())
    key = rng.choice(list(state))
    value = state[key].float()
    state[key] = rng.choice((
        lambda: value.to(torch.complex64), lambda: value.to(torch.int8), lambda: value.bool(), lambda: value.double(),
        lambda: value.to(torch.float8_e4m3fn), lambda: value.to_sparse(),
        lambda: torch.empty(value.shape, device="meta"),
        lambda: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), lambda: value * float("nan"),
        lambda: torch.zeros(1).expand(2**rng.randrange(10, 45)),
        lambda: torch.zeros(1).expand(2**20, 2**20, *value.shape),
        lambda: torch.zeros(0, *value.shape), lambda: nn.Parameter(value), lambda: value.tolist(), lambda: "weights",
        lambda: None, lambda: 2**4000, lambda: {"weight": value}, lambda: value.to(torch.bfloat16),
    ))()
    content: Any = rng.choice((state, {"model": state, "ema": state}, {"a": dict(state), "b": state}, {7: state},
                               [state], {"state_dict": {"model": {"net": state}}}))
    torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)


def own_checkpoints(rng: random.Random, whole: Path, path: Path) -> None:
    """frami-edge checkpoints with impossible numbers."""
    content = torch.load(whole / "frami-edge", weights_only=True)
    values = (*EXTREMES, -1, 0.5, None, True, "", "wrn40", [], {}, float("nan"), ["a"] * 5,
              torch.zeros(1).expand(2**36))
    part = content if rng.random() < 0.3 else {"top": content["card"]}
    for _ in range(rng.choice((1, 1, 2))):
        holder, key = rng.choice(list(leaves(part, True)))
        if isinstance(holder[key], int | float) and rng.random() < 0.8:
            holder[key] = rng.choice((2, 3, 1000, 10**5, 10**7, *EXTREMES))
        else:
            holder[key] = rng.choice(values)
    if rng.random() < 0.2:
        content[rng.choice(("classes", "n_mels"))] = rng.choice((10**5, 10**8, *EXTREMES))
    torch.save(content, path)


def nesting(rng: random.Random, whole: Path, path: Path) -> None:
    """Dictionaries that hold themselves, each other many times over, or one another ten thousand deep."""
    kind, content = rng.randrange(4), {"weight": torch.zeros(1)}
    state: dict[str, Any] = content
    if kind == 0:
        state["self"] = state
    elif kind == 1:
        for _ in range(60):
            state = {"a": state, "b": state, "c": state}
    elif kind == 2:
        path.write_bytes(b"\x80\x02" + b"}q\x00" + b"X\x01\x00\x00\x00a}" * 20_000 + b"s" * 20_000 + b".")
        return
    else:
        state = {str(index): {} for index in range(50_000)}
    torch.save(state, path, _use_new_zipfile_serialization=rng.random() < 0.7)


def not_a_file(rng: random.Random, whole: Path, path: Path) -> None:
    """Folders, links that lead to themselves, nowhere or to devices, pipes, and files of other formats."""
    kind = rng.randrange(8)
    if kind == 0:
        path.mkdir()
    elif kind < 5:
        path.symlink_to((path, whole / "absent", "/dev/zero", whole / rng.choice(WHOLE))[kind - 1])
    elif kind == 5:
        os.mkfifo(path)
    elif kind == 6:
        path.write_bytes(rng.choice((b"", b"PK", b"PK\x03\x04", b"\x80", b"\x80\x02.", b"\x1f\x8b", b"\x89HDF", b"RIFF",
                                     b"<html>", b"version https://git-lfs", b"\x10\0\0\0\0\0\0\0{}")))
    else:
        path.write_bytes(rng.choice((b"PK\x03\x04", b"\x80\x02", b"")) + rng.randbytes(rng.choice((1, 30, 3000))))
