"""Teachers that take waveforms: the front-end inside is found, compared and left out."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from frami_edge import recipe
from frami_edge._torchaudio import torchaudio
from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.compute import choose
from frami_edge.errors import FramiError
from frami_edge.evaluation import torch_model
from frami_edge.frontend import MelFrontend
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.synthesizer import make_synthesizer
from frami_edge.teacher.drafting import draft
from frami_edge.teacher.inspecting import inspect, look_at
from frami_edge.teacher.opening import open_teacher
from frami_edge.teacher.taps import Teacher
from frami_edge.teacher.waveform import behind_front_end

T = torchaudio.transforms
CARD = TeacherCard(labels=("a", "b", "c"), time_dependent=False, layout="waveform", clip=Clip(seconds=0.5))
SETTINGS = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 24, "f_max": 7600.0}


class Behind(nn.Module):
    """A small network of features (batch, rows, frames)."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.BatchNorm1d(rows), nn.Conv1d(rows, 8, 3), nn.BatchNorm1d(8), nn.ReLU())
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(0.1 * x).mean(2))


class Decibels(nn.Module):
    """torchaudio's transforms; waveforms have a channel, features are of clips centred around zero."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = T.MelSpectrogram(16000, window_fn=torch.hamming_window, norm="slaney", mel_scale="slaney",
                                    **SETTINGS)
        self.to_db = T.AmplitudeToDB(top_db=70.0)
        self.behind = Behind(24)

    def forward(self, wave: Tensor) -> Tensor:
        assert wave.dim() == 3
        return self.behind(self.to_db(self.mel(wave)).squeeze(1))


class Cepstra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mfcc = T.MFCC(16000, n_mfcc=13, melkwargs=SETTINGS)
        self.behind = Behind(13)

    def forward(self, wave: Tensor) -> dict[str, Tensor]:
        return {"logits": self.behind(self.mfcc(wave))}


class Logarithm(nn.Module):
    """It takes the logarithm itself, behind the transform."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.ModuleDict({"mel": T.MelSpectrogram(16000, power=1.0, **SETTINGS)})
        self.behind = Behind(24)

    def forward(self, wave: Tensor) -> Tensor:
        return self.behind(torch.log(self.front["mel"](wave) + 1e-6))


class Own(nn.Module):
    """A front-end that nobody but its author knows, (batch, 1, frames, rows)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", torchaudio.functional.melscale_fbanks(201, 0.0, 8000.0, 24, 16000))

    def forward(self, wave: Tensor) -> Tensor:
        power = torch.stft(wave, 400, 160, window=torch.hann_window(400), return_complex=True).abs().square()
        return (power.transpose(1, 2) @ self.filters + 1e-6).log().unsqueeze(1)


class WithOwn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features, self.behind = Own(), Behind(24)

    def forward(self, wave: Tensor) -> Tensor:
        return self.behind(self.features(wave)[:, 0].transpose(1, 2))


class Several(Logarithm):
    """Holds a transform that its features do not come from."""

    def __init__(self) -> None:
        super().__init__()
        self.other = T.MelSpectrogram(16000, n_mels=10)


class Resampling(nn.Module):
    """Halves the rate of its clips before its front-end."""

    def __init__(self) -> None:
        super().__init__()
        self.resample, self.unused = T.Resample(16000, 8000), T.Resample(48000, 8000)
        self.mel = T.MelSpectrogram(8000, n_fft=256, n_mels=24)
        self.behind = Behind(24)

    def forward(self, wave: Tensor) -> Tensor:
        return self.behind(torch.log(self.mel(self.resample(wave)) + 1e-6))


class Raw(nn.Module):
    """As M5: its first layer hears the waveform itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(1, 8, 80, 16), nn.BatchNorm1d(8), nn.ReLU())
        self.last = nn.Linear(8, 3)

    def forward(self, wave: Tensor) -> Tensor:
        return self.last(self.layers(wave).mean(2))


class Peeking(Logarithm):
    """Hears the waveform past its front-end."""

    def forward(self, wave: Tensor) -> Tensor:
        return super().forward(wave) + 50 * wave.abs().mean(1, keepdim=True)


class Cut(Logarithm):
    def forward(self, wave: Tensor) -> Tensor:
        with torch.no_grad():
            x = torch.log(self.front["mel"](wave) + 1e-6)
        return self.behind(x)


class Twice(Logarithm):
    def forward(self, wave: Tensor) -> Tensor:
        return super().forward(wave) + super().forward(-wave)


SEVERAL_CARD = CARD.model_copy(update={"frontend": MelSpec(power=1.0, **SETTINGS), "features_at": "front.mel"})
OWN_CARD = CARD.model_copy(update={"frontend": MelSpec(n_mels=24), "features_at": "features"})


@pytest.mark.parametrize("make,card,channel", [(Decibels, CARD, True), (Cepstra, CARD, False), (Logarithm, CARD, False),
                                               (WithOwn, OWN_CARD, False), (Several, SEVERAL_CARD, False)])
def test_the_network_behind_answers_what_the_whole_does(make: type, card: TeacherCard, channel: bool) -> None:
    whole = make().eval()
    net, read = behind_front_end(copy.deepcopy(whole), card)
    teacher = copy.deepcopy(Teacher(net, read))  # a copy is on its own
    wave = 0.05 * torch.randn(1, 12345)
    expected = whole(wave.unsqueeze(1) if channel else wave)
    expected = expected["logits"] if isinstance(expected, dict) else expected
    found = torch_model(teacher, read).logits(wave.numpy())
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-3, rtol=0)
    assert len(teacher.batch_norms()) == 2 and read.layout == "BFT"


