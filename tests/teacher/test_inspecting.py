"""What is told about a teacher's file without its card, and about cards that cannot be right."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frami_edge import networks
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.errors import FramiError
from frami_edge.frontend import MelFrontend
from frami_edge.teacher.dialects import check_card, require_plausible
from frami_edge.teacher.drafting import draft
from frami_edge.teacher.inspecting import inspect, look_at
from frami_edge.teacher.mixtures import first_batch_norms
from frami_edge.teacher.sounds import sounds
from frami_edge.teacher.taps import Teacher

CLIP = Clip(sample_rate=8000, preparation="crop")
SPEC = MelSpec(n_fft=256, win_length=200, hop_length=80, f_max=4000.0)


def card(**dialect: Any) -> TeacherCard:
    return TeacherCard(labels=("a", "b", "c"), time_dependent=True, clip=CLIP, frontend=SPEC.model_copy(update=dialect))


def training_sounds() -> Tensor:
    """Clips of 1 s, made in another way than those of the check: gliding tones in noise, both of random level."""
    random, time = torch.Generator().manual_seed(5), torch.arange(8000) / 8000

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(48, 1, generator=random)

    phase = 2 * math.pi * (draw(100, 800) * time + draw(-200, 600) * time**2)
    envelope = torch.sin(math.pi * draw(1, 4) * time + draw(0, 3)).clamp_min(0) ** 2
    tones = sum(torch.sin(harmonic * phase) / harmonic for harmonic in (1, 2, 3, 4))
    noise = torch.randn(48, 8000, generator=random)
    noise = noise + 2 * noise.roll(1, 1) + noise.roll(2, 1)  # less at high frequencies
    return 10 ** draw(-1.5, -0.3) * envelope * tones / 2 + 10 ** draw(-3.5, -2) * noise


def taught(true: TeacherCard, network: nn.Module | None = None, heard: Tensor | None = None) -> nn.Module:
    """A network whose BatchNorms remember ``training_sounds`` through the front-end of ``true``."""
    torch.manual_seed(0)
    network = network or networks.build("dscnn_s", 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the plain average
    with torch.no_grad():
        network.train()(MelFrontend.from_card(true)(training_sounds() if heard is None else heard))
    return network.eval()


LN, DB = card(), card(log="db", log_offset=1e-10)
LOG10 = card(log="log10", log_offset=1e-10)
GLOBAL = card(normalisation=Normalisation(kind="global", mean=-5.0, std=3.5))


@pytest.mark.parametrize("true", [LN, DB, LOG10, GLOBAL], ids=["ln", "db", "log10", "global"])
def test_right_cards_are_not_doubted(true: TeacherCard) -> None:
    found = check_card(Teacher(taught(true), true))
    assert found.fit is not None and found.fit.gap < 0.25 and not found.warning
    assert len(found.fit.layers) == 3 and all(0.8 < layer.variance_ratio < 1.25 for layer in found.fit.layers)


def test_cepstra_have_other_rows_than_mel_bands() -> None:
    """A network over the 13 coefficients of 40 bands, which takes no 40 rows."""
    cepstra = card(kind="mfcc", n_mfcc=13, log="db", log_offset=1e-10).model_copy(update={"layout": "BFT"})
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(13, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                            nn.Linear(16, 3))
    found = check_card(Teacher(taught(cepstra, network), cepstra))
    assert found.fit is not None and not found.sure
    assert not check_card(Teacher(networks.build("wrn16", 3, 13), cepstra)).sure  # it was a shape that did not fit


@pytest.mark.parametrize("end", [1.0, 0.85])
def test_recordings_without_high_frequencies_are_no_reason_to_doubt_a_card(end: float) -> None:
    """A BatchNorm over the bands, as PANNs have it, remembers that the upper ones were always silent."""
    spectrum = torch.fft.rfft(training_sounds())
    spectrum[:, round(end * spectrum.shape[1]) :] *= 1e-4
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(40), nn.Conv1d(40, 16, 3), nn.BatchNorm1d(16), nn.ReLU(),
                            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 3))
    bands = LN.model_copy(update={"layout": "BFT"})
    found = check_card(Teacher(taught(bands, network, torch.fft.irfft(spectrum)), bands))
    assert found.fit is not None and not found.warning
    wrong = bands.model_copy(update={"frontend": DB.frontend})
    assert check_card(Teacher(network, wrong)).warning


@pytest.mark.parametrize("variance", [0.0, 1e-7])
def test_batch_norms_that_were_constant_in_training_say_nothing(variance: float) -> None:
    network = taught(LN)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    nn.init.constant_(norms[0].running_var, variance)  # type: ignore[arg-type]
    found = check_card(Teacher(network, LN))
    assert found.fit is not None and len(found.fit.layers) == 3 and math.isfinite(found.fit.gap)
    network = taught(LN)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.running_var, variance)  # type: ignore[arg-type]
    assert first_batch_norms(Teacher(network, LN)) == []


class Shared(nn.Module):
    """Its first BatchNorm runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.shared, self.own, self.last = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1) if x.dim() == 3 else x
        x = self.shared(self.two(self.shared(self.one(x)).relu())).relu()
        return self.last(self.own(self.three(x)).relu().mean((2, 3)))


