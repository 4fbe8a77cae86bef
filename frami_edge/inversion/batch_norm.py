"""What the teacher's BatchNorms remember of its training data, and how far a batch of samples is from it."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.teacher.taps import BatchNorm, Teacher

SCALE_FLOOR = 1e-6  # real teachers have dead channels with variances below 1e-10


class Statistics(NamedTuple):
    """Per-channel mean and biased variance, (channels,) each, float32."""

    mean: Tensor
    variance: Tensor


class _ChannelStatistics(torch.autograd.Function):
    """Mean and variance per channel with a backward that is one affine map per channel.

    With N elements per channel, d mean / dx = 1 / N and d variance / dx = 2 (x - mean) / N, so the gradient is
    a * (x - mean) + b with a = 2 g_variance / N and b = g_mean / N: one fused batch-norm call. This costs an eighth of
    ``torch.var_mean`` hooks, which take longer than the network itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = _mean_and_variance(x.detach())
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        g_mean, g_variance = gradients
        count = x.numel() // x.shape[1]
        return F.batch_norm(x, mean, torch.ones_like(mean), 2 * g_variance / count, g_mean / count, eps=0.0)


def _mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Per-channel mean and biased variance in float32, also for bf16 input; on the CPU by the fused operator."""
    if x.device.type != "cpu":
        variance, mean = torch.var_mean(x.float(), dim=[axis for axis in range(x.dim()) if axis != 1], correction=0)
        return mean, variance
    running = torch.zeros(x.shape[1]), torch.ones(x.shape[1])  # float32, so that those of bf16 are float32 too
    mean, variance = torch.batch_norm_update_stats(x, *running, momentum=0.0)
    return mean, variance


def channel_statistics(x: Tensor) -> Statistics:
    """Mean and biased variance of (batch, channels, ...) over all axes but the second; differentiable."""
    return Statistics(*_ChannelStatistics.apply(x))


def sample_statistics(x: Tensor) -> Statistics:
    """Mean and biased variance of each sample of (batch, channels, ...) over the other axes: (batch, channels) each."""
    if x.device.type != "cpu":
        variance, mean = torch.var_mean(x.float().flatten(2), dim=2, correction=0)
        return Statistics(mean, variance)
    # on the CPU one fused operator for each sample takes a seventh of the time in channels_last
    samples = [channel_statistics(sample) for sample in x.split(1)]
    return Statistics(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


@contextlib.contextmanager
def recording(teacher: Teacher) -> Iterator[dict[str, Statistics]]:
    """Within the block, each forward pass records the statistics of what every BatchNorm is given.

    One that runs several times in a pass averages over its calls, as its running statistics did in training.
    """
    found: dict[str, Statistics] = {}
    calls: dict[str, list[Statistics]] = {}  # of this pass

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = calls.setdefault(name, [])
            seen.append(channel_statistics(inputs[0]))
            found[name] = seen[0] if len(seen) == 1 else Statistics(
                *(torch.stack(parts).mean(0) for parts in zip(*seen, strict=True)))

        return hook

    def begin(_net: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        calls.clear()

    # in front of the hooks of constant_channels_limited: what comes in is recorded, not what is let through
    handles = [module.register_forward_pre_hook(keep(name), prepend=True)
               for name, module in teacher.batch_norms().items()]
    handles.append(teacher.net.register_forward_pre_hook(begin, prepend=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def constant_channels(module: BatchNorm) -> Tensor:
    """Which channels have less variance than the layer's own epsilon, (channels,): they hardly moved in training."""
    assert module.running_var is not None
    return module.running_var < module.eps


