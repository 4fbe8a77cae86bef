"""The cheaper gradient of a frozen BatchNorm is the gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.teacher.frozen import CheapGradients, batch_norm

LAYERS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def frozen(axes: int, affine: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layer = LAYERS[axes](6, affine=affine)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.1, 4.0)
    if affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return layer.eval().requires_grad_(False)


def both(layer: nn.Module, x: Tensor, loss: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(output, gradient) as PyTorch has them and with the cheaper gradient, of a weighted sum of the output."""
    found = []
    for cheap in (False, True):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        if cheap:
            with CheapGradients():
                output = layer(leaf)
            assert "_FrozenBatchNorm" in type(output.grad_fn).__name__
        else:
            output = layer(leaf)
        found.append((output.detach(), torch.autograd.grad(output, leaf, loss)[0]))
    return found


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 11), (8, 6, 5, 7), (2, 6, 3, 4, 5), (1, 6, 1)])
def test_output_and_gradient_are_those_of_pytorch(shape: tuple[int, ...], affine: bool) -> None:
    x, loss = torch.randn(shape), torch.randn(shape)
    (output, gradient), (cheap_output, cheap_gradient) = both(frozen(len(shape), affine), x, loss)
    assert torch.equal(output, cheap_output)
    torch.testing.assert_close(cheap_gradient, gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_format_of_the_network_is_kept(dtype: torch.dtype) -> None:
    """Also where the gradient comes in another one, as a pooling layer gives it."""
    x = torch.randn(4, 6, 5, 7, dtype=dtype).to(memory_format=torch.channels_last)
    (_, gradient), (_, cheap) = both(frozen(4), x, torch.randn(4, 6, 1, 1, dtype=dtype).expand(4, 6, 5, 7))
    assert cheap.is_contiguous(memory_format=torch.channels_last) and cheap.dtype == dtype
    torch.testing.assert_close(cheap, gradient)


def test_layers_that_learn_are_left_alone() -> None:
    learning = frozen(4).requires_grad_(True)
    training, without = nn.BatchNorm2d(6).train(), nn.BatchNorm2d(6, track_running_stats=False).eval()
    x = torch.randn(4, 6, 5, 7, requires_grad=True)
    for layer in (learning, training, without):
        with CheapGradients():
            output = layer(x)
        assert "_FrozenBatchNorm" not in type(output.grad_fn).__name__
    learning(x).sum().backward()
    assert learning.weight.grad is not None


def test_it_keeps_less() -> None:
    """What a backward pass keeps is a number per channel, not the input."""
    layer, x = frozen(4), torch.randn(4, 6, 5, 7, requires_grad=True)
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: sizes.append(kept.numel()) or kept, lambda kept: kept):
        batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)
        assert max(sizes) == 6
        F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)
        assert max(sizes) == x.numel()
