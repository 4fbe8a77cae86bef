"""The generator: any size, within the range of the front-end."""

import pytest
import torch

from frami_edge.inversion.generator import Generator

FLOOR, CEILING = -13.8, 9.2


@pytest.mark.parametrize("n_mels,frames", [(40, 100), (40, 101), (64, 98), (23, 7), (1, 1)])
@pytest.mark.parametrize("smooth", [False, True])
def test_any_size_within_the_range(n_mels: int, frames: int, smooth: bool) -> None:
    torch.manual_seed(0)
    log_mel = Generator(n_mels, frames, FLOOR, CEILING, nz=8, ngf=4, smooth=smooth)(torch.randn(4, 8))
    assert log_mel.shape == (4, n_mels, frames) and log_mel.dtype == torch.float32
    assert log_mel.min() >= FLOOR and log_mel.max() <= CEILING and log_mel.std() > 0


def test_smoothing_is_the_mean_of_neighbours_before_the_sigmoid() -> None:
    torch.manual_seed(0)
    rough = Generator(20, 30, 0.0, 1.0, nz=8, ngf=4)
    smooth = Generator(20, 30, 0.0, 1.0, nz=8, ngf=4, smooth=True)
    smooth.load_state_dict(rough.state_dict())
    z = torch.randn(4, 8)
    before, after = rough(z).logit(), smooth(z).logit()
    expected = (before[:, :, :-2] + 2 * before[:, :, 1:-1] + before[:, :, 2:]) / 4
    torch.testing.assert_close(after[:, :, 1:-1], expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after[:, :, 0], (3 * before[:, :, 0] + before[:, :, 1]) / 4, rtol=1e-3, atol=1e-4)
