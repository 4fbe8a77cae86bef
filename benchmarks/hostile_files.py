"""Damaged and hostile files for `fuzz_opening.py`: each made from a whole one, or from nothing, by a seeded generator.

What tries to run code does so by touching the file WITNESS; whether it did is looked up after each opening.
"""

import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict
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
Make = Callable[[random.Random, Path, Path], None]  # generator, whole files, the file to write

EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


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


WHOLE = ("zip", "legacy", "checkpoint", "pickled", "frami-edge", "script", "exported")
ZIPPED = tuple(name for name in WHOLE if name != "legacy")


# --- damage ----------------------------------------------------------------------------------------------------------

def damaged(rng: random.Random, content: bytes) -> bytes:
    """Bits flipped, bytes overwritten by extreme numbers, blocks removed, repeated or blanked."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if not changed:
            break
        at, how = rng.randrange(len(changed)), rng.randrange(6)
        length = rng.choice((1, 4, 16, 256))
        if how < 2:
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            width = rng.choice((4, 8))
            changed[at : at + width] = struct.pack("<Q", rng.choice(EXTREMES))[:width]
        elif how == 3:
            del changed[at : at + length]
        elif how == 4:
            changed[at:at] = changed[at : at + length]
        else:
            changed[at : at + length] = bytes(length)
    return bytes(changed)


def bits(rng: random.Random, whole: Path, path: Path) -> None:
    path.write_bytes(damaged(rng, (whole / rng.choice(WHOLE)).read_bytes()))


def truncation(rng: random.Random, whole: Path, path: Path) -> None:
    content = (whole / rng.choice(WHOLE)).read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def member(rng: random.Random, whole: Path, path: Path) -> None:
    """One member of the archive is damaged and its checksum is right again, so that whoever parses it gets it."""
    def change(name: str, content: bytes) -> bytes:
        return damaged(rng, content) if name == chosen else content

    source = whole / rng.choice(ZIPPED)
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if rng.random() < 0.2 or name.endswith((".pkl", ".json", ".pt"))]
    chosen = rng.choice(names)
    rewritten(source, path, change)


def graph(rng: random.Random, whole: Path, path: Path) -> None:
    """A value of a program's JSON becomes another."""
    values = (*EXTREMES, -1, None, True, "", "x", [], {}, 1e308, "conv2d", {"as_int": 2**40}, [2**40] * 4,
              "torch.ops.aten.repeat.default", "torch.ops.aten.zeros.default", "torch.ops.aten.expand.default")

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(("model.json", "weights_config.json")):
            return content
        parsed = json.loads(content)
        for _ in range(rng.choice((1, 1, 3))):
            places = list(leaves(parsed, with_inner=True))
            holder, key = rng.choice(places)
            if rng.random() < 0.6:  # of the same type, so that it gets further
                places = [(holder, key) for holder, key in places if type(holder[key]) in (int, str, float, bool)]
                holder, key = rng.choice(places)
                same = [inner[name] for inner, name in places if type(inner[name]) is type(holder[key])]
                holder[key] = rng.choice(same + [value for value in values if type(value) is type(holder[key])])
            elif rng.random() < 0.3 and isinstance(holder, dict):
                holder.pop(key, None)
            else:
                holder[key] = rng.choice(values)
        return json.dumps(parsed).encode()

    rewritten(whole / "exported", path, change)


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


# --- code ------------------------------------------------------------------------------------------------------------

class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


def payload(rng: random.Random) -> Call:
    witness = os.environ["WITNESS"]
    python = f"open({witness!r}, 'w')"
    inner = pickle.dumps(Call(eval, python))
    buffer = io.BytesIO()
    torch.save(Call(eval, python), buffer)
    return rng.choice((
        Call(os.system, f"touch {witness}"), Call(eval, python), Call(exec, python), Call(pickle.loads, inner),
        Call(os.mkdir, witness), Call(open, witness, "w"),
        Call(torch.storage._load_from_bytes, buffer.getvalue()), Call(Path.touch, Path(witness)),
        Call(map, eval, [python]), Call(getattr, Call(__import__, "os"), "system"),
        Call(torch.from_file, witness, True, 1),
    ))


def pickled_code(rng: random.Random, whole: Path, path: Path) -> None:
    state: dict[str, Any] = dict(Small().state_dict())
    bad = payload(rng)
    content: Any = rng.choice((
        bad, [bad], {"state_dict": state, "extra": bad}, {**state, "conv.weight": bad},
        {"model": {"deep": [{"er": bad}]}}, OrderedDict(state, _metadata=bad),
        {"format": "frami-edge/1", "state_dict": state, "card": bad},
    ))
    if rng.random() < 0.15:
        path.write_bytes(pickle.dumps(content, protocol=rng.choice((2, 4, 5))))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)


