"""The distillation losses against their definitions and identities."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge.distillation import losses


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(2, 8))
def test_chunk_statistics_average_to_the_whole(frames: int, count: int) -> None:
    """Behind affine maps too: E_n of W H_n + b and of W V_n + b (Eqs. 6, 7 and 9), whatever the number of bins."""
    torch.manual_seed(frames)
    count = min(count, frames)
    h, maps = torch.randn(2, 5, frames, dtype=torch.float64), torch.nn.Linear(5, 3).double()
    edges = losses.boundaries(frames, count)
    weights = torch.tensor(edges, dtype=torch.float64).diff() / frames
    deviations = (h - h.mean(2, keepdim=True)).square()
    means, variances = (torch.stack([x[:, :, a:b].mean(2) for a, b in itertools.pairwise(edges)], 2)
                        for x in (h, deviations))
    torch.testing.assert_close(losses.pseudo_means(h, count), means)
    for found, bins in zip(losses.utterance_statistics(h), (means, variances), strict=True):
        torch.testing.assert_close(maps(found), maps(bins.transpose(1, 2)).transpose(1, 2) @ weights)
    torch.testing.assert_close(losses.utterance_statistics(h)[1], h.var(2, correction=0))


@given(st.integers(2, 200), st.integers(2, 8))
def test_bins_do_not_overlap_and_leave_nothing_out(frames: int, count: int) -> None:
    count = min(count, frames)
    edges = losses.boundaries(frames, count)
    assert edges[0] == 0 and edges[-1] == frames and len(edges) == count + 1
    assert all(b > a for a, b in itertools.pairwise(edges))


def test_kd_loss_by_hand() -> None:
    teacher, student, t = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 4.0
    p, q = (teacher / t).softmax(1), (student / t).softmax(1)
    torch.testing.assert_close(losses.kd_loss(student, teacher, t), (p * (p / q).log()).sum() * t**2)


def test_kd_gradient_at_high_temperature_is_that_of_centred_logits() -> None:
    """Hinton et al. 2015, section 2.1: with T^2 the gradient tends to the logits' difference over the classes."""
    torch.manual_seed(0)
    teacher, student = torch.randn(1, 5), torch.randn(1, 5, requires_grad=True)
    losses.kd_loss(student, teacher, 1000.0).backward()
    difference = student.detach() - teacher
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (difference - difference.mean()) / 5, rtol=1e-2, atol=1e-3)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(2, 7))
def test_the_consensus_is_the_mean_probability_of_each_sample(samples: int, count: int, classes: int) -> None:
    torch.manual_seed(samples * count * classes)
    logits = 30 * torch.randn(samples * count, classes)
    together = losses.consensus(logits, count)
    assert together.shape == logits.shape and together.isfinite().all()
    for sample in range(samples):
        own = slice(sample * count, (sample + 1) * count)
        expected = logits[own].double().softmax(1).mean(0).float()
        torch.testing.assert_close(together[own].exp(), expected.expand(count, classes))


def test_views_that_agree_change_nothing() -> None:
    logits = torch.randn(3, 5).repeat_interleave(4, dim=0)
    torch.testing.assert_close(losses.consensus(logits, 4), logits.log_softmax(1))


def test_perfect_maps_give_no_reuse_loss() -> None:
    h = torch.randn(4, 6, 24)
    mean, variance = losses.utterance_statistics(h)
    assert losses.frame_reuse_loss(losses.pseudo_means(h, 5), h, 5) < 1e-10
    assert losses.utterance_reuse_loss(mean, variance, h) < 1e-10
    assert losses.utterance_reuse_loss(mean, variance + 1, h) > 0.1
    assert losses.utterance_reuse_loss(mean + 1, variance, h) > 0.1


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100))
def test_reuse_losses_do_not_depend_on_the_teachers_scale(scale: float) -> None:
    torch.manual_seed(0)
    h, guess = torch.randn(4, 6, 24), torch.randn(4, 6, 4)
    one = losses.frame_reuse_loss(guess, h, 4)
    torch.testing.assert_close(losses.frame_reuse_loss(scale * guess, scale * h, 4), one, rtol=1e-3, atol=1e-4)


def test_the_teachers_target_gets_no_gradient() -> None:
    h = torch.randn(2, 3, 12, requires_grad=True)
    guess = torch.randn(2, 3, 4, requires_grad=True)
    losses.frame_reuse_loss(guess, h, 4).backward()
    assert h.grad is None and guess.grad is not None


def test_number_of_chunks_is_within_its_range() -> None:
    counts = {losses.draw_count(50, 25) for _ in range(200)}
    assert counts == {2, 3, 4, 5, 6}
    assert losses.draw_count(5, 5) == 2
