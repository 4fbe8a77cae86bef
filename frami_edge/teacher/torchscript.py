"""The weights in a TorchScript file, read without ``torch.jit.load``.

A TorchScript file is a program, and loading one already runs it: the ``__setstate__`` of its classes, with every
operator of PyTorch at hand, ones that write files among them (``torch.load(weights_only=True)`` refuses such files
since 2.6, CVE-2025-32434). Nor would hooks fire inside, which inversion needs. The weights, however, lie in a pickle
of the modules' attributes, which is read here with an unpickler that builds tensors and nothing else.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from frami_edge.errors import FramiError

STORAGES = {"FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
            "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
            "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
            "BoolStorage": torch.bool}
SCRIPT_CLASSES = "__torch__."  # the package of every class of a TorchScript program
MOST_MODULES = 10_000


class ScriptWeights(dict[str, Tensor]):
    """The state_dict of a TorchScript program; what it computes is not known."""


class _Object:
    """An instance of a class of the program: its attributes, in ``__dict__``."""


def read_weights(path: Path) -> ScriptWeights:
    """Parameters and buffers of the program in ``path``, by the names that ``state_dict()`` gives them.

    Raises:
        FramiError: the weights are part of its code (torch.jit.freeze), or it needs unknown classes.
        Exception: anything, where the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        reader = _Reader(archive.read(name), archive, name.removesuffix("data.pkl"))
        try:
            root = reader.load()
        except _UnknownError as error:
            raise FramiError(f"{path} is a TorchScript program that needs {error}.",
                             "Ask for the state_dict: torch.save(model.state_dict(), 'teacher.pt')") from error
    found = _collect(root)
    if not found:
        raise FramiError(f"{path} is a TorchScript program without weights of its own: torch.jit.freeze has put them "
                         "into its code and folded the BatchNorms away.",
                         "Ask for the program before it was frozen, or for the state_dict.")
    return found


class _UnknownError(Exception):
    """Names what the pickle asks for."""


class _Reader(pickle._Unpickler):  # the one written in Python: the other allocates what a file declares
    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # by opcode

    def __init__(self, content: bytes, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(content))
        self.archive, self.folder = archive, folder
        self.storages: dict[str, bytearray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(SCRIPT_CLASSES) or module == SCRIPT_CLASSES[:-1]:
            return _Object
        known = {("torch._utils", "_rebuild_tensor_v2"): _rebuild, ("collections", "OrderedDict"): OrderedDict,
                 ("torch.jit._pickle", "restore_type_tag"): _first,
                 **{("torch.jit._pickle", f"build_{kind}"): _first
                    for kind in ("intlist", "doublelist", "boollist", "tensorlist")},
                 **{("torch", storage): dtype for storage, dtype in STORAGES.items()}}
        if (module, name) not in known:
            raise _UnknownError(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> tuple[bytearray, torch.dtype]:
        _, dtype, key, _, _ = pid
        assert isinstance(dtype, torch.dtype) and isinstance(key, str)
        if key not in self.storages:
            self.storages[key] = bytearray(self.archive.read(f"{self.folder}data/{key}"))
        return self.storages[key], dtype

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Object) or not isinstance(state, dict):
            raise _UnknownError("classes with a __setstate__ of their own")
        self.stack[-1].__dict__ |= state

    dispatch[pickle.BUILD[0]] = load_build


def _rebuild(storage: tuple[bytearray, torch.dtype], offset: int, sizes: tuple[int, ...], strides: tuple[int, ...],
             *_rest: Any) -> Tensor:
    content, dtype = storage
    if not prod(sizes):
        return torch.zeros(sizes, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).as_strided(sizes, strides, offset)


def _first(value: Any, *_rest: Any) -> Any:
    return value


def _collect(root: _Object) -> ScriptWeights:
    """The tensors among the attributes of a module and of those within it, under their paths."""
    found = ScriptWeights()
    waiting = [("", root)]
    for _ in range(MOST_MODULES):
        if not waiting:
            return found
        prefix, module = waiting.pop()
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, _Object):
                waiting.append((f"{prefix}{name}.", value))
    raise ValueError(f"more than {MOST_MODULES} modules, or modules that contain themselves")