def test_a_batch_norm_that_runs_twice_says_nothing_of_its_input() -> None:
    teacher = Teacher(taught(LN, Shared()), LN)
    assert first_batch_norms(teacher) == ["own"]
    found = check_card(teacher)
    assert found.fit is not None and math.isfinite(found.fit.gap)


@pytest.mark.parametrize("rate", [100, 300, 8000])
def test_sounds_of_any_sample_rate_are_sounds(rate: int) -> None:
    """Below 500 Hz speech has no harmonic left."""
    slow = TeacherCard(labels=("a", "b"), time_dependent=True, clip=Clip(sample_rate=rate, seconds=1.0),
                       frontend=MelSpec(n_fft=64, win_length=64, hop_length=16, n_mels=8, f_max=rate / 2))
    made = sounds(slow)
    assert np.isfinite(made).all() and (np.abs(made).max(1) > 0).all()


@pytest.mark.parametrize("true,said,named", [
    (DB, LN, 'log = "db"'), (LN, DB, 'log = "ln"'), (GLOBAL, LN, "normalisation to mean 0 and deviation 1"),
    (LN, GLOBAL, "without the normalisation"),
], ids=["db as ln", "ln as db", "normalisation left out", "normalisation invented"])
def test_wrong_cards_are_named(true: TeacherCard, said: TeacherCard, named: str) -> None:
    found = check_card(Teacher(taught(true), said))
    assert any(named in each.words for each in found.better) and named in found.warning


def test_a_card_that_is_surely_wrong_is_refused() -> None:
    with pytest.raises(FramiError, match="The card is wrong") as raised:
        require_plausible(Teacher(taught(LN), DB))
    assert "--believe-card" in raised.value.hint


def test_a_teacher_that_answers_the_same_to_everything_is_refused() -> None:
    network = taught(LN)
    nn.init.zeros_(network.classifier.weight)  # type: ignore[union-attr, arg-type]
    with pytest.raises(FramiError, match="the same output for 8 different sounds"):
        check_card(Teacher(network, LN))


def test_a_state_dict_is_recognised_whatever_wraps_it(tmp_path: Path) -> None:
    weights = networks.build("wrn16", 5, 64).state_dict()
    wrapped = {f"module.{key}": value.half() if value.is_floating_point() else value for key, value in weights.items()}
    torch.save({"epoch": 80, "model": wrapped, "optimizer": {"lr": 0.1}}, tmp_path / "epoch-80.pth.tar")
    found = inspect(tmp_path / "epoch-80.pth.tar")
    (seen,), (match,) = found.weights, found.matches
    assert (seen.place, seen.tensors, seen.dtype, seen.classes) == ("model", len(weights), "float16", 5)
    assert (match.architecture, match.classes, match.n_mels) == ("wrn16", 5, (64,))
    assert seen.parameters == found.network.parameters == networks.parameters(networks.build("wrn16", 5, 64))
    assert found.network.macs == networks.macs(networks.build("wrn16", 5, 64), 64)
    assert (found.network.pooling, found.network.frames_at, found.network.classes) == ("mean", "stages.3", 5)


def test_weights_of_nobody_we_know(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv1d(40, 8, 3), nn.Linear(8, 7)).state_dict(), tmp_path / "teacher.pt")
    found = inspect(tmp_path / "teacher.pt")
    assert found.matches == [] and found.network is None and "--arch model.py:build" in found.not_built
    assert 'architecture = "FILL IN"' in draft(found) and "the 7 names" in draft(found)


class Vendor(nn.Module):
    """Takes (batch, time, bands); forgets that a batch may be one clip."""

    def __init__(self, squeeze: bool = False, flat: bool = False, kind: str = "logits") -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv1d(64, 8, 5), nn.BatchNorm1d(8)
        self.out = nn.Linear(8 * 94 if flat else 8, 4)
        self.squeeze, self.flat, self.kind = squeeze, flat, kind

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.bn(self.conv(x.transpose(1, 2))))
        y = self.out(h.flatten(1) if self.flat else h.mean(2))
        y = {"logits": y, "softmax": y.softmax(1), "log_softmax": y.log_softmax(1)}[self.kind]
        return y.squeeze() if self.squeeze else y


def test_layout_bands_and_lengths_are_found() -> None:
    found = look_at(Vendor().eval())
    assert [(layout.name, layout.n_mels) for layout in found.layouts] == [("BTF", (64,))]
    assert found.lengths == (5, False) and found.quirks == [] and found.layers == 3
    assert found.batch_norms == [("bn", 8, 0)]


def test_the_cards_frame_level_state_comes_before_the_one_that_is_found() -> None:
    card = TeacherCard(labels=("a", "b", "c"), time_dependent=True, layout="BTF", frontend=MelSpec(n_mels=64))
    assert look_at(Vendor().eval(), card).frames_at == "bn"
    assert look_at(Vendor().eval(), card.model_copy(update={"frames_at": "conv"})).frames_at == "conv"
    assert "not among the modules" in look_at(Vendor().eval(), card.model_copy(update={"frames_at": "x"})).problem


