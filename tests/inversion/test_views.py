"""Views of log-Mels."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from frami_edge.inversion import views
from frami_edge.recipe import Views

FLOOR = -13.8
NARROW = Views(shortest=0.75, shift=0.0, mask_bands=0.1, mask_frames=0.1, noise=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.floats(0.1, 60))
def test_centred_clip_has_its_length_and_exact_silence_around_it(frames: int, length: float) -> None:
    length = min(length, frames)
    x = views.prepare(torch.ones(2, 3, frames), "center-pad", FLOOR, torch.full((2, 1), length))
    filled = (x[0, 0] - FLOOR) / (1 - FLOOR)
    assert float(filled.sum()) == pytest.approx(length, abs=1e-4 * frames)
    torch.testing.assert_close(filled, filled.flip(0), atol=1e-4, rtol=0)  # centred
    assert int(((filled > 0) & (filled < 1 - 1e-4)).sum()) <= 2  # at its edges alone
    assert (x[0, 0][filled == 0] == FLOOR).all()


@pytest.mark.parametrize("preparation", ["center-pad", "end-pad"])
def test_padding_is_differentiable_in_the_lengths(preparation: str) -> None:
    log_mel, length = torch.randn(1, 3, 20, dtype=torch.double), torch.tensor([[9.3]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda value: views.prepare(log_mel, preparation, FLOOR, value),
                                    length.requires_grad_())


def test_end_pad_starts_at_once() -> None:
    x = views.prepare(torch.ones(1, 2, 10), "end-pad", FLOOR, torch.tensor([[4.0]]))
    assert x[0, 0].tolist() == pytest.approx([1] * 4 + [FLOOR] * 6)


def test_loop_repeats_the_clip() -> None:
    x = views.prepare(torch.arange(7.0).expand(1, 2, 7), "loop", FLOOR, torch.tensor([[3.0]]))
    assert x[0, 1].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_crop_leaves_samples_as_they_are() -> None:
    x = torch.randn(2, 3, 10)
    assert views.prepare(x, "crop", FLOOR, torch.ones(2, 1)) is x


def test_roll_is_a_rotation_of_all_bands_together() -> None:
    torch.manual_seed(0)
    x = torch.arange(12.0).repeat(5, 3, 1)
    rolled = views.roll(x)
    for sample in rolled:
        assert torch.equal(sample, x[0].roll(-int(sample[0, 0]), 1))
    assert len({float(sample[0, 0]) for sample in rolled}) > 1


def test_cut_is_a_part_of_the_sample() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        part = views.cut(torch.arange(40.0).repeat(3, 2, 1), 0.5)
        assert 20 <= part.shape[2] <= 40
        assert (part.diff(dim=2) == 1).all()


@pytest.mark.parametrize("axis", [1, 2])
def test_mask_silences_one_run_along_its_axis(axis: int) -> None:
    torch.manual_seed(0)
    masked = views.mask(torch.ones(64, 20, 30), axis, 5, FLOOR) == FLOOR
    lines = masked.any(3 - axis)
    assert torch.equal(masked.all(3 - axis), lines)  # whole bands, or whole frames
    assert (lines.sum(1) <= 5).all() and lines.any()
    starts = (lines.int().diff(dim=1) == 1).sum(1) + lines[:, 0]
    assert (starts <= 1).all()


@pytest.mark.parametrize("frames,count", [(201, 4), (200, 5), (83, 2)])
def test_chunks_are_equal_and_in_order(frames: int, count: int) -> None:
    parts = views.chunks(torch.arange(float(frames)).repeat(3, 2, 1), count).unflatten(0, (count, 3))
    assert parts.shape[-1] == frames // count
    joined = torch.cat(list(parts), dim=-1)
    assert (joined.diff(dim=-1) == 1).all()


def test_time_dependent_views_are_never_rolled() -> None:
    """A ramp stays a ramp (noise and masks apart)."""
    torch.manual_seed(0)
    ramp = 10 * torch.arange(50.0).repeat(8, 40, 1)
    for view in (views.local_view(ramp, True, FLOOR), views.training_view(ramp, True, FLOOR, NARROW)):
        kept = view.amax(1)  # masked bands do not count
        kept = kept[:, :][:, (kept > FLOOR + 1).all(0)]
        assert (kept.diff(dim=1) > 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 60))
def test_shift_moves_and_fills_with_silence(frames: int, furthest: int) -> None:
    x = torch.arange(1.0, frames + 1).repeat(6, 2, 1)
    moved = views.shift(x, furthest, FLOOR)
    for sample in moved:
        assert torch.equal(sample[0], sample[1])
        heard = (sample[0] != FLOOR).nonzero().flatten()
        if len(heard):
            by = int(heard[0]) + 1 - int(sample[0, heard[0]])
            assert abs(by) <= furthest and len(heard) == frames - abs(by)
            assert torch.equal(sample[0, heard], heard + 1.0 - by)


def test_training_views_are_as_wide_as_told() -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 40, 100)
    settings_ = Views(shortest=1.0, shift=0.1, mask_bands=0.15, mask_frames=0.0, noise=0.0)
    wide = views.training_view(x, True, FLOOR, settings_)
    silent = wide == FLOOR
    bands = silent.all(2).sum(1)
    assert bands.max() == 6 and bands.min() == 0
    edges = silent.all(1).sum(1)
    assert edges.max() == 10 and edges.min() == 0
    still = views.training_view(x, False, FLOOR, settings_.model_copy(update={"mask_bands": 0.0}))
    assert torch.equal(still, x)  # nothing is shifted where sounds are rolled


def ramps(batch: int, n_mels: int, frames: int) -> tuple[Tensor, Tensor]:
    """Of the number of the band, and of the frame counted from the middle."""
    bands = torch.arange(float(n_mels)).unsqueeze(1).repeat(batch, 1, frames)
    return bands, (torch.arange(float(frames)) - (frames - 1) / 2).repeat(batch, n_mels, 1)


@pytest.mark.parametrize("bands,frames", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.15), (0.1, 0.15)])
def test_warping_stretches_each_axis_by_a_factor_for_each_sample(bands: float, frames: float) -> None:
    torch.manual_seed(0)
    of_band, of_frame = ramps(200, 40, 101)
    state = torch.get_rng_state()
    by_band = views.warp(of_band, bands, frames)
    torch.set_rng_state(state)
    by_frame = views.warp(of_frame, bands, frames)
    for warped, ramp, axis, furthest in ((by_band, of_band, 1, bands), (by_frame, of_frame, 2, frames)):
        assert (warped.diff(dim=3 - axis).abs() < 1e-3).all()  # the other axis does not matter
        near = 10 if axis == 1 else 60  # not the last value, which is repeated
        factor = warped.select(axis, near).mean(1) / ramp.select(axis, near).mean(1)
        expected = (ramp * factor.view(-1, 1, 1)).clamp(ramp.min(), ramp.max())
        torch.testing.assert_close(warped, expected, rtol=1e-3, atol=1e-3)
        assert (1 / (1 + furthest) - 1e-3 <= factor).all() and (factor <= 1 + furthest + 1e-3).all()
        assert float(factor.std()) == pytest.approx(furthest / 3**0.5, rel=0.2, abs=1e-4)


def test_mixing_stays_between_its_samples() -> None:
    x = torch.stack([torch.full((3, 5), float(value)) for value in range(8)])
    y = views.mix(x)
    assert (y >= 0).all() and (y <= 7).all() and y.shape == x.shape and not torch.equal(x, y)


@pytest.mark.parametrize("change", [views.splice, views.mix])
def test_views_of_one_sample_are_changed_alike(change: Callable[..., torch.Tensor]) -> None:
    """The first view of one goes with the first view of another, and so on: one new sound in four views."""
    torch.manual_seed(0)
    torch.manual_seed(0)
    sample, view = torch.arange(16.0).repeat_interleave(4), torch.arange(4.0).repeat(16)
    x = torch.stack((sample, view), 1).unsqueeze(2).repeat(1, 1, 40)  # (64, 2, 40): who it is, in each frame
    changed = change(x, alike=4)
    torch.testing.assert_close(changed[:, 1], x[:, 1])  # views keep their places
    together = changed[:, 0].unflatten(0, (16, 4))
    torch.testing.assert_close(together, together[:, :1].expand_as(together))
    assert ((together[:, 0] - x[::4, 0]).abs().amax(1) > 1e-3).sum() > 10  # and are another sound


def test_splicing_continues_each_sample_with_another() -> None:
    torch.manual_seed(0)
    x = torch.arange(1.0, 65).view(64, 1, 1).repeat(1, 3, 40)
    ends = []
    for sample, own in zip(views.splice(x), x, strict=True):
        assert (sample == sample[0]).all()
        mine = sample[0] == own[0, 0]
        if not mine.all():  # otherwise continued by itself
            ends.append(int(mine.sum()))
            assert mine[: ends[-1]].all() and len(sample[0, ends[-1]:].unique()) == 1
    assert len(ends) > 55 and min(ends) == 10 and max(ends) == 30
