"""Statistics pooling, where a sequence of any length becomes its mean and its standard deviation; and how to tell which
pooling others use."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VARIANCE_EPSILON = 1e-5  # inside the root: the gradient of sqrt at 0 is infinite


def pool_statistics(frames: Tensor) -> Tensor:
    """Mean and standard deviation over time, (batch, features, time) -> (batch, 2 * features).

    The variance is the biased one and centred: E[x^2] - E[x]^2 in float32 goes negative for features
    whose mean is large against their spread.
    """
    mean = frames.mean(-1)
    variance = (frames - mean.unsqueeze(-1)).square().mean(-1)
    return torch.cat([mean, (variance + VARIANCE_EPSILON).sqrt()], dim=1)


class StatisticsPooling(nn.Module):
    """:func:`pool_statistics` as a layer."""

    def forward(self, frames: Tensor) -> Tensor:
        return pool_statistics(frames)


class Form(NamedTuple):
    """What follows the frame-level output without being a module, and how time is then pooled away."""

    pooling: str  # mean, max, mean + max, last, first, flatten, attention, or unknown
    rectified: bool = False  # a ReLU written as a function
    mel_mean: bool = False  # the mean over what is left of the Mel bands

    def apply(self, states: Tensor) -> Tensor:
        """(batch, ..., time) -> (batch, features, time)."""
        states = F.relu(states) if self.rectified else states
        states = states.mean(-2) if self.mel_mean else states
        return states.flatten(1, -2)


def exactly(states: Tensor, vector: Tensor) -> Form | None:
    """How ``vector`` (batch, d), or its first or second part, is pooled from ``states`` (batch, ..., time)."""
    for mel_mean in (False, True) if states.dim() == 4 else (False,):
        for rectified in (False, True):
            h = Form("", rectified, mel_mean).apply(states)
            if h.shape[2] > 1 and _close(vector.sort(1).values, h.flatten(1).sort(1).values):  # in whatever order
                return Form("flatten", rectified, mel_mean)
            width = h.shape[1]
            mean, largest = h.mean(-1), h.amax(-1)
            pools = {"mean": mean, "max": largest, "mean + max": mean + largest, "last": h[..., -1], "first": h[..., 0]}
            for pooling, pooled in pools.items():
                # a score for each frame that a ReLU leaves nothing of equals any channel that is never active
                if pooled.any() and any(_close(vector[:, start : start + width], pooled) for start in (0, width)):
                    return Form(pooling, rectified, mel_mean)
    return None


def by_scores(states: Tensor, vector: Tensor, scores: Tensor) -> Form | None:
    """Whether ``vector``, or its first part, is the mean of ``states`` by the softmax over time of ``scores``, or by
    these themselves: one for each frame, or for each feature of it (batch, ..., time).

    The deviation may follow: attentive statistics pooling (Okabe et al. 2018), as ECAPA-TDNN has it.
    """
    scores = scores.flatten(1, -2)
    for mel_mean in (False, True) if states.dim() == 4 else (False,):
        for rectified in (False, True):
            h = Form("", rectified, mel_mean).apply(states)
            if scores.shape[2] == h.shape[2] > 1 and scores.shape[1] in (1, h.shape[1]):
                pools = ((weights * h).sum(-1) for weights in (scores.softmax(-1), scores))
                if any(pooled.any() and _close(vector[:, : h.shape[1]], pooled) for pooled in pools):
                    return Form("attention", rectified, mel_mean)
    return None


def as_attention(states: Tensor, vector: Tensor) -> Form | None:
    """A mean over time with weights that are not known lies between the smallest and the largest value."""
    for mel_mean in (False, True) if states.dim() == 4 else (False,):
        for rectified in (False, True):
            h = Form("", rectified, mel_mean).apply(states)
            if h.shape[1:2] == vector.shape[1:] and h.shape[1] > 1:
                slack = 1e-4 * (1 + h.abs().amax(-1))
                if ((vector > h.amin(-1) - slack) & (vector < h.amax(-1) + slack)).all():
                    return Form("attention", rectified, mel_mean)
    return None


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().mean()) + 1e-7)
