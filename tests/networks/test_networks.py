"""The networks: sizes from the papers, any length, hidden states that belong together."""

import pytest
import torch

from frami_edge import networks
from frami_edge.errors import FramiError
from frami_edge.pooling import pool_statistics


@pytest.mark.parametrize("name,millions", [("wrn16", 0.17), ("wrn40", 2.2), ("res18", 11.2), ("res34", 21.3)])
def test_parameters_as_in_the_papers(name: str, millions: float) -> None:
    """WRN and ResNet papers' sizes, give or take the classifier behind statistics pooling."""
    assert networks.parameters(networks.build(name, 10)) / 1e6 == pytest.approx(millions, rel=0.12)


def test_macs_of_one_convolution_by_hand() -> None:
    layer = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 40)), torch.nn.Conv2d(1, 4, 3, padding=1, bias=False))
    assert networks.macs(layer, 40, 100) == 4 * 9 * 40 * 100


def test_macs_grow_with_the_length() -> None:
    net = networks.build("wrn16", 10)
    assert networks.macs(net, frames=200) == pytest.approx(2 * networks.macs(net, frames=100), rel=0.01)


@pytest.mark.parametrize("name", networks.names())
@pytest.mark.parametrize("n_mels,frames", [(40, 100), (41, 37), (64, 8), (7, 1)])
def test_any_size(name: str, n_mels: int, frames: int) -> None:
    net = networks.build(name, 7, n_mels).eval()
    with torch.no_grad():
        hidden = net.forward_hidden(torch.randn(2, n_mels, frames))
        assert torch.equal(net(torch.randn(2, 1, n_mels, frames)).isfinite(), torch.ones(2, 7, dtype=torch.bool))
    assert hidden.logits.shape == (2, 7)
    assert hidden.frames.shape[:2] == (2, net.features)
    torch.testing.assert_close(hidden.pooled, pool_statistics(hidden.frames))
    torch.testing.assert_close(hidden.logits, net.classifier(hidden.pooled))


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    net = networks.build("wrn16", 10).eval()
    x = torch.randn(3, 40, 50)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]), rtol=1e-4, atol=1e-5)


def test_logits_keep_float32_under_autocast() -> None:
    net = networks.build("wrn16", 10).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net(torch.randn(2, 40, 50)).dtype == torch.float32


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(FramiError, match="'wrn16'"):
        networks.build("wrn-16", 10)


def test_pooling_of_a_large_mean_with_a_small_spread() -> None:
    """E[x^2] - E[x]^2 would be negative here."""
    frames = 1000 + 0.01 * torch.randn(4, 8, 100, dtype=torch.float64)
    exact = pool_statistics(frames)
    torch.testing.assert_close(pool_statistics(frames.float())[:, 8:].double(), exact[:, 8:], rtol=1e-2, atol=1e-4)


def test_gradient_of_a_constant_sequence_is_finite() -> None:
    frames = torch.ones(1, 3, 10, requires_grad=True)
    pool_statistics(frames).sum().backward()
    assert frames.grad is not None and frames.grad.isfinite().all()
