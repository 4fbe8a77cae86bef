"""A device that is not there: tensors that say they are on CUDA, and refuse to meet those of the CPU as CUDA's do.

They are computed with on the CPU, so whatever runs on it must come to the same end. What it shows is that everything is
where it should be, and that the branches for other devices than the CPU are right; not CUDA's kernels, nor autocast.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("cuda:0")
AWAY = (DEVICE.type, "meta")
aten = torch.ops.aten
MOVES = (aten._to_copy, aten.copy_)
INDEXES = (aten.index, aten.index_put, aten.index_put_)  # CUDA's take indices that lie on the CPU; not the other way


class Elsewhere(Tensor):
    """A tensor on :data:`DEVICE`; ``here`` is what it holds. PyTorch itself is told "meta", which needs no driver."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Elsewhere":
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            device="meta")
        made.here = here
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.here.detach().__reduce_ex__(protocol)  # checkpoints are read to the CPU anyway

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


class Placing(TorchDispatchMode):
    """Makes tensors elsewhere where a program asks for them there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operator makes of what its tensors hold.

    Raises:
        RuntimeError: they are on two devices.
    """
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    away = [leaf for leaf in given if isinstance(leaf, Elsewhere)]
    operator = function.overloadpacket
    if operator not in MOVES and not (operator in INDEXES and isinstance(args[0], Elsewhere)):
        check_one_device(function, given, away)
    target = kwargs.get("device")
    goes_away = bool(away) if target is None else torch.device(target).type in AWAY
    if target is not None:
        kwargs = kwargs | {"device": torch.device("cpu"), "pin_memory": None}
    plain_args, plain_kwargs = tree_map_only(Elsewhere, lambda each: each.here, (args, kwargs))
    made = function(*plain_args, **plain_kwargs)
    if operator is aten.copy_:
        return args[0]
    given_back = {} if target is not None else {id(each.here): each for each in away}  # by operators in place
    if goes_away:
        return tree_map_only(Tensor, lambda each: given_back[id(each)] if id(each) in given_back else Elsewhere(each),
                             made)
    return made


def check_one_device(function: Any, given: Iterable[Tensor], away: Iterable[Tensor]) -> None:
    """Numbers, which have no dimension, go with tensors of any device."""
    if away and any(each.dim() > 0 and not isinstance(each, Elsewhere) for each in given):
        raise RuntimeError(f"{function}: Expected all tensors to be on the same device, but found at least two, "
                           f"{DEVICE} and cpu!")


@contextlib.contextmanager
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Within the block there is a CUDA device, as far as tensors know."""
    for name, instead in (("_lazy_init", lambda: None), ("empty_cache", lambda: None),
                          ("get_rng_state", lambda device: torch.get_rng_state()),
                          ("set_rng_state", lambda state, device: None)):
        monkeypatch.setattr(torch.cuda, name, instead)
    # a module's parameters are new ones after it was moved: only PyTorch's own types can be given another content
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]  # torch.tensor(...): made here, then moved
    try:
        with Placing():
            yield DEVICE
    finally:
        torch._C._set_only_lift_cpu_tensors(False)  # type: ignore[attr-defined]
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
