"""The inversion follows the gradient to the teacher's input: is it the slope, also where layers swap axes?"""

import contextlib

import pytest
import torch
import zoo_networks
from torch import Tensor

from frami_edge.card import TeacherCard
from frami_edge.compute import choose
from frami_edge.inversion import batch_norm
from frami_edge.teacher.taps import Teacher


def teacher_of(family: str) -> Teacher:
    torch.manual_seed(0)
    network = getattr(zoo_networks, family)()
    card = TeacherCard(labels=tuple("abcdefghij"), time_dependent=True, **zoo_networks.FAMILIES[family])
    x = torch.randn(32, 40, zoo_networks.FRAMES)
    network.train()({"B1FT": x.unsqueeze(1), "BFT": x, "BTF": x.transpose(1, 2).contiguous()}[card.layout])
    return choose("cpu", "float32").place(Teacher(network, card))


def loss(teacher: Teacher, x: Tensor) -> Tensor:
    hidden = teacher.forward_hidden(x)
    return hidden.logits[:, 0].sum() + hidden.frames.square().mean()


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("family", list(zoo_networks.FAMILIES))
def test_the_gradient_is_the_slope(family: str, recorded: bool) -> None:
    """Along the gradient, the loss rises by the gradient's norm."""
    teacher = teacher_of(family)
    x = torch.nn.functional.avg_pool1d(torch.randn(8, 40, zoo_networks.FRAMES + 4), 5, 1).requires_grad_()
    with batch_norm.recording(teacher) if recorded else contextlib.nullcontext():
        gradient, = torch.autograd.grad(loss(teacher, x), x)
    teacher.double()
    with torch.no_grad():
        step = 0.3 * gradient.double() / gradient.norm()  # 0.002 in each value, so that float32 can tell the difference
        rise = loss(teacher, x.double() + step) - loss(teacher, x.double() - step)
    assert float(rise / 0.6) == pytest.approx(float(gradient.norm()), rel=0.03)
