"""The inversion losses (Eqs. 1-5) as pure functions of tensors. L_bn is in :mod:`frami_edge.inversion.batch_norm`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ADVERSARIAL_CLAMP = 10.0  # minus a divergence has no lower bound


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_cls (Eq. 4): cross-entropy of (batch, classes) to the labels (batch,) that were asked for."""
    return F.cross_entropy(logits, labels)


def adversarial_loss(teacher: Tensor, student: Tensor, tau: float) -> Tensor:
    """L_adv (Eq. 4): minus KL(teacher / tau || student / tau), on the samples where both agree on the class.

    Decision-adversarial as in CMI: where they already disagree there is nothing left to provoke. Each sample's
    divergence is clamped. (batch, classes) twice -> scalar <= 0.
    """
    divergence = F.kl_div((student / tau).log_softmax(1), (teacher / tau).log_softmax(1), reduction="none",
                          log_target=True).sum(1)
    agree = teacher.argmax(1) == student.argmax(1)
    return -(divergence.clamp_max(ADVERSARIAL_CLAMP) * agree).mean()


def js_adversarial_loss(teacher: Tensor, student: Tensor, tau: float) -> Tensor:
    """Adaptive DeepInversion's term (Yin et al. 2020, Eq. 6): minus the Jensen-Shannon divergence at temperature tau.

    (batch, classes) twice -> scalar in [-ln 2, 0].
    """
    p, q = (teacher / tau).log_softmax(1), (student / tau).log_softmax(1)
    middle = torch.logaddexp(p, q) - math.log(2)
    sides = [F.kl_div(middle, side, reduction="batchmean", log_target=True) for side in (p, q)]
    return -torch.stack(sides).mean()


def total_variation(x: Tensor) -> Tensor:
    """Sum of the L2 norms of the differences to the neighbour in time, in band, and along both diagonals.

    DeepInversion's image prior (its TV-L2), on normalised log-Mels (batch, n_mels, frames) -> scalar.
    """
    neighbours = ((x[:, :, 1:], x[:, :, :-1]), (x[:, 1:], x[:, :-1]),
                  (x[:, 1:, 1:], x[:, :-1, :-1]), (x[:, 1:, :-1], x[:, :-1, 1:]))
    return torch.stack([(one - other).norm() for one, other in neighbours]).sum()


def info_nce(anchors: Tensor, positives: Tensor, negatives: Tensor, tau: float) -> Tensor:
    """InfoNCE, the contrastive half of L_fic (Eq. 3), with the positive inside the denominator, hence >= 0.

    Args:
        anchors: (batch, d), L2-normalised.
        positives: (batch, d); row i is another view of sample i, the other rows are its negatives.
        negatives: (n, d) further negatives, n may be 0.
        tau: temperature of the contrast.
    """
    similarity = anchors @ torch.cat([positives, negatives]).T / tau
    return F.cross_entropy(similarity, torch.arange(len(anchors), device=anchors.device))


def time_invariance(chunks: Tensor) -> Tensor:
    """T_finv (Eq. 2) per sample: the mean cosine over all pairs of its K chunks, (K, batch, d) -> (batch,).

    Embeddings are L2-normalised, so the sum over ordered pairs is ||sum of embeddings||^2 - K.
    """
    k = len(chunks)
    return (chunks.sum(0).square().sum(1) - k) / (k * (k - 1))
