"""Files that were damaged: bits, bytes, members of archives, values of a program, archives that unpack to more."""

import json
import pickle
import random
import struct
import warnings
import zipfile
from pathlib import Path

from hostile_code import payload
from hostile_whole import EXTREMES, WHOLE, ZIPPED, leaves, rewritten


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
