"""A cheaper gradient for BatchNorms that never train, as a teacher's."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


class _FrozenBatchNorm(torch.autograd.Function):
    """BatchNorm by running statistics, with the gradient of its input alone: one factor for each channel.

    PyTorch's backward on the CPU also takes the sums for weight and bias, wanted or not, for which it keeps the input;
    it costs about one and a half to three times as much.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None,
                eps: float) -> Tensor:
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(scale if weight is None else weight * scale)
        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        ctx.memory_format = torch.channels_last if last else torch.contiguous_format
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scale, = ctx.saved_tensors
        zero, one = torch.zeros_like(scale), torch.ones_like(scale)
        # as a BatchNorm it is one fused operator, also for a bf16 gradient and a float32 scale
        scaled = F.batch_norm(gradient.contiguous(memory_format=ctx.memory_format), zero, one, scale, zero, eps=0.0)
        return scaled, None, None, None, None, None


def batch_norm(x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """``torch.nn.functional.batch_norm`` of (batch, channels, ...), whose gradient is cheaper if only ``x`` has one."""
    learns = any(part is not None and part.requires_grad for part in (weight, bias))
    if training or running_mean is None or running_var is None or learns or x.device.type != "cpu":
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return _FrozenBatchNorm.apply(x, running_mean, running_var, weight, bias, eps)


class CheapGradients(TorchFunctionMode):
    """Within the block, every BatchNorm of whatever network is :func:`batch_norm`."""

    def __torch_function__(self, function: Callable[..., Any], _types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        called = batch_norm if function is F.batch_norm else function
        return called(*args, **(kwargs or {}))
