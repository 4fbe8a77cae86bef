"""A vendor's file becomes Python objects without running anyone's code. Bytes are sniffed, never the suffix."""

import contextlib
import io
import pickle
import re
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frami_edge.errors import FramiError
from frami_edge.teacher.archives import Kind, bytes_of, look_into, refuse_inflated
from frami_edge.teacher.exported import read_program
from frami_edge.teacher.program import Program
from frami_edge.teacher.torchscript import read_weights

# first bytes of what people hand over by mistake -> what it is, what to do
NOT_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Fetch the file: git lfs pull"),
    (b"<!doctype", "a web page", "The download gave an error or login page; fetch the file again."),
    (b"<html", "a web page", "The download gave an error or login page; fetch the file again."),
    (b"\x89hdf", "an HDF5 file (Keras?)", "Only PyTorch checkpoints are read."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
)
QUANTIZED = "torch.ao.nn.quantized"  # modules of torch.ao.quantization
PACKED = "_packed_params"  # in the names of their weights
MAIN = "__main__"
SCRIPTS = ("It was saved whole by a script, whose classes nobody can import: ask for a state_dict, and name the code "
           "that builds the network with --arch model.py:build.")
SAFETENSORS = (".safetensors", "Convert it: torch.save(safetensors.torch.load_file(FILE), 'teacher.pt')")


def read_content(path: Path, trust: bool) -> Any:
    """What is in ``path``, on the CPU: what ``torch.save`` put there, an exported :class:`Program`, or the weights of a
    TorchScript program.

    Args:
        path: the file.
        trust: whether code may be run where the file cannot be read without.

    Raises:
        FramiError: the file is missing, empty, truncated, of another kind, or needs code and ``trust`` is false.
    """
    kind = _kind(path)
    if kind is Kind.EXPORTED:
        content = _read(read_program, path)
    elif kind is Kind.SCRIPT:
        content = _read(read_weights, path)
    else:
        content = _read_pickled(path, trust)
    refuse_inflated(bytes_of(_tensors(content)), path.stat().st_size, path)
    _refuse_quantized(content, path)
    return content


def _read_pickled(path: Path, trust: bool) -> Any:
    # a bare pickle is read from memory, where a length of 4 GB in it is cut to what is there, and not allocated first
    source = path if zipfile.is_zipfile(path) else io.BytesIO(path.read_bytes())
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _globals_wanted(path, error)
        if not wanted:
            raise _damaged(path, error) from error
    except Exception as error:  # whatever torch raises on bytes it does not know
        raise _damaged(path, error) from error
    if not trust:
        raise FramiError(f"{path} cannot be read without running code: it wants {', '.join(wanted)}.",
                         SCRIPTS if any(each.startswith(MAIN) for each in wanted) else
                         "Ask the vendor for a plain state_dict, or say --trust if you trust the file as a program.")
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (ModuleNotFoundError, AttributeError) as error:
        raise FramiError(f"{path} was saved as a whole object, and its code is not here: {error}.",
                         SCRIPTS if MAIN in str(error) else
                         "Install the vendor's package, or ask for a plain state_dict.") from error
    except Exception as error:  # the code in the file may raise anything
        raise _damaged(path, error) from error


def find_state_dicts(content: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Every state_dict in what a file holds, by where it was found ("" is the whole file)."""
    if isinstance(content, Program):
        return {"": content.weights}
    if isinstance(content, nn.Module):
        return {"": dict(_tensors_by_name(content))}
    return {place: weights for place, weights in _dictionaries(content)
            if weights and all(isinstance(key, str) and isinstance(value, torch.Tensor)
                               for key, value in weights.items())}


def _dictionaries(content: Any) -> Iterator[tuple[str, dict[Any, Any]]]:
    """The dictionaries within dictionaries, by the keys that lead there; none is entered twice."""
    waiting: deque[tuple[str, Any]] = deque([("", content)])
    entered: set[int] = set()
    while waiting:
        place, value = waiting.popleft()
        if not isinstance(value, dict):
            continue
        yield place, value
        if id(value) in entered:
            continue
        entered.add(id(value))
        waiting += ((f"{place}.{key}" if place else key, inner) for key, inner in value.items() if isinstance(key, str))


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """Every tensor in the dictionaries of a file, or in the network that it is."""
    if isinstance(content, nn.Module):
        content = dict(_tensors_by_name(content))
    for _, values in _dictionaries(content):
        yield from (value for value in values.values() if isinstance(value, torch.Tensor))


def _tensors_by_name(net: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Of a network's state_dict; what else its modules may keep there is left out."""
    return ((key, value) for key, value in net.state_dict().items() if isinstance(value, torch.Tensor))


def _refuse_quantized(content: Any, path: Path) -> None:
    """Raise :class:`FramiError` where a network, or the only weights, are those of torch.ao's quantized layers."""
    if isinstance(content, nn.Module):
        quantized = [name for name, module in content.named_modules()
                     if type(module).__module__.startswith(QUANTIZED)]
    elif find_state_dicts(content):
        return
    else:
        quantized = [str(key) for _, values in _dictionaries(content) for key in values if PACKED in str(key)]
    if quantized:
        raise FramiError(f"{path} is quantized ({quantized[0]}): its weights are packed as integers.",
                         "Inversion needs gradients: ask for the weights in float32, from before the quantization.")


def _read(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except FramiError:
        raise
    except Exception as error:  # whatever comes of bytes, names and numbers that do not belong together
        raise _damaged(path, error) from error


def _kind(path: Path) -> Kind:
    """Raises :class:`FramiError` for whatever is none of PyTorch's formats."""
    if not path.exists():
        raise FramiError(f"There is no file {path}.")
    if not path.is_file():
        raise FramiError(f"{path} is not a file.", "Give the checkpoint inside it.")
    try:
        with open(path, "rb") as handle:
            head = handle.read(64)
    except OSError as error:
        raise FramiError(f"{path} cannot be read: {error.strerror}.", "Look at its permissions.") from error
    if not head:
        raise FramiError(f"{path} is empty (0 bytes).", "Copy or download it again.")
    for magic, kind, hint in NOT_WEIGHTS:
        if head.lower().startswith(magic):
            raise FramiError(f"{path} is {kind}.", hint)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise FramiError(f"{path} is a {SAFETENSORS[0]} file.", SAFETENSORS[1])
    if head.startswith(b"PK\x03\x04"):
        return look_into(path)
    if not head.startswith(b"\x80"):  # every pickle since protocol 2
        raise FramiError(f"{path} is not a PyTorch file (it starts with {head[:8]!r}).",
                         "A checkpoint written by torch.save is expected.")
    return Kind.PICKLED


def _globals_wanted(path: Path, error: Exception) -> list[str]:
    """The functions and classes that a file would call, as far as they can be told without calling them."""
    named = re.findall(r"GLOBAL (\S+)", str(error))
    if zipfile.is_zipfile(path):
        with contextlib.suppress(Exception):  # damaged beyond what was read so far
            named += torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return sorted(set(named))


def _damaged(path: Path, error: Exception) -> FramiError:
    told = str(error).partition("WeightsUnpickler error:")  # after advice to read it without weights_only
    reason = (told[2] or told[0]).strip().partition("\n")[0]
    return FramiError(f"{path} is damaged or truncated ({path.stat().st_size} bytes): "
                      f"{type(error).__name__}{f': {reason}' if reason else ''}",
                      "Compare its size or checksum with the original and copy it again.")
