"""Clip lengths: where they start, and that the losses move them to where the teacher's clips were."""

import torch

from frami_edge.inversion import batch_norm, views
from frami_edge.inversion.lengths import ClipLengths

FLOOR = -13.8


def test_lengths_start_within_their_range() -> None:
    torch.manual_seed(0)
    lengths = ClipLengths(100)(torch.rand(1000, 1))
    assert lengths.shape == (1000, 1)
    assert 20 <= lengths.min() < 25 and 90 < lengths.max() <= 95


def test_limits_stay_in_order_whatever_the_parameters() -> None:
    lengths = ClipLengths(100)
    for low, high in ((-8.0, -8.0), (8.0, 8.0), (8.0, -8.0)):
        with torch.no_grad():
            lengths.low.fill_(low)
            lengths.high.fill_(high)
        shortest, longest = lengths.limits()
        assert 0 < shortest <= longest <= 1


def test_the_share_of_silence_is_found_from_the_statistics() -> None:
    """Clips of 30 to 50 frames of 100; from their mean and variance alone the lengths are found again, on average."""
    torch.manual_seed(0)
    sound = torch.randn(256, 10, 100)

    def padded(lengths: torch.Tensor) -> torch.Tensor:
        return views.prepare(sound, "center-pad", FLOOR, lengths)

    goal = batch_norm.input_statistics(padded(30 + 20 * torch.rand(256, 1)))
    lengths = ClipLengths(100)
    optimizer = torch.optim.Adam(lengths.parameters(), lr=0.05)
    for _ in range(150):
        loss = batch_norm.layer_gap(batch_norm.input_statistics(padded(lengths(torch.rand(256, 1)))), goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert abs(float(lengths(torch.rand(10000, 1)).detach().mean()) - 40) < 3
