"""BatchNorm statistics: exact values, exact gradients, and hooks that stay out of other passes."""

import math

import pytest
import torch
from torch import nn

from frami_edge import networks
from frami_edge.card import TeacherCard
from frami_edge.inversion import batch_norm
from frami_edge.inversion.batch_norm import History, Statistics, bn_loss, channel_statistics
from frami_edge.teacher.taps import Teacher


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(0)
    net = networks.build("wrn16", 4)
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(2 * torch.randn(16, 40, 60) - 1)
    return Teacher(net, TeacherCard(labels=("a", "b", "c", "d"), time_dependent=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_var_mean(layout: torch.memory_format) -> None:
    torch.manual_seed(1)
    base = 3 * torch.randn(6, 5, 7, 9) + torch.randn(5)[:, None, None]

    def gradient(statistics: Statistics, x: torch.Tensor) -> torch.Tensor:
        value = (statistics.mean - 1).square().sum() + statistics.variance.pow(1.5).sum()
        return torch.autograd.grad(value, x)[0]

    x = base.clone().contiguous(memory_format=layout).requires_grad_()
    ours = channel_statistics(x)
    y = base.clone().requires_grad_()
    variance, mean = torch.var_mean(y, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(ours.mean, mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.variance, variance, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(ours, x), gradient(Statistics(mean, variance), y), rtol=1e-4, atol=1e-7)


def test_bfloat16_input_gives_float32_statistics() -> None:
    x = (5 + torch.randn(8, 3, 10, 10)).bfloat16()
    statistics = channel_statistics(x)
    assert statistics.variance.dtype == torch.float32
    torch.testing.assert_close(statistics.variance, x.float().var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-3)


def test_three_dimensional_input() -> None:
    x = torch.randn(4, 3, 50)
    torch.testing.assert_close(channel_statistics(x).mean, x.mean((0, 2)), rtol=1e-5, atol=1e-6)


def test_loss_is_zero_at_the_target_and_scale_free() -> None:
    target = {"a": Statistics(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0]))}
    assert bn_loss(target, target) == 0
    off = {"a": Statistics(torch.tensor([2.0, 2.0]), torch.tensor([4.0, 12.0]))}
    expected = 1 / 13**0.5 + 3 / 97**0.5
    assert float(bn_loss(off, target)) == pytest.approx(expected, rel=1e-5)
    scaled = {name: {"a": Statistics(10 * value["a"].mean, 100 * value["a"].variance)}
              for name, value in (("off", off), ("target", target))}
    assert float(bn_loss(scaled["off"], scaled["target"])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_statistics_of_each_sample(memory_format: torch.memory_format, dtype: torch.dtype) -> None:
    """Values and gradient, also of channels far from zero and of constant ones."""
    torch.manual_seed(0)
    x = torch.randn(5, 4, 6, 9) * torch.tensor([1.0, 3.0, 0.1, 0.0]).view(1, 4, 1, 1) + 5
    x = x.to(dtype).to(memory_format=memory_format).requires_grad_()
    weights = torch.randn(2, 5, 4)
    variance, mean = torch.var_mean(x.double(), dim=(2, 3), correction=0)
    expected, = torch.autograd.grad((weights[0] * mean + weights[1] * variance).sum(), x)
    found = batch_norm.sample_statistics(x)
    assert found.mean.dtype == torch.float32 and found.mean.shape == (5, 4)
    torch.testing.assert_close(found.mean, mean.float())
    torch.testing.assert_close(found.variance, variance.float(), atol=1e-5, rtol=1e-4)
    gradient, = torch.autograd.grad((weights[0] * found.mean + weights[1] * found.variance).sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_dead_channels_do_not_explode() -> None:
    target = {"a": Statistics(torch.zeros(2), torch.full((2,), 1e-12))}
    assert bn_loss({"a": Statistics(torch.zeros(2), torch.full((2,), 1e-10))}, target) < 1


def test_training_like_data_is_nearer_than_noise(teacher: Teacher) -> None:
    target = batch_norm.targets(teacher)

    def gap(x: torch.Tensor) -> float:
        with torch.no_grad(), batch_norm.recording(teacher) as found:
            teacher(x)
        return float(bn_loss(found, target))

    assert gap(2 * torch.randn(64, 40, 60) - 1) < 0.5 * gap(torch.randn(64, 40, 60) + 1)


def test_a_second_pass_outside_the_block_changes_nothing(teacher: Teacher) -> None:
    """The trap of CMI's code: hooks overwritten by the pass over views."""
    with torch.no_grad(), batch_norm.recording(teacher) as found:
        teacher(torch.randn(4, 40, 60))
    before = {name: value.mean.clone() for name, value in found.items()}
    with torch.no_grad():
        teacher(torch.full((4, 40, 60), 9.0))
    assert len(before) == len(teacher.batch_norms()) == 13
    assert all(torch.equal(found[name].mean, mean) for name, mean in before.items())
    assert not any(module._forward_pre_hooks for module in teacher.net.modules())


def test_what_is_new_in_a_constant_channel_is_not_let_through(teacher: Teacher) -> None:
    x = torch.randn(4, 40, 60)
    untouched = teacher(x)
    with batch_norm.constant_channels_limited(teacher, 10.0):
        assert torch.equal(teacher(x), untouched)  # a network without such channels is as it was
    name, layer = next((name, module) for name, module in teacher.batch_norms().items() if len(module.running_var) > 1)
    layer.running_var[1] = 1e-10
    alive = torch.arange(len(layer.running_var)) != 1
    given: list[torch.Tensor] = []
    watch = layer.register_forward_hook(lambda _module, _inputs, output: given.append(output.detach()))
    free = teacher(x)
    x.requires_grad_()
    with batch_norm.constant_channels_limited(teacher, 10.0), batch_norm.recording(teacher) as found:
        limited = teacher(x)
    wild, tame = given
    watch.remove()
    most = 10 * 1e-5 / math.sqrt(1e-10 + layer.eps)  # ten deviations, normalised
    swing = ((tame - layer.bias.view(1, -1, 1, 1)) / layer.weight.view(1, -1, 1, 1))[:, 1].abs().max()
    assert float(swing) <= most * 1.01 < 0.01 * float(wild[:, 1].abs().max())
    assert torch.equal(wild[:, alive], tame[:, alive]) and not torch.equal(free, limited)
    assert float(found[name].variance[1].detach()) > 1e-4  # what came in is still seen, and has a gradient
    assert torch.autograd.grad(found[name].variance[1], x)[0].abs().sum() > 0
    assert not any(module._forward_pre_hooks for module in teacher.net.modules())
    with batch_norm.constant_channels_limited(teacher, 0.0):
        assert torch.equal(teacher(x), free)


def test_history_blends_and_only_the_batch_has_a_gradient() -> None:
    history = History(0.9)
    first = {"a": Statistics(torch.tensor([1.0]), torch.tensor([1.0]))}
    assert history.blend(first) is first  # nothing to blend with yet
    history.update(first)
    mean = torch.tensor([2.0], requires_grad=True)
    blended = history.blend({"a": Statistics(mean, torch.tensor([3.0]))})
    assert float(blended["a"].mean.detach()) == pytest.approx(1.1)
    assert float(torch.autograd.grad(blended["a"].mean.sum(), mean)[0]) == pytest.approx(0.1)
    history.update({"a": Statistics(mean, torch.tensor([3.0]))})
    other = History(0.9)
    other.load_state_dict(history.state_dict())
    assert float(other.kept["a"].mean) == pytest.approx(1.1) and not other.kept["a"].mean.requires_grad


def test_weights_get_no_gradient(teacher: Teacher) -> None:
    x = torch.randn(4, 40, 60, requires_grad=True)
    with batch_norm.recording(teacher) as found:
        teacher(x)
    bn_loss(found, batch_norm.targets(teacher)).backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(isinstance(module, nn.Module) and not module.training for module in teacher.modules())


def test_a_layer_that_runs_twice_in_a_pass_averages_as_in_training() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn, self.conv, self.out = nn.BatchNorm1d(20, momentum=1e-3), nn.Conv1d(40, 8, 3), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            halves = [self.bn(half) for half in x.split(20, 1)]
            return self.out(self.conv(torch.cat(halves, 1)).relu().mean(2))

    torch.manual_seed(0)
    net, x = Shared().train(), torch.arange(1, 41.0)[:, None] * (1 + torch.randn(4, 40, 30))
    net(x)
    mean, variance = net.bn.running_mean / 2e-3, (net.bn.running_var - (1 - 2e-3)) / 2e-3  # type: ignore[operator]
    teacher = Teacher(net, TeacherCard(labels=("a", "b"), time_dependent=True, layout="BFT"))
    with batch_norm.recording(teacher) as found:
        teacher(5 * x)
        teacher(x)  # each pass starts anew
    torch.testing.assert_close(found["bn"].mean, mean, rtol=0.01, atol=0)
    torch.testing.assert_close(found["bn"].variance, variance, rtol=0.03, atol=0)
