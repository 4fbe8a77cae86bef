"""A CUDA device where there is none: computed on the CPU, but tensors know where they would be, and may not mix.

What a real device adds (other kernels, speed, memory) is not tested by it. What it tests is that code written for a
device other than the CPU runs, and that nothing is left behind on the CPU.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
COPIES = {"copy_", "_foreach_copy_"}  # from one device to the other
INDEXED = {"index", "index_put_", "_index_put_impl_"}  # on the device, by indices from anywhere


class NotOnTheSameDeviceError(AssertionError, RuntimeError):
    """As PyTorch's own; and an assertion, for a test that meets it has failed."""


class PretendedCuda:
    """Within ``with PretendedCuda():`` there is a device "cuda:0"."""

    def __init__(self) -> None:
        self.there: dict[int, StorageWeakRef] = {}  # while there is one, the address does not come again
        self.modes = [_Placing(self), _Checking(self)]

    def __enter__(self) -> "PretendedCuda":
        for mode in self.modes:
            mode.__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        for mode in reversed(self.modes):
            mode.__exit__(*why)

    def holds(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.there

    def take(self, tensor: Tensor) -> None:
        storage = StorageWeakRef(tensor.untyped_storage())
        self.there[storage.cdata] = storage


def is_cuda(device: Any) -> bool:
    """Whether an argument asks for the device."""
    return device is not None and not isinstance(device, (Tensor, torch.dtype, torch.memory_format, bool, int, float)) \
        and torch.device(device).type == "cuda"


class _Placing(TorchFunctionMode):
    """What is said of devices in Python."""

    def __init__(self, device: PretendedCuda) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, function: Callable[..., Any], _types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if function == Tensor.device.__get__:  # type: ignore[attr-defined]
            return CUDA if self.device.holds(args[0]) else CPU
        if function == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return self.device.holds(args[0])
        if function in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(function, args, kwargs)
        if function == Tensor.__deepcopy__:  # copies the storage, and no operator with it
            copied = function(*args, **kwargs)
            if self.device.holds(args[0]):
                self.device.take(copied)
            return copied
        if not is_cuda(kwargs.get("device")):
            return function(*args, **kwargs)
        made = function(*args, **kwargs | {"device": CPU})
        self.device.take(made)
        return made

    def _moved(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        tensor, *rest = args
        wanted = [value for value in (*rest, kwargs.get("device")) if isinstance(value, (str, torch.device))]
        like = [value for value in rest if isinstance(value, Tensor)]
        here = self.device.holds(tensor)
        to_cuda = (function is Tensor.cuda or any(is_cuda(value) for value in wanted)
                   or any(self.device.holds(value) for value in like))
        to_cpu = not to_cuda and (function is Tensor.cpu or bool(wanted) or bool(like))
        arguments = [CPU if isinstance(value, (str, torch.device)) else value for value in rest]
        if function is not Tensor.to:
            arguments = [CPU]
        out: Tensor = Tensor.to(tensor, *arguments, **kwargs | ({"device": CPU} if "device" in kwargs else {}))
        if (to_cuda and not here) or (to_cpu and here):
            with _elsewhere(self.device, to_cuda):
                out = out.clone()
        return out


class _Checking(TorchDispatchMode):
    """What the operators are given, those of the backward too."""

    def __init__(self, device: PretendedCuda) -> None:
        super().__init__()
        self.device = device
        self.moving: bool | None = None

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [self.device.holds(tensor) for tensor in given]
        name, kwargs = operator.overloadpacket.__name__, kwargs or {}
        asked = is_cuda(kwargs.get("device"))  # of an operator that is called by its name, as those of a program are
        out = operator(*args, **kwargs | ({"device": CPU} if asked else {}))
        if name in COPIES:
            return out
        if any(there) and self.moving is None:
            left = [tensor for tensor, held in zip(given, there, strict=True) if not held and tensor.dim()]
            if left and not (name in INDEXED and there[0]):
                raise NotOnTheSameDeviceError(f"{operator} of tensors on cuda:0 and of one on the CPU, "
                                              f"{tuple(left[0].shape)}: they are not on the same device")
        if self.moving if self.moving is not None else (asked or any(there)):
            tree_map(lambda leaf: self.device.take(leaf) if isinstance(leaf, Tensor) else None, out)
        return out


@contextmanager
def _elsewhere(device: PretendedCuda, cuda: bool) -> Iterator[None]:
    """Within the block, what operators give is on the device, or is not, wherever they take it from."""
    checking = device.modes[1]
    assert isinstance(checking, _Checking)
    checking.moving = cuda
    try:
        yield
    finally:
        checking.moving = None
