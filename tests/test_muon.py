"""Muon, against its definition, against PyTorch's, and at what it is for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from frami_edge import networks
from frami_edge.muon import LIKE_ADAM, Muon, orthogonalised, split


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1e-8, 1.0, 1e6]), st.integers(0, 2**32 - 1))
def test_singular_values_become_alike_whatever_the_scale(rows: int, columns: int, scale: float, seed: int) -> None:
    """Directions are kept: what is made of U S V^T is U S' V^T, and S' lies near 1."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=torch.float64))[0]
    rank = min(rows, columns)
    values = 0.01 + torch.rand(rank, generator=generator, dtype=torch.float64)  # a hundredth of the largest at least
    matrix = scale * u[:, :rank] * values @ v[:, :rank].T
    made = u.T @ orthogonalised(matrix) @ v
    assert made.diagonal()[:rank].min() > 0.6 and made.diagonal()[:rank].max() < 1.3
    made.diagonal()[:rank] = 0
    assert made.abs().max() < 1e-6


def test_bf16_is_exact_enough() -> None:
    """Under autocast the products are in bf16; the singular values stay where they are wanted."""
    torch.manual_seed(0)
    matrix = torch.randn(64, 576)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = orthogonalised(matrix)
    values = torch.linalg.svdvals(rough)
    assert values.min() > 0.6 and values.max() < 1.3
    exact = orthogonalised(matrix)
    assert 0 < (rough - exact).norm() < 0.06 * exact.norm()


def test_nothing_to_learn_moves_nothing() -> None:
    assert not orthogonalised(torch.zeros(3, 5)).any()
    kernel = nn.Parameter(torch.ones(4, 2, 3, 3))
    optimizer = Muon([kernel], lr=0.1, momentum=0.9)
    optimizer.step()  # without a gradient
    kernel.grad = torch.zeros_like(kernel)
    optimizer.step()
    assert (kernel == 1).all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_pytorch(memory_format: torch.memory_format) -> None:
    """torch.optim.Muon on the same weights as matrices; it rounds to bf16, hence the tolerance."""
    torch.manual_seed(0)
    start, gradients = torch.randn(8, 4, 3, 3), [torch.randn(8, 4, 3, 3) for _ in range(4)]
    kernel = nn.Parameter(start.clone().to(memory_format=memory_format))
    matrix = nn.Parameter(start.flatten(1).clone())
    ours = Muon([kernel], lr=0.05, momentum=0.9)
    theirs = torch.optim.Muon([matrix], lr=0.05, momentum=0.9, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        kernel.grad, matrix.grad = gradient.clone().to(memory_format=memory_format), gradient.flatten(1).clone()
        ours.step()
        theirs.step()
    moved, expected = kernel.detach().flatten(1) - start.flatten(1), matrix.detach() - start.flatten(1)
    assert (moved - expected).norm() < 0.02 * expected.norm()


def test_the_size_of_a_step_is_that_of_adamw() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(16, 8, 3, 3))
    kernel.grad = torch.randn(16, 8, 3, 3) * 1e-5
    Muon([kernel], lr=0.5, momentum=0.9).step()
    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.5 * LIKE_ADAM, rel=0.2)


@pytest.mark.parametrize("name", networks.names())
def test_every_weight_has_one_optimizer_and_depthwise_filters_have_no_muon(name: str) -> None:
    network = networks.build_student(name, 10, 40)
    kernels, rest = split(network)
    assert {id(weight) for weight in network.parameters()} == {id(weight) for weight in (*kernels, *rest)}
    assert len(list(network.parameters())) == len(kernels) + len(rest) and kernels
    grouped = [module.weight for module in network.modules()
               if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups == module.in_channels]
    linear = [module.weight for module in network.modules() if isinstance(module, nn.Linear)]
    assert not {id(weight) for weight in (*grouped, *linear)} & {id(kernel) for kernel in kernels}


def test_directions_with_small_gradients_are_learnt_too() -> None:
    """A linear map of inputs whose deviations span a factor of 100: SGD at its best rate is left behind."""

    def error(make: type[torch.optim.Optimizer], lr: float) -> float:
        torch.manual_seed(0)
        wanted, x = torch.randn(8, 16), torch.randn(256, 16) * torch.logspace(-2, 0, 16)
        kernel = nn.Parameter(torch.zeros(8, 16, 1, 1))
        optimizer = make([kernel], lr=lr, momentum=0.9)  # type: ignore[call-arg]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
        for _ in range(100):
            optimizer.zero_grad()
            loss: Tensor = (x @ (kernel.flatten(1) - wanted).T).square().mean()
            loss.backward()
            optimizer.step()
            schedule.step()
        return float((kernel.detach().flatten(1) - wanted).square().mean())

    assert error(Muon, 0.3) < 0.5 * min(error(torch.optim.SGD, lr) for lr in (0.1, 1.0, 10.0))


