"""Measures of samples: known values at the extremes, and what they do in between."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge.inversion.quality import temporal_richness, within_class_diversity


def test_richness_counts_the_chunks_that_have_the_class() -> None:
    labels = torch.tensor([0, 1])
    logits = torch.zeros(4, 2, 3)
    logits[:, 0, 0] = 5.0  # every chunk of the first sample
    logits[0, 1, 1] = 5.0  # one chunk of the second
    logits[1:, 1, 2] = 1.0
    found = temporal_richness(logits, labels)
    assert found.share == pytest.approx(5 / 8)
    # the true logit of the second is 5, 0, 0, 0: mean 1.25, variance 4.6875
    assert found.spread == pytest.approx(math.sqrt(4.6875) / 2)


def test_diversity_at_the_extremes() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    alike = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    assert within_class_diversity(alike, labels) == pytest.approx(0.0, abs=1e-6)
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    assert within_class_diversity(apart, labels) == pytest.approx((1 + 2) / 2)
    assert within_class_diversity(alike, torch.arange(4)) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**31))
def test_diversity_is_the_mean_over_pairs(batch: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(batch, 5, generator=generator)
    labels = torch.randint(classes, (batch,), generator=generator)
    expected = []
    for label in labels.unique():
        members = states[labels == label]
        pairs = [1 - torch.cosine_similarity(members[i], members[j], dim=0)
                 for i in range(len(members)) for j in range(len(members)) if i != j]
        if pairs:
            expected.append(torch.stack(pairs).mean())
    found = within_class_diversity(states, labels)
    if expected:
        assert found == pytest.approx(float(torch.stack(expected).mean()), abs=1e-4)
    else:
        assert found is None
