"""Parameters and multiply-accumulates: what an edge reader looks for first."""

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

FRAMES_PER_SECOND = 101  # 1 s at a hop of 10 ms, centred


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def macs(network: nn.Module, n_mels: int = 40, frames: int = FRAMES_PER_SECOND) -> int:
    """Multiply-accumulates of convolutions and matrix products for one clip of ``frames`` frames.

    Recurrent layers and attention are counted by the products they are made of, whatever modules they are in.
    """
    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    training = network.training
    try:
        with _in_single_operators(), FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, n_mels, frames, device=device))
    finally:
        network.train(training)
    return int(counter.get_total_flops()) // 2  # a multiplication and an addition


@contextlib.contextmanager
def _in_single_operators() -> Iterator[None]:
    """Without the fused kernels of recurrent layers and attention, which the counter does not know."""
    fused = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of switches for devices that are not here
        with (torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False),
              sdpa_kernel(SDPBackend.MATH)):
            torch.backends.mha.set_fastpath_enabled(False)
            try:
                yield
            finally:
                torch.backends.mha.set_fastpath_enabled(fused)
