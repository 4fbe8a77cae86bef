"""What a teacher's forward may do, and what is told: order of the axes, chance, gradients, and several outputs."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.card import MelSpec, TeacherCard
from frami_edge.errors import FramiError
from frami_edge.teacher.drafting import _others
from frami_edge.teacher.inputs import arrange
from frami_edge.teacher.inspecting import look_at
from frami_edge.teacher.taps import Teacher

CARD = TeacherCard(labels=("a", "b", "c"), time_dependent=True)


class Vendor(nn.Module):
    """(batch, 1, frames, 64), as PANNs and ports of VGGish take it; ``forward`` may be wrapped in something."""

    def __init__(self, middle: Callable[[Tensor], Tensor] = lambda h: h,
                 end: Callable[[Tensor], object] = lambda y: y) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bn0, self.conv, self.bn = nn.BatchNorm2d(64), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.out, self.middle, self.end = nn.Linear(8, 3), middle, end

    def forward(self, x: Tensor) -> object:
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        h = self.middle(torch.relu(self.bn(self.conv(x))))
        return self.end(self.out(h.mean(3).mean(2)))


def transposed(layout: str = "B1TF") -> TeacherCard:
    return CARD.model_copy(update={"layout": layout, "frontend": MelSpec(n_mels=64)})


def test_time_may_come_before_frequency() -> None:
    net, x = Vendor().eval(), torch.randn(2, 64, 50)
    teacher = Teacher(net, transposed())
    with torch.no_grad():
        torch.testing.assert_close(teacher(x), net(x.transpose(1, 2).unsqueeze(1)))
    assert teacher.forward_hidden(x).frames.shape == (2, 8, 50)  # along the 50 frames, not the 64 bands
    assert arrange(x, "B1TF").is_contiguous() and arrange(x, "B1TF").shape == (2, 1, 50, 64)


def test_inspect_finds_the_only_order_that_fits_and_says_where_both_do() -> None:
    found = look_at(Vendor().eval())
    assert [(layout.name, layout.n_mels) for layout in found.layouts] == [("B1TF", (64,))]
    assert found.lengths and not found.lengths.fixed and found.problem == ""
    assert "known to the vendor's code alone" in _others(["B1FT", "B1TF", "BFT"])
    assert "vendor" not in _others(["BFT", "BTF"]) and _others(["B1TF"]).startswith("FOUND")


@pytest.mark.parametrize("middle", [lambda h: F.dropout(h, 0.3), lambda h: h * torch.rand(len(h), 1, 1, 1)])
def test_chance_in_eval_mode_is_told(middle: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(FramiError, match="the same clips other answers each time: dropout or augmentation"):
        Teacher(Vendor(middle), transposed())
    assert "else each time" in " ".join(look_at(Vendor(middle).eval()).quirks)


@torch.no_grad()
def frozen(h: Tensor) -> Tensor:
    return h * 2


@pytest.mark.parametrize("end,said", [
    (frozen, r"its forward has torch.no_grad\(\)"), (lambda y: y.detach(), "No gradient comes back"),
    (lambda y: torch.from_numpy(y.numpy()), "RuntimeError: Can't call numpy"),
    (lambda y: torch.from_numpy(y.detach().numpy()), r"or numpy\(\)"),
])
def test_a_forward_without_gradients_is_told(end: Callable[[Tensor], object], said: str) -> None:
    with pytest.raises(FramiError, match=said):
        Teacher(Vendor(end=end), transposed())


def test_a_forward_that_writes_to_its_input_has_gradients_all_the_same() -> None:
    class Writes(Vendor):
        def forward(self, x: Tensor) -> object:
            x.sub_(1.0)
            return super().forward(x)

    x = torch.randn(2, 64, 50, requires_grad=True)
    Teacher(Writes(), transposed())(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


@pytest.mark.parametrize("end,names", [
    (lambda y: {"speaker": y, "digit": -y}, "'speaker', 'digit'"), (lambda y: (y, -y), "0, 1"),
])
def test_several_outputs_for_the_labels_are_not_chosen_among(end: Callable[[Tensor], object], names: str) -> None:
    with pytest.raises(FramiError, match=f"gives 2 outputs of 3 numbers for each clip: {names}") as error:
        Teacher(Vendor(end=end), transposed())
    assert "return the one of the card's labels" in error.value.hint
    assert Teacher(Vendor(end=lambda y: (y, y[:, :2])), transposed())(torch.randn(2, 64, 50)).shape == (2, 3)


def test_nothing_else_is_said_of_what_cannot_be_called_or_is_not_finite() -> None:
    with pytest.raises(FramiError, match="Compare layout, n_mels") as error:
        Teacher(Vendor(), transposed("BFT"))
    assert "gradient" not in str(error.value)
    with pytest.raises(FramiError) as error:
        Teacher(Vendor(end=lambda y: y / 0), transposed())
    assert "each time" not in error.value.problem