def test_a_network_that_takes_any_number_of_bands_is_not_taken_for_one_of_waveforms() -> None:
    found = look_at(networks.build("dscnn_s", 3).eval())
    assert [layout.name for layout in found.layouts] == ["B1FT", "B1TF", "BFT", "BTF"]
    assert 128 in found.layouts[0].n_mels


def test_of_several_outputs_the_one_with_the_classes_is_meant() -> None:
    class Embedding(Vendor):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            h = torch.relu(self.bn(self.conv(x.transpose(1, 2)))).mean(2)
            return h, self.out(h)

    card = TeacherCard(labels=tuple("abcd"), time_dependent=True, layout="BTF", frontend=MelSpec(n_mels=64))
    assert look_at(Embedding().eval(), card).classes == 4
    assert look_at(Embedding().eval(), classes=4).classes == 4
    assert look_at(Embedding().eval()).classes == 8  # nothing says so


def test_what_a_network_says_to_the_usual_input_is_told() -> None:
    class Two(Vendor):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x)

    problem = look_at(Two().eval()).problem
    assert "Of (2, 1, 64, 101) it says TypeError" in problem and "missing 1 required positional argument" in problem


@pytest.mark.parametrize("wrap,told", [
    (lambda y: {"outputs": {"logits": y}}, "it gives {'outputs': {'logits': (2, 4)}}"),
    (lambda y: y.argmax(1), "it gives (2,) int64"), (lambda y: y[:, :1], "it gives (2, 1)"),
])
def test_an_output_that_is_not_understood_is_told_at_once(wrap: Callable, told: str) -> None:
    class Wrapped(Vendor):
        calls = 0

        def forward(self, x: Tensor) -> object:  # type: ignore[override]
            self.calls += 1
            return wrap(super().forward(x))

    net = Wrapped().eval()
    problem = look_at(net).problem
    assert f"given (2, 101, 64), two clips of layout BTF, {told}" in problem and "wrap it" in problem.lower()
    assert net.calls < 60  # four layouts, twelve numbers of bands; all lengths would be a thousand


def test_one_length_alone_is_found() -> None:
    found = look_at(Vendor(flat=True).eval())
    assert found.lengths == (98, True) and found.pooling == "flatten"


@pytest.mark.parametrize("kind", ["logits", "softmax", "log_softmax"])
def test_the_kind_of_output_is_found(kind: str) -> None:
    assert look_at(Vendor(kind=kind).eval()).output == kind


def test_a_squeeze_without_an_axis_is_told() -> None:
    (quirk,) = look_at(Vendor(squeeze=True).eval()).quirks
    assert "loses its batch axis (output (4,))" in quirk


def test_dead_channels_are_counted() -> None:
    network = Vendor().eval()
    network.bn.running_var[:3] = 1e-12
    network.bn.weight.data[2:5] = 0
    assert look_at(network).batch_norms == [("bn", 8, 5)]


def test_a_network_of_waveforms_is_told() -> None:
    class Wave(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-1] > 4000
            return x.reshape(len(x), 4, -1).mean(2)

    found = look_at(Wave().eval())
    assert [layout.name for layout in found.layouts] == ["waveform"] and "takes waveforms" in found.problem


def test_a_draft_is_refused_until_it_is_complete(tmp_path: Path) -> None:
    torch.save(taught(LN).state_dict(), tmp_path / "teacher.pt")
    text = draft(inspect(tmp_path / "teacher.pt"))
    (tmp_path / "teacher.toml").write_text(text)
    with pytest.raises(FramiError, match=r"not complete: labels, time_dependent, clip.sample_rate, .* filled in") as e:
        TeacherCard.read(tmp_path / "teacher.toml")
    assert "layout" not in e.value.problem
    lines = complete(text, LN).splitlines()
    assert all("#" in line for line in lines if "=" in line and not line.startswith(("format", "mean", "std")))
    (tmp_path / "teacher.toml").write_text("\n".join(lines))
    found = inspect(tmp_path / "teacher.pt")
    assert found.card == LN.model_copy(update={"architecture": "dscnn_s"}) and not found.card_is_wrong
    assert found.check is not None and found.check.fit is not None and found.check.fit.gap < 0.25


def complete(text: str, values: TeacherCard) -> str:
    """``text`` with what ``values`` says wherever it says FILL IN."""
    import json

    table = values.model_dump(mode="json")
    known = table | table["clip"] | table["frontend"] | table["frontend"]["normalisation"]
    known["kind"] = table["frontend"]["normalisation"]["kind"]
    filled = []
    for line in text.splitlines():
        key = line.partition(" =")[0]
        filled.append(line.replace('"FILL IN"', json.dumps(known[key])) if f'{key} = "FILL IN"' in line else line)
    return "\n".join(filled)
