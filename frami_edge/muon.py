"""Muon: momentum whose matrices are made orthogonal before each step (Jordan et al. 2024), for convolutions.

A gradient of a convolution is dominated by few directions, and SGD hardly moves the others; with all singular values
made alike every direction learns. ``torch.optim.Muon`` takes two-dimensional weights alone and always multiplies in
bf16, which a CPU that does not know it emulates: 6.6 s a step for one kernel of a ResNet-18. Here autocast decides.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al.: steepest at zero, so that small singular values rise soonest
ITERATIONS = 5
LIKE_ADAM = 0.2  # root mean square of an update at a rate of 1, as of AdamW's (Liu et al. 2025, arXiv:2502.16982)


def orthogonalised(matrix: Tensor) -> Tensor:
    """U S V^T (m, n) -> about U V^T, by a Newton-Schulz iteration: singular values between .7 and 1.2.

    Those below a thousandth of the matrix's norm stay smaller. All zeros stay so.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp_min(1e-20)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrix else x.T


def split(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The weights that Muon is for, and all others.

    Kernels of convolutions, but for depthwise ones and those of a single input channel: each of their rows is a filter
    of its own. The classifier and what a normalisation learns stay with the other optimizer, as in the source.
    """
    weights = list(network.parameters())
    kernels = [weight for weight in weights if weight.ndim >= 3 and weight.shape[1] > 1]
    chosen = {id(kernel) for kernel in kernels}
    return kernels, [weight for weight in weights if id(weight) not in chosen]


def optimizers(network: nn.Module, lr: float, muon_lr: float, momentum: float,
               weight_decay: float) -> list[torch.optim.Optimizer]:
    """SGD for all weights; where ``muon_lr`` is above 0, for those that Muon is not for, and Muon."""
    kernels, rest = split(network) if muon_lr else ([], list(network.parameters()))
    sgd = torch.optim.SGD(rest, lr=lr, momentum=momentum, weight_decay=weight_decay)
    return [sgd, Muon(kernels, muon_lr, momentum)] if kernels else [sgd]


class Muon(torch.optim.Optimizer):
    """Nesterov's momentum, orthogonalised; each kernel is a matrix of (out, in x taps).

    The step of a matrix (m, n) is scaled by .2 sqrt(max(m, n)), so that rates are those of AdamW. There is no weight
    decay: behind a normalisation the size of a kernel is without effect but on the rate.
    """

    def __init__(self, kernels: Iterable[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(kernels, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is not None:
                    update = self._direction(kernel, kernel.grad, group["momentum"])
                    kernel.sub_(update.view(kernel.shape), alpha=group["lr"] * LIKE_ADAM * math.sqrt(max(update.shape)))
        return loss

    def _direction(self, kernel: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        """(out, in x taps), orthogonalised."""
        memory = self.state[kernel]
        if "momentum" not in memory:
            memory["momentum"] = torch.zeros_like(kernel)
        average = memory["momentum"].mul_(momentum).add_(gradient)
        return orthogonalised(torch.add(gradient, average, alpha=momentum).flatten(1)).contiguous()
