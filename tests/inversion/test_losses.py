"""The inversion losses against their definitions."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge.inversion import losses


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(2, 16))
def test_time_invariance_is_the_mean_pairwise_cosine(k: int, batch: int, d: int) -> None:
    chunks = unit(k, batch, d)
    pairs = [(chunks[i] * chunks[j]).sum(1) for i in range(k) for j in range(k) if i != j]
    torch.testing.assert_close(losses.time_invariance(chunks), torch.stack(pairs).mean(0), rtol=1e-4, atol=1e-5)


def test_time_invariance_of_equal_chunks_is_one() -> None:
    torch.testing.assert_close(losses.time_invariance(unit(1, 4, 8).expand(3, 4, 8)), torch.ones(4))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 5), st.floats(0.05, 2.0))
def test_info_nce_by_its_definition(batch: int, n: int, tau: float) -> None:
    anchors, positives, negatives = unit(batch, 8), unit(batch, 8), unit(n, 8)
    expected = []
    for i in range(batch):
        every = torch.cat([positives @ anchors[i], negatives @ anchors[i]]).div(tau).exp()
        expected.append(-(every[i] / every.sum()).log())
    value = losses.info_nce(anchors, positives, negatives, tau)
    torch.testing.assert_close(value, torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)
    assert value >= 0  # bounded: the positive is inside the denominator


def test_l_fic_splits_into_info_nce_and_t_finv() -> None:
    """-log(exp((s + T) / tau) / sum exp(s_j / tau)) = InfoNCE - T / tau, so tau would set the weight of T."""
    anchor, positive, negatives, chunks, tau = unit(1, 8), unit(1, 8), unit(4, 8), unit(3, 1, 8), 0.2
    finv = losses.time_invariance(chunks)[0]
    similarity = torch.cat([positive, negatives]) @ anchor[0]
    joint = -((similarity[0] + finv) / tau).exp().div((similarity / tau).exp().sum()).log()
    apart = losses.info_nce(anchor, positive, negatives, tau) - finv / tau
    torch.testing.assert_close(joint, apart, rtol=1e-4, atol=1e-5)


def test_adversarial_counts_only_where_both_agree_and_is_clamped() -> None:
    teacher = torch.tensor([[5.0, 0.0], [5.0, 0.0], [200.0, 0.0]])
    student = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0001, 0.0]])
    p, q = teacher[0].softmax(0), student[0].softmax(0)
    first = (p * (p / q).log()).sum()
    third = (teacher[2].log_softmax(0) - student[2].log_softmax(0))[0].clamp_max(losses.ADVERSARIAL_CLAMP)
    torch.testing.assert_close(losses.adversarial_loss(teacher, student, 1.0), -(first + third) / 3)
    assert losses.adversarial_loss(100 * teacher, student, 0.01) >= -losses.ADVERSARIAL_CLAMP


def test_adversarial_drives_the_input_away_from_the_student() -> None:
    """Minimising L_adv raises the divergence."""
    torch.manual_seed(0)
    teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    x = torch.randn(64, 4, requires_grad=True)
    before = losses.adversarial_loss(teacher(x), student(x), 1.0)
    (gradient,) = torch.autograd.grad(before, x)
    moved = x.detach() - 1e-3 * gradient / gradient.norm() * 10
    assert losses.adversarial_loss(teacher(moved), student(moved), 1.0) < before


def test_class_loss_is_cross_entropy() -> None:
    assert float(losses.class_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))) == pytest.approx(0.6931, abs=1e-4)
