"""A vendor's file becomes Python objects without running anyone's code. Bytes are sniffed, never the suffix."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frami_edge.errors import FramiError

# first bytes of what people hand over by mistake -> what it is, what to do
NOT_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Fetch the file: git lfs pull"),
    (b"<!doctype", "a web page", "The download gave an error or login page; fetch the file again."),
    (b"<html", "a web page", "The download gave an error or login page; fetch the file again."),
    (b"\x89hdf", "an HDF5 file (Keras?)", "Only PyTorch checkpoints are read."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
)
SAFETENSORS = (".safetensors", "Convert it: torch.save(safetensors.torch.load_file(FILE), 'teacher.pt')")


def read_content(path: Path, trust: bool) -> Any:
    """Everything that ``torch.save`` put into ``path``, on the CPU.

    Args:
        path: the file.
        trust: whether code may be run where the file cannot be read without.

    Raises:
        FramiError: the file is missing, empty, truncated, of another kind, or needs code and ``trust`` is false.
    """
    _refuse_other_kinds(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _globals_wanted(path, error)
        if not wanted:
            raise _damaged(path, error) from error
    except Exception as error:  # whatever torch raises on bytes it does not know
        raise _damaged(path, error) from error
    if not trust:
        raise FramiError(f"{path} cannot be read without running code: it wants {', '.join(wanted)}.",
                         "Ask the vendor for a plain state_dict, or say --trust if you trust the file as a program.")
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (ModuleNotFoundError, AttributeError) as error:
        raise FramiError(f"{path} was saved as a whole object, and its code is not here: {error}.",
                         "Install the vendor's package, or ask for a plain state_dict.") from error
    except Exception as error:  # the code in the file may raise anything
        raise _damaged(path, error) from error


def find_state_dicts(content: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Every state_dict in what a file holds, by where it was found ("" is the whole file)."""
    if isinstance(content, nn.Module):
        return {"": dict(content.state_dict())}
    if not isinstance(content, dict) or not content:
        return {}
    if all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()):
        return {"": dict(content)}
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in content.items():
        if isinstance(key, str):
            inner = find_state_dicts(value)
            found |= {f"{key}.{deeper}" if deeper else key: weights for deeper, weights in inner.items()}
    return found


def _refuse_other_kinds(path: Path) -> None:
    if not path.exists():
        raise FramiError(f"There is no file {path}.")
    if not path.is_file():
        raise FramiError(f"{path} is not a file.", "Give the checkpoint inside it.")
    with open(path, "rb") as handle:
        head = handle.read(64)
    if not head:
        raise FramiError(f"{path} is empty (0 bytes).", "Copy or download it again.")
    for magic, kind, hint in NOT_WEIGHTS:
        if head.lower().startswith(magic):
            raise FramiError(f"{path} is {kind}.", hint)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise FramiError(f"{path} is a {SAFETENSORS[0]} file.", SAFETENSORS[1])
    if head.startswith(b"PK\x03\x04"):
        _refuse_programs(path)
    elif not head.startswith(b"\x80"):  # every pickle since protocol 2
        raise FramiError(f"{path} is not a PyTorch file (it starts with {head[:8]!r}).",
                         "A checkpoint written by torch.save is expected.")


def _refuse_programs(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:  # the directory of a zip file is its end
        raise FramiError(f"{path} is truncated: {path.stat().st_size} bytes, and the end is missing.",
                         "Compare its size with the original and copy it again.") from error
    if any(name.endswith("constants.pkl") for name in names) and any("/code/" in name for name in names):
        raise FramiError(f"{path} is a TorchScript program; they are not read yet.",
                         "Ask for the state_dict: torch.save(model.state_dict(), 'teacher.pt')")
    if any("serialized_exported_program" in name or name.endswith("models/model.json") for name in names):
        raise FramiError(f"{path} is a torch.export program (.pt2); they are not read yet.",
                         "Ask for the state_dict: torch.save(model.state_dict(), 'teacher.pt')")


def _globals_wanted(path: Path, error: Exception) -> list[str]:
    """The functions and classes that a file would call, as far as they can be told without calling them."""
    if zipfile.is_zipfile(path):
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    return sorted(set(re.findall(r"GLOBAL (\S+)", str(error))))


def _damaged(path: Path, error: Exception) -> FramiError:
    reason = str(error).strip().partition("\n")[0]
    return FramiError(f"{path} is damaged or truncated ({path.stat().st_size} bytes): "
                      f"{type(error).__name__}{f': {reason}' if reason else ''}",
                      "Compare its size or checksum with the original and copy it again.")
