"""How near a mixture of sounds comes to what a teacher's first BatchNorm layers remember.

In eval mode a network treats every clip by itself, so the mean and the mean square that a mixture of sounds gives at a
BatchNorm are the weighted averages of those of the sounds: the best mixture is a least-squares fit.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frami_edge.inversion.batch_norm import constant_channels
from frami_edge.teacher.taps import BatchNorm, Teacher

LAYERS = 3  # the first ones: near the front-end, and cheap to reach
BATCH = 16
LARGEST_SHARE = 10.0  # of a sound in a mixture, in units of an equal share: at least a tenth of the sounds take part
STEPS = 200  # of the fit
KEPT = 0.75  # of a layer's channels are counted; what recordings never had, such as high frequencies, upsets a few
SMALLEST_VARIANCE = 1e-6  # of the layer's median; below it a channel is dead and says nothing
TOO_FAR = 900.0  # squared distance in running variances; what lies further counts as that


class LayerGap(NamedTuple):
    """What the best mixture gives at one BatchNorm."""

    name: str
    mean_offset: float  # root mean square over channels of (mean - running_mean) / sqrt(running_var)
    variance_ratio: float  # median over channels of variance / running_var


class Fit(NamedTuple):
    gap: float  # over all looked-at layers; 0 where a mixture gives just the running statistics
    layers: tuple[LayerGap, ...]


class _Reached(Exception):  # noqa: N818 - not an error: the last layer of interest was reached
    pass


@torch.no_grad()
def first_batch_norms(teacher: Teacher) -> list[str]:
    """The first layers that tell something, in the order in which they run, whose input has a row for each clip.

    Not those that run twice: their statistics are a mixture of two places.
    """
    order: list[str] = []
    modules = teacher.batch_norms()

    def note(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if len(inputs[0]) == 2 and _telling(modules[name]).any():
                order.append(name)

        return hook

    handles = [module.register_forward_pre_hook(note(name)) for name, module in modules.items()]
    try:
        teacher(torch.zeros(2, teacher.card.frontend.rows, teacher.card.frames))
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in order if order.count(name) == 1][:LAYERS]


def fit_sounds(teacher: Teacher, layers: list[str], log_mels: Tensor) -> Fit:
    """The mixture of sounds that comes nearest to the running statistics, and how near.

    In each layer the distance is sqrt(mean over channels of m^2 + (q - 1)^2), with m the mean of the mixture and q its
    mean square, both about running_mean and in units of sqrt(running_var), without the worst quarter of the channels;
    the gap is the root mean square over layers.

    Args:
        layers: names of BatchNorm layers, in the order in which they run.
        log_mels: normalised, (sounds, n_mels, frames).
    """
    moments = _moments(teacher, layers, log_mels)
    capped = [values.clamp(-TOO_FAR**0.5, TOO_FAR).double() for values in moments.values()]
    columns, goals = [], []
    for values in capped:
        channels = values.shape[1] // 2
        scale = (channels * len(capped)) ** -0.5
        columns.append(values * scale)
        goals.append(torch.cat([torch.zeros(channels), torch.ones(channels)]) * scale)
    matrix, goal = torch.cat(columns, 1), torch.cat(goals).double()
    shares = _mixture(matrix, goal, LARGEST_SHARE / len(matrix))
    squares = torch.stack([_squared_gap(shares @ values) for values in capped])
    of_layers = tuple(_layer_gap(name, shares @ values.double()) for name, values in moments.items())
    return Fit(float(squares.mean().sqrt()), of_layers)


@torch.no_grad()
def _moments(teacher: Teacher, layers: list[str], log_mels: Tensor) -> dict[str, Tensor]:
    """Mean and mean square about running_mean, in units of the running deviation: (sounds, 2 * channels) each."""
    modules = teacher.batch_norms()
    found: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> Any:
        mean, variance = modules[name].running_mean, modules[name].running_var
        assert mean is not None and variance is not None
        alive = _telling(modules[name])

        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].float().flatten(2) if inputs[0].dim() > 2 else inputs[0].float().unsqueeze(2)
            x = (x[:, alive] - mean[alive, None]) / variance[alive, None].sqrt()  # (sounds, channels, positions)
            found[name].append(torch.cat([x.mean(2), x.square().mean(2)], 1))
            if name == layers[-1]:
                raise _Reached

        return hook

    handles = [modules[name].register_forward_pre_hook(keep(name)) for name in layers]
    try:
        for batch in log_mels.split(BATCH):
            try:
                teacher(batch)
            except _Reached:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def _telling(module: BatchNorm) -> Tensor:
    """Which channels are neither dead nor were constant in training: those are off by hundreds of deviations wherever
    anything stirs in them."""
    assert module.running_var is not None
    variance = module.running_var
    return (variance > SMALLEST_VARIANCE * variance.median()) & ~constant_channels(module)


def _squared_gap(mixed: Tensor) -> Tensor:
    """Mean over the better channels of m^2 + (q - 1)^2."""
    mean, square = mixed.chunk(2)
    each = mean.square() + (square - 1).square()
    return each.sort().values[: math.ceil(KEPT * len(each))].mean()


def _layer_gap(name: str, mixed: Tensor) -> LayerGap:
    mean, square = mixed.chunk(2)
    return LayerGap(name, float(mean.square().mean().sqrt()), float((square - mean.square()).median()))


def _mixture(matrix: Tensor, goal: Tensor, largest: float) -> Tensor:
    """Shares w in [0, largest] that sum to 1 and bring w @ matrix near ``goal``: accelerated projected gradient."""
    gram, product = matrix @ matrix.T, matrix @ goal
    rate = 1 / float(torch.linalg.matrix_norm(gram, 2))
    shares = ahead = torch.full((len(matrix),), 1 / len(matrix), dtype=matrix.dtype)
    momentum = 1.0
    for _ in range(STEPS):
        following = _onto_shares(ahead - rate * (gram @ ahead - product), largest)
        after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / after * (following - shares)
        shares, momentum = following, after
    return shares


def _onto_shares(values: Tensor, largest: float) -> Tensor:
    """The nearest vector with entries in [0, largest] that sum to 1; bisection of what is taken off."""
    low, high = float(values.min()) - largest, float(values.max())
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if float((values - middle).clamp(0, largest).sum()) > 1 else (low, middle)
    return (values - high).clamp(0, largest)
