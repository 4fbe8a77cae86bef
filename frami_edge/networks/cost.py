"""Parameters and multiply-accumulates: what an edge reader looks for first."""

from typing import Any

import torch
from torch import Tensor, nn

COUNTED = nn.Conv1d | nn.Conv2d | nn.Linear
FRAMES_PER_SECOND = 101  # 1 s at a hop of 10 ms, centred


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def macs(network: nn.Module, n_mels: int = 40, frames: int = FRAMES_PER_SECOND) -> int:
    """Multiply-accumulates of convolutions, linear and recurrent layers for one clip of ``frames`` frames."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal total
        if isinstance(module, nn.RNNBase):  # each step multiplies with all weights of all gates once
            weights = sum(value.numel() for name, value in module.named_parameters() if name.startswith("weight"))
            total += weights * (output[0].numel() // output[0].shape[-1])
            return
        assert isinstance(module, COUNTED)
        # each output element is one dot product with one filter or row
        total += output.numel() * module.weight[0].numel()

    layers = [module for module in network.modules() if isinstance(module, COUNTED | nn.RNNBase)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = network.training
    try:
        network.eval()(torch.zeros(1, n_mels, frames, device=next(network.parameters()).device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return total