def program_code(rng: random.Random, whole: Path, path: Path) -> None:
    """Code wherever torch.export.load or torch.jit.load would run it."""
    witness = os.environ["WITNESS"]
    python = f"__import__('os').system('touch {witness}')"
    bad = io.BytesIO()
    torch.save(payload(rng), bad)
    where = rng.randrange(9)

    def change(name: str, content: bytes) -> bytes:
        if where == 0 and name.endswith("sample_inputs/model.pt"):
            return bad.getvalue()
        if name.endswith("weights_config.json") and where == 1:
            parsed = json.loads(content)
            parsed["config"]["conv.weight"]["use_pickle"] = True
            return json.dumps(parsed).encode()
        if where == 1 and name.endswith("weight_0"):
            return bad.getvalue()
        if name.endswith("constants_config.json") and where == 2:
            return json.dumps({"config": {"c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True,
                                               "tensor_meta": None}}}).encode()
        if not name.endswith("model.json"):
            return content
        parsed = json.loads(content)
        inside = parsed["graph_module"]["graph"]
        node = rng.choice(inside["nodes"])
        if where == 3:
            node["target"] = rng.choice(("torch.hub.load", "torch.serialization.os.system", "torch.load",
                                         "torch.ops.aten.from_file.default", "_operator.methodcaller", "os.system"))
            node["inputs"] = [{"name": "a", "arg": {"as_string": f"touch {witness}"}, "kind": 1}]
        elif where == 4:
            for holder, key in leaves(parsed):
                if key == "expr_str":
                    holder[key] = python
        elif where == 5:
            node["name"] = f"x\n    {python}\n    y"
        elif where == 6:
            parsed["guards_code"] = [python]
        elif where == 7:
            node.setdefault("metadata", {})["nn_module_stack"] = f"{python},{python},{python}"
        elif where == 8:
            parsed["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = python
        return json.dumps(parsed).encode()

    if rng.random() < 0.25:
        def in_script(name: str, content: bytes) -> bytes:
            chosen = name.endswith(rng.choice(("data.pkl", "constants.pkl")))
            return pickle.dumps(payload(rng), 2) if chosen else content

        rewritten(whole / "script", path, in_script)
    else:
        rewritten(whole / "exported", path, change,
                  **{"exported/data/constants/opaque_obj_0": pickle.dumps(payload(rng))} if where == 2 else {})


# --- sizes and types -------------------------------------------------------------------------------------------------

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


def bomb(rng: random.Random, whole: Path, path: Path) -> None:
    """Archives that unpack to more than they are, or say so."""
    kind = rng.randrange(4)
    if kind == 0:  # members of zeros, deflated
        source = whole / rng.choice(ZIPPED)
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
            for name in old.namelist():
                big = rng.random() < 0.2
                new.writestr(name, bytes(rng.choice((2**24, 2**26))) if big else old.read(name))
    elif kind == 1:  # the sizes in the directory are replaced
        content = bytearray((whole / rng.choice(ZIPPED)).read_bytes())
        at = -1
        while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
            if rng.random() < 0.3:
                content[at + 20 : at + 28] = struct.pack("<II", *rng.choices((2**32 - 1, 2**31, 2**30, 0), k=2))
        path.write_bytes(content)
    elif kind == 2:  # one name twice, with other content
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path.write_bytes((whole / rng.choice(ZIPPED)).read_bytes())
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(rng.choice(archive.namelist()), pickle.dumps(payload(rng), 2))
    else:  # an index of the pickle's memory, or a length, that nothing can hold
        code = rng.choice((b"}r\xff\xff\xff\x7f.", b"B\xff\xff\xff\x7fab.", b"\x8e" + b"\xff" * 7 + b"\x7fab.",
                           b"X\xff\xff\xff\x7fab.", b"\x8b\xff\xff\xff\x7fab.", b"\x95" + b"\xff" * 7 + b"\x7f}."))
        name = rng.choice(("script", "zip"))
        rewritten(whole / name, path,
                  lambda member, content: b"\x80\x02" + code if member.endswith("data.pkl") else content)


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


KINDS: dict[str, tuple[Make, int]] = {  # and how many of a hundred
    "bits, bytes and blocks": (bits, 24), "truncated": (truncation, 10), "a member, checksum right": (member, 20),
    "a program's graph": (graph, 12), "code in a pickle": (pickled_code, 8), "code in a program": (program_code, 8),
    "tensors of other kinds and sizes": (odd_tensors, 6), "numbers of a frami-edge checkpoint": (own_checkpoints, 4),
    "nesting": (nesting, 2), "bombs": (bomb, 3), "not a file, or not PyTorch's": (not_a_file, 3),
}
# opened with --arch; of the others half, for programs and frami-edge checkpoints speak for themselves
WEIGHTS = ("code in a pickle", "tensors of other kinds and sizes", "nesting")


def make(index: int, seed: int, whole: Path, path: Path) -> str:
    """Write file ``index`` of the series; returns its kind."""
    rng = random.Random(f"{seed}-{index}")
    kind = rng.choices(list(KINDS), [share for _, share in KINDS.values()])[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        KINDS[kind][0](rng, whole, path)
    return kind