@contextlib.contextmanager
def constant_channels_limited(teacher: Teacher, deviations: float) -> Iterator[None]:
    """Within the block, channels that were constant in training give BatchNorm only what they gave it then.

    BatchNorm multiplies such a channel by 1 / sqrt(eps), 316 as a rule, so that whatever is new in it drowns all else
    behind. It is cut ``deviations`` of its standard deviations from its mean, further than recordings of the training
    set reach; 0 lets everything through.
    """
    def limit(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert isinstance(module, BatchNorm) and module.running_mean is not None and module.running_var is not None
        reach = torch.where(constant_channels(module), deviations * module.running_var.sqrt(), torch.inf)
        x, *rest = inputs
        shape = (1, -1) + (1,) * (x.dim() - 2)
        low, high = ((module.running_mean + sign * reach).view(shape).to(x.dtype) for sign in (-1, 1))
        return torch.clamp(x, low, high), *rest

    handles = [module.register_forward_pre_hook(limit) for module in teacher.batch_norms().values()
               if deviations and constant_channels(module).any()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def targets(teacher: Teacher) -> dict[str, Statistics]:
    """The running statistics of every BatchNorm."""
    kept = {}
    for name, module in teacher.batch_norms().items():
        assert module.running_mean is not None and module.running_var is not None
        kept[name] = Statistics(module.running_mean.float(), module.running_var.float())
    return kept


def bn_loss(batch: dict[str, Statistics], target: dict[str, Statistics]) -> Tensor:
    """L_bn (Eq. 4): distance of batch statistics from running statistics, in each layer's own scale.

    Per layer ||mean - running_mean||_2 / ||sqrt(running_var)||_2 + ||variance - running_var||_2 / ||running_var||_2,
    averaged over layers. Without the scale the loss means something else for every teacher.

    Returns:
        scalar; 0 where every layer sees just what it saw in training, and where there is no layer.
    """
    gaps = [layer_gap(batch[name], goal) for name, goal in target.items()]
    return torch.stack(gaps).mean() if gaps else torch.zeros(())


def layer_gap(batch: Statistics, goal: Statistics) -> Tensor:
    """One layer's part of :func:`bn_loss`, a scalar."""
    mean_scale = goal.variance.sum().sqrt().clamp_min(SCALE_FLOOR)
    variance_scale = goal.variance.norm().clamp_min(SCALE_FLOOR)
    return ((batch.mean - goal.mean).norm() / mean_scale
            + (batch.variance - goal.variance).norm() / variance_scale)


def input_statistics(x: Tensor, by_band: bool = False) -> Statistics:
    """Mean and variance of the teacher's input (batch, rows, frames): (1,) each, or (rows,) by band.

    The vendor's normalisation took mean 0 and variance 1 from the training clips: statistics of the input that every
    card with such a normalisation knows, as if a BatchNorm stood in front of the network.
    """
    if by_band:
        variance, mean = torch.var_mean(x.float(), dim=(0, 2), correction=0)
        return Statistics(mean, variance)
    variance, mean = torch.var_mean(x.float(), correction=0)
    return Statistics(mean.view(1), variance.view(1))


class History:
    """Running average of batch statistics: makes small batches usable (Fast-DFKD, AAAI 2022).

    ``blend`` gives (1 - momentum) * batch + momentum * history, through which only the batch's part has a gradient;
    ``update`` takes in one finished batch.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.kept: dict[str, Statistics] = {}

    def blend(self, batch: dict[str, Statistics]) -> dict[str, Statistics]:
        if not self.kept or not self.momentum:
            return batch
        m = self.momentum
        return {
            name: Statistics(*((1 - m) * new + m * old for new, old in zip(now, self.kept[name], strict=True)))
            for name, now in batch.items()
        }

    @torch.no_grad()
    def update(self, batch: dict[str, Statistics]) -> None:
        self.kept = {name: Statistics(*(value.detach().clone() for value in now))
                     for name, now in self.blend(batch).items()}

    def state_dict(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {name: (value.mean, value.variance) for name, value in self.kept.items()}

    def load_state_dict(self, state: dict[str, tuple[Tensor, Tensor]], device: torch.device | str = "cpu") -> None:
        self.kept = {name: Statistics(*(part.to(device) for part in value)) for name, value in state.items()}
