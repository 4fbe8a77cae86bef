"""The distillation losses (Eqs. 6-11) as pure functions of tensors."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_N = 8


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """L_KD (Eq. 10): KL(teacher / T || student / T) * T^2, mean over the batch; logits (batch, classes)."""
    divergence = F.kl_div((student / temperature).log_softmax(1), (teacher / temperature).log_softmax(1),
                          reduction="batchmean", log_target=True)
    return divergence * temperature**2


def consensus(logits: Tensor, views: int) -> Tensor:
    """The log of the mean probability over the ``views`` views of each sample, for each of them; (batch, classes).

    The views of a sample lie next to each other.
    """
    together = logits.float().log_softmax(1).unflatten(0, (-1, views)).logsumexp(1) - math.log(views)
    return together.repeat_interleave(views, dim=0)


def boundaries(frames: int, count: int) -> list[int]:
    """``count`` bins over ``frames`` frames by rounded linspace: count + 1 indices, bins never overlap."""
    return [round(index * frames / count) for index in range(count + 1)]


def averaging(count: int, like: Tensor) -> Tensor:
    """The matrix (T, count) by which (batch, F, T) is multiplied to get the mean of each bin: faster than slices."""
    matrix = like.new_zeros(like.shape[2], count)
    for index, (a, b) in enumerate(itertools.pairwise(boundaries(like.shape[2], count))):
        matrix[a:b, index] = 1 / (b - a)
    return matrix


def pseudo_means(frames: Tensor, count: int) -> Tensor:
    """H_n (Eq. 6): the mean of each of ``count`` bins, (batch, F, T) -> (batch, F, count)."""
    return frames @ averaging(count, frames)


def utterance_statistics(frames: Tensor) -> tuple[Tensor, Tensor]:
    """E_n H_n and E_n V_n (Eqs. 6, 7 and 9), (batch, F, T) -> mean and biased variance over time, (batch, F) each.

    V_n is each bin's mean squared deviation from the mean of the whole clip. With each bin divided by its own length
    (with the paper's 1 / T their mean would not be the variance) and counted by it, the number of bins drops out; and
    so it does behind the affine maps W_m and W_v.
    """
    mean = frames.mean(2, keepdim=True)
    return mean.squeeze(2), (frames - mean).square().mean(2)  # an eighth of the time of torch.var_mean on a CPU


def relative_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the (detached) variance of the target, so that a weight of 1 suits any network."""
    target = target.detach()
    return F.mse_loss(prediction, target) / target.var().clamp_min(1e-6)


def frame_reuse_loss(mapped_means: Tensor, teacher_frames: Tensor, count: int) -> Tensor:
    """L_rfl (Eq. 8): the student's chunk means through W_m, (batch, F_t, count), against the teacher's."""
    return relative_mse(mapped_means, pseudo_means(teacher_frames, count))


def utterance_reuse_loss(mapped_mean: Tensor, mapped_variance: Tensor, teacher_frames: Tensor) -> Tensor:
    """L_rul (Eq. 9): the student's mean and variance over time, mapped, against the teacher's.

    Variances are matched, without a root: W_v may give negative values.

    Args:
        mapped_mean, mapped_variance: W_m and W_v of the student's :func:`utterance_statistics`, (batch, F_t) each.
        teacher_frames: (batch, F_t, T').
    """
    mean, variance = utterance_statistics(teacher_frames)
    return relative_mse(mapped_mean, mean) + relative_mse(mapped_variance, variance)


def draw_count(student_frames: int, teacher_frames: int) -> int:
    """N of Eqs. 6-9, random from 2 to a quarter of the frames and at most 8; the same for both networks.

    1 where a network has a single frame: a bin without frames has no mean.
    """
    shortest = min(student_frames, teacher_frames)
    largest = min(shortest, max(2, min(LARGEST_N, shortest // 4)))
    return int(torch.randint(min(2, largest), largest + 1, ()))