def test_settings_come_from_the_transforms() -> None:
    spec = behind_front_end(Decibels(), CARD)[1].frontend
    assert spec == MelSpec(window="hamming", mel_scale="slaney", mel_norm="slaney", log="db", log_offset=1e-10,
                           log_offset_by="clamping", top_db=70.0, **SETTINGS)
    spec = behind_front_end(Cepstra(), CARD)[1].frontend
    assert (spec.kind, spec.n_mfcc, spec.rows, spec.top_db, spec.log) == ("mfcc", 13, 13, 80.0, "db")
    said = CARD.model_copy(update={"frontend": MelSpec(log="log10", log_offset=1e-4)})
    spec = behind_front_end(Logarithm(), said)[1].frontend  # the logarithm is the student's affair there
    assert (spec.log, spec.log_offset, spec.power, spec.n_mels) == ("log10", 1e-4, 1.0, 24)


def test_inversion_starts_behind_the_front_end(tmp_path: Path) -> None:
    teacher = Teacher(*behind_front_end(Logarithm(), CARD))
    settings = recipe.load("quick", ["inversion.batch_size=8", "inversion.ngf=4", "inversion.first_steps=20",
                                     "inversion.contrast_weight=0", "inversion.finv_weight=0"]).inversion
    losses: list[float] = []
    maker = make_synthesizer(teacher, settings, choose("cpu", "float32"))
    made = maker.synthesize(None, Bank(tmp_path, "sha", 100), lambda step, terms: losses.append(terms["total"]))
    assert made.samples.log_mel.shape == (8, 24, 51)
    assert min(losses[-5:]) < 0.9 * losses[0]


WRONG = MelSpec(n_mels=24, mel_scale="slaney")


@pytest.mark.parametrize("make,card,features_at,message", [
    (WithOwn, CARD, None, "no torchaudio transform"),
    (WithOwn, CARD, "feature", "no module 'feature'.*|features"),
    (WithOwn, OWN_CARD.model_copy(update={"frontend": WRONG}), None, r"differs from 'features' by up to \d"),
    (WithOwn, OWN_CARD.model_copy(update={"frontend": MelSpec()}), None, r"\(1, 1, 51, 24\), and the card's.*40 rows"),
    (Peeking, CARD, None, "answers otherwise"),
    (Cut, CARD, None, "No gradient"),
    (Twice, CARD, None, "runs 2 times"),
    (Several, CARD, None, "several front-ends"),
    (Resampling, CARD, None, "resamples from 16000 to 8000 Hz before its front-end \\('resample'\\)"),
    (Resampling, CARD.model_copy(update={"clip": Clip(sample_rate=16000)}), None, "resamples from 16000"),
    (Cepstra, CARD.model_copy(update={"clip": Clip(sample_rate=8000)}), None, "16000 Hz"),
    (Cepstra, CARD.model_copy(update={"layout": "BFT"}), "mfcc", "layout is BFT"),
])
def test_what_cannot_be_is_said(make: type, card: TeacherCard, features_at: str | None, message: str) -> None:
    with pytest.raises(FramiError, match=message):
        behind_front_end(make(), card, features_at)


def test_a_network_on_raw_waveforms_is_called_so() -> None:
    with pytest.raises(FramiError, match="no torchaudio transform") as raised:
        behind_front_end(Raw(), CARD)
    assert "raw waveforms, with no Mel front-end, are not supported" in raised.value.hint
    assert "raw waveforms, with no Mel front-end, are not supported" in look_at(Raw().eval()).problem
    assert "raw" not in look_at(Logarithm().eval()).problem


def test_a_vendors_files(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("""
import torch
from torch import nn
from frami_edge._torchaudio import torchaudio

def build():
    front = nn.Sequential(torchaudio.transforms.MelSpectrogram(8000, n_fft=256, hop_length=80, n_mels=20),
                          torchaudio.transforms.AmplitudeToDB())
    behind = nn.Sequential(nn.Conv1d(20, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                           nn.Linear(4, 2))
    return nn.Sequential(front, behind)
""")
    (tmp_path / "teacher.toml").write_text(
        'architecture = "model.py:build"\nlabels = ["a", "b"]\ntime_dependent = false\nlayout = "waveform"\n')
    namespace: dict[str, object] = {}
    exec((tmp_path / "model.py").read_text(), namespace)
    network = namespace["build"]()
    torch.save(network.state_dict(), tmp_path / "teacher.pt")
    opened = open_teacher(tmp_path / "teacher.pt", trust=True)
    assert opened.card.clip.sample_rate == 8000 and opened.card.frontend.f_max == 4000.0
    assert opened.card.features_at == "0.1"
    wave = 0.1 * torch.randn(2, 8000)
    features = MelFrontend.from_card(opened.card)(wave)
    torch.testing.assert_close(opened.teacher(features), network.eval()(wave), atol=1e-3, rtol=0)

    found = inspect(tmp_path / "teacher.pt", trust=True)  # it looks behind the front-end, as distill does
    assert found.network is not None and not found.network.problem and not found.card_problem
    assert found.network.frames_at == "1.2" and found.check is not None and found.check.fit is not None
    (tmp_path / "teacher.toml").unlink()
    text = draft(inspect(tmp_path / "teacher.pt", arch=f"{tmp_path / 'model.py'}:build"))
    assert 'layout = "waveform"' in text and "n_fft =" not in text and "inside the network" in text
    (tmp_path / "teacher.toml").write_text(text)
    with pytest.raises(FramiError, match="not complete: labels, time_dependent, clip.sample_rate"):
        TeacherCard.read(tmp_path / "teacher.toml")
