"""What can be said of samples without a recording: how varied they are, and how rich along time."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class TemporalRichness(NamedTuple):
    """How much of a sample's class is in each part of it: what T_finv is for (Kang et al. 2023, Fig. 3)."""

    share: float  # of the chunks, those that the teacher gives the sample's own class
    spread: float  # standard deviation of the true class's logit over the chunks of a sample; mean over samples


def temporal_richness(chunk_logits: Tensor, labels: Tensor) -> TemporalRichness:
    """From the teacher's logits of each sample's chunks, (chunks, batch, classes), and the labels (batch,)."""
    own = chunk_logits.gather(2, labels.expand(len(chunk_logits), -1).unsqueeze(2)).squeeze(2)
    share = (chunk_logits.argmax(2) == labels).float().mean()
    return TemporalRichness(float(share), float(own.std(0, correction=0).mean()))


def within_class_diversity(states: Tensor, labels: Tensor) -> float | None:
    """Mean cosine distance between samples of one class, averaged over classes; 0 where all are alike.

    Args:
        states: (batch, d), the teacher's pooled hidden states.
        labels: (batch,).

    Returns:
        in [0, 2]; None where no class has two samples.
    """
    unit = F.normalize(states.float(), dim=1)
    distances = []
    for label in labels.unique():
        members = unit[labels == label]
        count = len(members)
        if count > 1:  # over ordered pairs: ||sum||^2 - count is the sum of the cosines
            distances.append(1 - (members.sum(0).square().sum() - count) / (count * (count - 1)))
    return float(torch.stack(distances).mean()) if distances else None
