"""What a teacher is given and what it answers: kinds of outputs, lengths, and what is left as it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from frami_edge.card import TeacherCard
from frami_edge.errors import FramiError
from frami_edge.teacher.taps import Teacher

CARD = TeacherCard(labels=("a", "b", "c"), time_dependent=True)


class Headed(nn.Module):
    """Any kind of output behind a BatchNorm1d of the pooled state, and a BatchNorm that never runs."""

    def __init__(self, wrap: object) -> None:
        super().__init__()
        self.conv, self.bn, self.spare = nn.Conv1d(40, 12, 3), nn.BatchNorm1d(12, affine=False), nn.BatchNorm1d(7)
        self.unkept = nn.BatchNorm1d(12, track_running_stats=False)
        self.out, self.wrap = nn.Linear(12, 3), wrap

    def forward(self, x: Tensor) -> object:
        pooled = self.bn(self.unkept(self.conv(x)).mean(2))
        return self.wrap(self.out(pooled))  # type: ignore[operator]


@pytest.mark.parametrize("wrap", [
    lambda y: (y, y[:, :1]), lambda y: {"embedding": y[:, :2], "clipwise_output": y}, lambda y: y[:, :, None, None],
])
def test_outputs_in_tuples_dictionaries_and_maps(wrap: object) -> None:
    torch.manual_seed(0)
    net, card = Headed(wrap), CARD.model_copy(update={"layout": "BFT"})
    teacher, x = Teacher(net, card), torch.randn(4, 40, 50)
    plain = Headed(lambda y: y)
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(teacher(x), plain.eval()(x))
    assert list(teacher.batch_norms()) == ["bn"]  # the others never run, or keep nothing


@pytest.mark.parametrize("wrap,told", [
    (lambda y: {"outputs": {"logits": y}}, r"outputs within outputs for 2 clips: {'outputs': {'logits': \(2, 3\)}}"),
    (lambda y: y.topk(2), r"whole numbers .*: \[\(2, 2\), \(2, 2\) int64\]"), (lambda y: y.argmax(1), "whole numbers"),
    (lambda y: y[:, :1], r"one number for each clip for 2 clips: \(2, 1\)"), (lambda y: None, "no tensor .*NoneType"),
])
def test_outputs_that_a_wrapper_would_put_right(wrap: object, told: str) -> None:
    with pytest.raises(FramiError, match=told) as raised:
        Teacher(Headed(wrap), CARD.model_copy(update={"layout": "BFT"}))
    assert "forward(x) takes the features alone and returns (batch, classes)" in raised.value.hint


def test_hints_fit_what_the_code_of_a_vendor_says() -> None:
    class Lengths(Headed):
        def forward(self, x: Tensor, length: Tensor) -> object:  # type: ignore[override]
            return super().forward(x)

    class Cuda(Headed):
        def forward(self, x: Tensor) -> object:
            raise AssertionError("Torch not compiled with CUDA enabled")

    card = CARD.model_copy(update={"layout": "BFT"})
    for net, hint in ((Lengths(lambda y: y), "forward(x) takes the features alone"), (Cuda(lambda y: y), "x.device")):
        with pytest.raises(FramiError, match="'length'|not compiled with CUDA") as raised:
            Teacher(net, card)
        assert hint in raised.value.hint


@pytest.mark.parametrize("kind", ["logits", "softmax", "log_softmax"])
@pytest.mark.parametrize("declared", ["logits", "softmax", "log_softmax"])
def test_the_declared_kind_of_output_is_checked(kind: str, declared: str) -> None:
    """Where it is right, probabilities at any temperature are those of the logits."""
    wrap = {"logits": lambda y: y, "softmax": lambda y: y.softmax(1), "log_softmax": lambda y: y.log_softmax(1)}[kind]
    torch.manual_seed(1)
    net, card = Headed(wrap), CARD.model_copy(update={"layout": "BFT", "output": declared})
    if kind != declared and (kind, declared) != ("log_softmax", "logits"):
        with pytest.raises(FramiError, match=f'output = "{declared}", and the network gives {kind}'):
            Teacher(net, card)
        return
    x = torch.randn(4, 40, 50)
    logits = Teacher(net, card)(x)
    net.wrap = lambda y: y
    for temperature in (1.0, 4.0, 20.0):
        torch.testing.assert_close((logits / temperature).softmax(1), (net(x) / temperature).softmax(1))


@pytest.mark.parametrize("head", [torch.sigmoid, lambda y: y.sigmoid().clamp(1e-7, 1 - 1e-7).unsqueeze(2)])
def test_a_sigmoid_is_refused(head: Callable[[Tensor], Tensor]) -> None:
    """Its values are neither logits nor probabilities of one class among all."""
    torch.manual_seed(1)
    with pytest.raises(FramiError, match="ends in a sigmoid") as raised:
        Teacher(Headed(head), CARD.model_copy(update={"layout": "BFT"}))
    assert "--arch" in raised.value.hint


def test_logits_that_lie_between_0_and_1_by_chance_are_no_sigmoid() -> None:
    Teacher(Headed(lambda y: 0.5 + 1e-3 * y), CARD.model_copy(update={"layout": "BFT"}))


class Halving(nn.Module):
    """As CNN14: poolings that leave nothing of a clip of less than 32 frames."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.bn, self.out = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.convolution(x))
        for _ in range(5):
            y = nn.functional.avg_pool2d(y, 2)
        return self.out(y.mean((2, 3)))


def test_a_network_that_takes_no_short_clips_is_given_them_repeated() -> None:
    teacher = Teacher(Halving(), CARD)
    assert teacher.lengths[0] == 32
    x = torch.randn(2, 40, 20)
    torch.testing.assert_close(teacher(x), teacher(torch.cat([x, x[..., :12]], 2)))
    assert torch.isfinite(teacher.forward_hidden(x[..., :3]).pooled).all()


def test_preprocessing_in_place_does_not_change_what_the_student_hears() -> None:
    class Shifting(Halving):
        def forward(self, x: Tensor) -> Tensor:
            x -= 1.0
            return super().forward(x)

    teacher, x = Teacher(Shifting(), CARD), torch.zeros(2, 40, 64)
    teacher(x)
    assert teacher.writes_input and not x.any()
    teacher(x.requires_grad_()).sum().backward()  # in place on a leaf would not be differentiable at all
    assert not Teacher(Halving(), CARD).writes_input


def test_weights_of_five_axes_are_left_as_they_are() -> None:
    net = Halving()
    assert Teacher(net, CARD).channels_last
    net.register_buffer("table", torch.zeros(1, 2, 1, 2, 1))
    assert not Teacher(net, CARD).channels_last
