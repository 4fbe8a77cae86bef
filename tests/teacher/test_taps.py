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
    (CARD.model_copy(update={"layout": "BTF"}), "does not take clips of 40 Mel bands"),
    (CARD.model_copy(update={"layout": "waveform"}), "take waveforms"),
])
def test_a_wrong_card_is_told(card: TeacherCard, message: str) -> None:
    with pytest.raises(FramiError, match=message):
        Teacher(VendorNet(), card)


def test_a_network_without_states_along_time_is_told() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 3))[:, :3]

    with pytest.raises(FramiError, match="no frame-level state"):
        Teacher(Flat(), CARD)


def attentive_statistics(h: Tensor, scores: Tensor) -> Tensor:
    """Weights for each channel, as in ECAPA-TDNN: (batch, time, features) -> (batch, 2 * features)."""
    weights = scores.softmax(1)
    mean = (weights * h).sum(1)
    return torch.cat([mean, ((weights * (h - mean[:, None]).square()).sum(1)).clamp_min(1e-12).sqrt()], 1)


class Pooled(nn.Module):
    """Features (batch, time, 16) pooled in any way, then a linear layer; the pooling is written as functions."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.mix = nn.Sequential(nn.Linear(40, 16), nn.Tanh())
        self.score = nn.Linear(16, 16 if pooling == "attentive statistics" else 1)
        wide = {"flatten": 101, "statistics": 2, "max, mean": 2, "attentive statistics": 2}
        self.out = nn.Linear(16 * wide.get(pooling, 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mix(x)
        pooled = {
            "mean": lambda: h.mean(1),
            "max": lambda: h.amax(1),
            "mean + max": lambda: h.mean(1) + h.amax(1),
            "max, mean": lambda: torch.cat([h.amax(1), h.mean(1)], 1),
            "statistics": lambda: pool_statistics(h.transpose(1, 2)),
            "last": lambda: h[:, -1],
            "attention": lambda: (self.score(h).softmax(1) * h).sum(1),
            "attentive statistics": lambda: attentive_statistics(h, self.score(h)),
            "flatten": lambda: h.flatten(1),
        }[self.pooling]()
        return self.out(pooled)


@pytest.mark.parametrize("pooling,found", [
    ("mean", "mean"), ("max", "max"), ("mean + max", "mean + max"), ("max, mean", "mean"), ("statistics", "mean"),
    ("last", "last"), ("attention", "attention"), ("attentive statistics", "attention"), ("flatten", "flatten"),
])
def test_poolings(pooling: str, found: str) -> None:
    net = Pooled(pooling)
    teacher = Teacher(net, CARD.model_copy(update={"layout": "BTF"}))
    x = torch.randn(2, 40, 101)
    hidden = teacher.forward_hidden(x)
    assert (teacher.taps.form.pooling, teacher.taps.frames) == (found, "mix")
    torch.testing.assert_close(hidden.frames, net.mix(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(net.out(hidden.pooled), hidden.logits)
    assert teacher.taps.fixed_frames == (101 if pooling == "flatten" else None)


def test_a_network_of_one_length_is_given_clips_repeated_or_cut() -> None:
    teacher = Teacher(Pooled("flatten"), CARD.model_copy(update={"layout": "BTF"}))
    x = torch.randn(2, 40, 101)
    torch.testing.assert_close(teacher(x[..., :30]), teacher(x[..., :30].repeat(1, 1, 4)[..., :101]))
    torch.testing.assert_close(teacher(torch.cat([x, x], 2)), teacher(x))
    # the states along time are those of the clip, which a student hears once, not of its repetition
    part = x[..., :50]
    hidden, repeated = teacher.forward_hidden(part), teacher.forward_hidden(part.repeat(1, 1, 3)[..., :101])
    assert hidden.frames.shape == (2, 16, 50)
    torch.testing.assert_close(hidden.frames, repeated.frames[..., :50])
    torch.testing.assert_close(hidden.pooled, repeated.pooled)


class FixedKernel(nn.Module):
    """Pools by a kernel as large as its maps of clips of 49 frames (DS-CNN, Zhang et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.out = nn.Conv2d(1, 8, 3, 2, 1), nn.AvgPool2d((5, 25)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pool(self.conv(x)).squeeze())


def test_a_pooling_of_a_fixed_size_is_no_hidden_state_along_time() -> None:
    mfcc = CARD.frontend.changed(n_mels=10, hop_length=320, center=False)
    teacher = Teacher(FixedKernel(), CARD.model_copy(update={"frontend": mfcc}))
    hidden = teacher.forward_hidden(torch.randn(2, 10, 49))
    assert (teacher.taps.frames, teacher.taps.form.pooling) == ("conv", "mean")
    assert hidden.frames.shape == (2, 8, 25) and teacher.taps.fixed_frames == 49
    torch.testing.assert_close(hidden.frames.mean(2), hidden.pooled)


class Attending(nn.Module):
    """Attention over frames behind a ReLU that is a function; one channel is never active."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv1d(40, 16, 3, padding=1), nn.BatchNorm1d(16)
        self.score, self.out = nn.Linear(16, 1), nn.Linear(16, 3)
        self.bn.bias.data[0] = -10

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn(self.conv(x))).transpose(1, 2)
        return self.out((self.score(h).softmax(1) * h).sum(1))


@pytest.mark.parametrize("seed", range(6))
def test_a_score_for_each_frame_is_no_hidden_state(seed: int) -> None:
    torch.manual_seed(seed)
    taps = Teacher(Attending(), CARD.model_copy(update={"layout": "BFT"})).taps
    assert (taps.frames, taps.form.pooling, taps.form.rectified) == ("bn", "attention", True)


class Squeezing(Attending):
    """Forgets that a batch may be one clip."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


def test_a_network_that_fails_on_one_clip_is_given_it_twice() -> None:
    torch.manual_seed(0)
    net = Squeezing()
    teacher, x = Teacher(net, CARD.model_copy(update={"layout": "BFT"})), torch.randn(5, 40, 60)
    for index in range(5):
        torch.testing.assert_close(teacher(x[index : index + 1]), teacher(x)[index : index + 1])
    alone, together = teacher.forward_hidden(x[:1]), teacher.forward_hidden(x)
    for one, all_of_them in zip([*alone[:3], *alone.stages], [*together[:3], *together.stages], strict=True):
        torch.testing.assert_close(one, all_of_them[:1])
    assert not Teacher(Attending(), teacher.card).needs_two


class Sequence(nn.Module):
    def __init__(self, batch_first: bool, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(40, 8, batch_first=batch_first, bidirectional=True, num_layers=2)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x if self.rnn.batch_first else x.transpose(0, 1))
        return self.out(states.mean(1 if self.rnn.batch_first else 0))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers(batch_first: bool, kind: type[nn.RNNBase]) -> None:
    net = Sequence(batch_first, kind)
    teacher = Teacher(net, CARD.model_copy(update={"layout": "BTF"}))
    x = torch.randn(5, 40, 30)
    hidden = teacher.forward_hidden(x)
    states, _ = net.rnn(x.transpose(1, 2) if batch_first else x.permute(2, 0, 1))
    torch.testing.assert_close(hidden.frames, states.transpose(1, 2) if batch_first else states.permute(1, 2, 0))
    torch.testing.assert_close(hidden.frames.mean(2), hidden.pooled)
    assert [tuple(stage.shape) for stage in hidden.stages] == [(5, 16, 30)]


def test_a_network_that_autocasts_by_itself() -> None:
    class Autocast(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.out(self.mix(x).float().mean(1))  # from bf16 to float32, as losses of precision are met

    teacher = Teacher(Autocast("mean"), CARD.model_copy(update={"layout": "BTF"}))
    hidden = teacher.forward_hidden(torch.randn(2, 40, 50))
    assert teacher.taps.form.pooling == "mean" and teacher.taps.frames == "mix"
    assert {hidden.logits.dtype, hidden.frames.dtype, hidden.pooled.dtype} == {torch.float32}


class PerFrame(nn.Module):
    """Classifies every frame; the mean of that is the clip's, or nothing is."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.mix, self.act, self.out, self.pooled = nn.Conv1d(40, 12, 3), nn.ReLU(), nn.Conv1d(12, 3, 1), pooled

    def forward(self, x: Tensor) -> Tensor:
        logits = self.out(self.act(self.mix(x)))
        return logits.mean(2) if self.pooled else logits


def test_frames_that_are_classified_and_then_pooled() -> None:
    teacher = Teacher(PerFrame(True), CARD.model_copy(update={"layout": "BFT"}))
    assert teacher.taps.frames == "act"
    assert teacher.forward_hidden(torch.randn(2, 40, 50)).frames.shape == (2, 12, 48)


def test_one_output_per_frame_is_refused() -> None:
    with pytest.raises(FramiError, match=r"one output per frame, \(2, 3, 99\)"):
        Teacher(PerFrame(False), CARD.model_copy(update={"layout": "BFT"}))


def test_the_user_says_where_the_frames_are() -> None:
    card = CARD.model_copy(update={"layout": "BFT"})
    teacher = Teacher(PerFrame(True), card, frames_at="mix")
    x = torch.randn(2, 40, 50)
    torch.testing.assert_close(teacher.forward_hidden(x).frames, teacher.net.mix(x))  # type: ignore[operator]
    with pytest.raises(FramiError, match="not among the modules") as raised:
        Teacher(PerFrame(True), card, frames_at="mixx")
    assert "'mix'" in raised.value.hint
