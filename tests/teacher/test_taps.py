"""Hidden states found by probing: in our networks, and in ones written by others."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge import networks
from frami_edge.card import TeacherCard
from frami_edge.errors import FramiError
from frami_edge.pooling import pool_statistics
from frami_edge.teacher.taps import Teacher

CARD = TeacherCard(labels=("a", "b", "c"), time_dependent=True)


class VendorNet(nn.Module):
    """As vendors write: the last ReLU and the pooling are functions, the time axis is where they like it."""

    def __init__(self, mean_only: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 16, 3, 2, padding=1)
        self.bn = nn.BatchNorm2d(16)
        self.mean_only = mean_only
        self.out = nn.Linear(16 * 20 * (1 if mean_only else 2), 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn(self.deep(F.relu(self.stem(x))))).flatten(1, 2)
        return self.out(h.mean(2) if self.mean_only else pool_statistics(h))


@pytest.mark.parametrize("mean_only", [False, True])
def test_a_functional_relu_is_found(mean_only: bool) -> None:
    teacher = Teacher(VendorNet(mean_only), CARD)
    hidden = teacher.forward_hidden(torch.randn(3, 40, 64))
    assert hidden.frames.shape == (3, 320, 32) and hidden.frames.min() == 0
    pooled = hidden.frames.mean(2) if mean_only else pool_statistics(hidden.frames)
    torch.testing.assert_close(pooled, hidden.pooled)


def test_hidden_states_of_our_own_network() -> None:
    net = networks.build("wrn16", 3).eval()
    teacher = Teacher(net, CARD)
    x = torch.randn(2, 40, 80)
    ours, probed = net.forward_hidden(x), teacher.forward_hidden(x)
    torch.testing.assert_close(probed.frames, ours.frames)
    torch.testing.assert_close(probed.pooled, ours.pooled)
    torch.testing.assert_close(probed.logits, ours.logits)
    assert len(probed.stages) >= 3


def test_stages_are_the_last_outputs_of_each_size() -> None:
    teacher = Teacher(VendorNet(), CARD)
    assert teacher.taps.stages == ["stem", "bn"]


class Recurrent(nn.Module):
    """(batch, time, features), as layout BTF."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(40, 12)
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.mix(x).mean(1))


def test_time_axis_of_another_layout() -> None:
    teacher = Teacher(Recurrent(), CARD.model_copy(update={"layout": "BTF"}))
    hidden = teacher.forward_hidden(torch.randn(2, 40, 50))
    assert hidden.frames.shape == (2, 12, 50)
    torch.testing.assert_close(hidden.frames.mean(2), hidden.pooled)


def test_softmax_becomes_logits() -> None:
    net = nn.Sequential(VendorNet(), nn.Softmax(1))
    teacher = Teacher(net, CARD.model_copy(update={"output": "softmax"}))
    logits = teacher(torch.randn(2, 40, 64))
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2))


def test_the_teacher_stays_frozen() -> None:
    teacher = Teacher(VendorNet(), CARD)
    before = teacher.net.bn.running_mean.clone()  # type: ignore[union-attr, operator]
    teacher.train()
    teacher(torch.randn(4, 40, 64))
    assert not teacher.training and not teacher.net.training
    assert torch.equal(teacher.net.bn.running_mean, before)  # type: ignore[arg-type, union-attr]
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_hooks_do_not_outlive_a_pass() -> None:
    teacher = Teacher(VendorNet(), CARD)
    teacher.forward_hidden(torch.randn(2, 40, 64))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in teacher.modules())


@pytest.mark.parametrize("card,message", [
    (CARD.model_copy(update={"labels": ("a", "b")}), "2 labels"),
    (CARD.model_copy(update={"layout": "BTF"}), "does not take BTF"),
    (CARD.model_copy(update={"layout": "waveform"}), "take waveforms"),
])
def test_a_wrong_card_is_told(card: TeacherCard, message: str) -> None:
    with pytest.raises(FramiError, match=message):
        Teacher(VendorNet(), card)


def test_a_network_without_a_classifier_is_told() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 3))[:, :3]

    with pytest.raises(FramiError, match="no linear classifier"):
        Teacher(Flat(), CARD)
