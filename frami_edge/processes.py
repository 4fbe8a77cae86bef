"""Several processes that work on one run, each on its own accelerator or share of the cores.

``--devices N`` starts them (:func:`supervise`), ``torchrun`` does as well; in each of them Lightning Fabric
(:func:`join`) sets up what connects them. One process alone needs none of it.
"""

import atexit
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from frami_edge.compute import choose
from frami_edge.errors import EXIT_CANNOT_RUN, EXIT_USAGE, FramiError
from frami_edge.runtime.fresh import OWN_PACKAGES, own_path

STRATEGIES = ("ddp",)
GO_ON = "What was saved is kept: go on with the same command and --resume."


class Alone:
    """One process: nothing to wait for, nothing to share."""

    rank, size = 0, 1

    def wrap(self, module: nn.Module, method: str) -> Callable[..., Any]:
        """``module.method`` whose gradients are the mean over all processes; parameters begin as those of the first."""
        call: Callable[..., Any] = getattr(module, method)
        return call

    def backward(self, total: torch.Tensor) -> None:
        total.backward()

    def wait(self) -> None:
        """Until all processes are here."""

    def agreed(self, decision: bool) -> bool:
        """The decision of the first process."""
        return decision

    def gathered(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """The states of all processes, in the first one; empty in the others."""
        return [state]

    def share_buffers(self, module: nn.Module) -> None:
        """Give BatchNorms everywhere the running statistics of the first process: each has those of its own share."""


class Together(Alone):
    """This process among others, by Lightning Fabric.

    Raises from every method:
        FramiError: another process has ended.
    """

    def __init__(self, fabric: Any) -> None:
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size

    def wrap(self, module: nn.Module, method: str) -> Callable[..., Any]:
        wrapped = self.fabric.setup_module(module, move_to_device=False)
        if method != "forward":
            wrapped.mark_forward_method(method)
        return lambda *values: self._or_told(getattr(wrapped, method), *values)

    def wait(self) -> None:
        self._or_told(self.fabric.barrier)

    def agreed(self, decision: bool) -> bool:
        return bool(self._or_told(self.fabric.broadcast, decision))

    def gathered(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        states: list[Any] | None = [None] * self.size if self.rank == 0 else None
        self._or_told(torch.distributed.gather_object, on_cpu(state), states)
        return states or []

    def share_buffers(self, module: nn.Module) -> None:
        for buffer in module.buffers():
            self._or_told(torch.distributed.broadcast, buffer, 0)

    def backward(self, total: torch.Tensor) -> None:
        self._or_told(total.backward)

    def _or_told(self, call: Callable[..., Any], *values: Any) -> Any:
        try:
            return call(*values)
        except RuntimeError as error:  # gloo and nccl have no type of their own for a lost connection
            if not lost_connection(error):
                raise
            raise FramiError(f"Another process of this run has ended (this is {self.rank + 1} of {self.size}).",
                             GO_ON) from error


ALONE = Alone()


def rank_here() -> int:
    """This process's number, before anything connects them."""
    return int(os.environ.get("RANK", 0))


def started_by_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def join(device: torch.device, strategy: str) -> Alone:
    """Connect with the other processes; waits for them."""
    if not started_by_torchrun():
        return ALONE
    fabric_class = _fabric()
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    fabric = fabric_class(accelerator=device.type, devices=here, num_nodes=int(os.environ["WORLD_SIZE"]) // here,
                          strategy=strategy)
    fabric.launch()
    # its threads, ended by the interpreter's own end, now and then end the process with a signal (gloo)
    atexit.register(_leave)
    if device.type == "cuda":
        torch.cuda.set_device(fabric.device)
    return Together(fabric)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def check_devices(count: int, device: str) -> None:
    """Raise :class:`FramiError` unless each of ``count`` processes gets a device of its own."""
    chosen = choose(device).device
    if ":" in device:
        raise FramiError(f"--device {device} is one device, for one process.",
                         f"Say --device cuda --devices {count}, or leave out --devices.", exit_code=EXIT_USAGE)
    if chosen.type == "cuda" and count > torch.cuda.device_count():
        raise FramiError(f"--devices {count}: PyTorch sees {torch.cuda.device_count()} CUDA devices.",
                         "Each process needs one; --device cpu shares the cores instead.", exit_code=EXIT_USAGE)


def supervise(count: int) -> int:
    """Run this very command in ``count`` processes and wait for them; returns their exit code.

    Raises:
        FramiError: one of them was killed; the others are ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _fabric()  # that it is missing is told once, and here
    config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=count, rdzv_backend="c10d",
                          rdzv_endpoint="localhost:0", run_id="frami-edge", max_restarts=0, monitor_interval=0.2)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it says is told below
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    try:
        os.environ["PYTHONPATH"] = own_path()
        elastic_launch(config, sys.executable)(*OWN_PACKAGES, "frami_edge", *sys.argv[1:])
    except SignalException as error:  # Ctrl-C, or SIGTERM; by now it has been passed on to all processes
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        rank, code = next(iter(codes.items()))
        if code > 0:  # it has told why
            return code
        raise FramiError(f"Process {rank + 1} of {count} was killed by signal {-code}, and the others were ended.",
                         GO_ON, exit_code=EXIT_CANNOT_RUN) from None
    return 0


def lost_connection(error: RuntimeError) -> bool:
    """Whether an error of a collective says that another process is gone."""
    text = str(error).lower()
    return any(words in text for words in ("connection closed", "connection reset", "broken pipe", "timed out",
                                           "socket", "gloo", "nccl"))


def on_cpu(state: Any) -> Any:
    """Nested dictionaries and lists with their tensors on the CPU."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: on_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(on_cpu(value) for value in state)
    return state


def _fabric() -> Any:
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError:
        raise FramiError("Several processes need Lightning Fabric, which is not installed here.",
                         "pip install 'frami-edge[distill]'") from None
    return Fabric
