"""Where and in which precision to compute: bf16 where the machine multiplies it fast, float32 elsewhere."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from frami_edge.errors import EXIT_USAGE, FramiError

M = TypeVar("M", bound=nn.Module)
AMPERE = 8  # compute capability from which on NVIDIA's devices multiply bf16
# what PyTorch says of tensors on several devices, at operators and at convolutions
MIXED_DEVICES = re.compile("on the same device|[Ii]nput type .* and (weight|bias) type .* should be the same")
KEEPS_TENSORS_BACK = ("Its code makes or keeps tensors that do not move with it. Let it take the device of its input, "
                      "x.device, or keep them by register_buffer.")
FAST_BF16_FLAGS = ("amx_bf16", "avx512_bf16")  # without them bf16 is emulated, and slower than float32


@dataclass(frozen=True)
class Compute:
    """Device, autocast type and memory format of the large networks. Losses and statistics stay float32."""

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = True

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if enabled else torch.bfloat16, enabled=enabled)

    def place(self, module: M) -> M:
        """Move it; a module may say ``channels_last = False`` where its code does not work in that format.

        Raises:
            FramiError: it does not run there on its ``example``, as modules with code of others have one.
        """
        module.to(self.device)
        if self.channels_last and getattr(module, "channels_last", True):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.device.type != "cpu" and isinstance(example := getattr(module, "example", None), torch.Tensor):
            self._try(module, example)
        return module

    @torch.no_grad()
    def _try(self, module: nn.Module, example: torch.Tensor) -> None:
        training = module.training
        try:
            module.eval()(example.to(self.device))
        except RuntimeError as error:
            if not MIXED_DEVICES.search(str(error)):
                raise
            raise FramiError(f"The network does not go along to {self.device}: {error}",
                             f"{KEEPS_TENSORS_BACK} Or say --device cpu.") from error
        finally:
            module.train(training)

    def summary(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        precision = "float32" if self.dtype == torch.float32 else "bfloat16 autocast"
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        return f"{name}, {precision}{threads}"


def is_recurrent(network: nn.Module) -> bool:
    """Whether it has an RNN, GRU or LSTM, also as an operator of an exported program."""
    return any(isinstance(module, nn.RNNBase) or getattr(module, "recurrent", False) for module in network.modules())


def eval_backward(recurrent: bool, x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """For calling a network in eval mode on ``x``: cuDNN has no backward for recurrent layers then, PyTorch has."""
    if recurrent and x.is_cuda and x.requires_grad and torch.is_grad_enabled():
        return torch.backends.cudnn.flags(enabled=False)
    return contextlib.nullcontext()


def cpu_flags() -> set[str]:
    """Instruction-set flags of the first core as Linux names them; empty where unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()


def _fast_bf16(device: torch.device) -> bool:
    """Whether a CUDA device multiplies bf16 itself; PyTorch's own answer counts emulation, which is slower."""
    if torch.version.hip:
        return torch.cuda.is_bf16_supported()
    return torch.cuda.get_device_capability(device)[0] >= AMPERE


def choose(device: str = "auto", precision: str = "auto") -> Compute:
    """Pick device ("auto", "cpu", "cuda", "cuda:1") and precision ("auto", "float32", "bf16")."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise FramiError(f"Unknown device '{device}'.", "Known: auto, cpu, cuda, cuda:0 and so on.",
                         exit_code=EXIT_USAGE)
    if device != "cpu" and not torch.cuda.is_available():
        raise FramiError("There is no CUDA device that PyTorch can use.", "Say --device cpu.", exit_code=EXIT_USAGE)
    if ":" in device and int(device.partition(":")[2]) >= torch.cuda.device_count():
        raise FramiError(f"There is no {device}: PyTorch sees {torch.cuda.device_count()} CUDA devices.",
                         "They are counted from cuda:0 on.", exit_code=EXIT_USAGE)
    if precision not in ("auto", "float32", "bf16"):
        raise FramiError(f"Unknown precision '{precision}'.", "Known: auto, float32, bf16.", exit_code=EXIT_USAGE)
    if precision == "auto":
        if device != "cpu":
            fast = _fast_bf16(torch.device(device))
        else:
            fast = any(flag in cpu_flags() for flag in FAST_BF16_FLAGS)
        precision = "bf16" if fast else "float32"
    return Compute(torch.device(device), torch.bfloat16 if precision == "bf16" else torch.float32)
