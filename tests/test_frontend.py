"""The front-end against torchaudio run in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge._torchaudio import torchaudio
from frami_edge.card import MelSpec, Normalisation
from frami_edge.frontend import MelFrontend, peak_level

SETTINGS = [
    MelSpec(),
    MelSpec(n_fft=512),
    MelSpec(n_fft=512, n_mels=64, mel_scale="slaney", mel_norm="slaney", f_min=50.0, f_max=7000.0),
    MelSpec(n_fft=511, win_length=300, hop_length=111, pad_mode="constant"),
    MelSpec(n_fft=512, center=False, power=1.0, log="log10"),
    MelSpec(n_fft=1024, win_length=1024, hop_length=256, log="db", n_mels=32),
]


def torchaudio_log_mel(wave: torch.Tensor, spec: MelSpec) -> torch.Tensor:
    """The oracle: torchaudio's MelSpectrogram and a logarithm, all in float64."""
    mel = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=spec.n_fft, win_length=spec.win_length, hop_length=spec.hop_length, f_min=spec.f_min,
        f_max=spec.f_max, n_mels=spec.n_mels, power=spec.power, center=spec.center, pad_mode=spec.pad_mode,
        norm=None if spec.mel_norm == "none" else spec.mel_norm, mel_scale=spec.mel_scale).double()
    scale = {"ln": 1.0, "log2": 1 / torch.tensor(2.0).log(), "log10": 1 / torch.tensor(10.0).log(),
             "db": 10 / torch.tensor(10.0).log()}[spec.log]
    return scale * (mel(wave.double()) + spec.log_offset).log()


@pytest.mark.parametrize("spec", SETTINGS)
@pytest.mark.parametrize("samples", [0, 1, 160, 399, 401, 8191, 16000, 48007])
def test_equals_torchaudio_in_float64(spec: MelSpec, samples: int) -> None:
    torch.manual_seed(samples)
    wave = 0.3 * torch.randn(2, samples).clamp(-1, 1)
    frontend = MelFrontend(spec, 16000)
    filled = torch.nn.functional.pad(wave, (0, max(0, frontend.shortest - samples)))
    ours, theirs = frontend.log_mel(wave), torchaudio_log_mel(filled, spec)
    assert ours.shape == theirs.shape
    scale = {"ln": 1.0, "log2": 1.45, "log10": 0.44, "db": 4.4}[spec.log]
    assert (ours - theirs).abs().max() < 1e-3 * scale


@pytest.mark.parametrize("hertz", [100.0, 440.0, 1000.0, 3333.3, 7000.0])
def test_tones_are_as_exact_as_float32_allows(hertz: float) -> None:
    """A tone leaves most bands near the offset. A loud one loses up to 7e-3 to float32 in any implementation:
    torchaudio's own float32 is the measure there."""
    tone = torch.sin(2 * torch.pi * hertz * torch.arange(16000) / 16000).unsqueeze(0)
    frontend = MelFrontend(MelSpec(), 16000)

    def error(log_mel: torch.Tensor, wave: torch.Tensor) -> float:
        return float((log_mel - torchaudio_log_mel(wave, MelSpec())).abs().max())

    assert error(frontend.log_mel(0.05 * tone), 0.05 * tone) < 1e-3
    single = torchaudio.transforms.MelSpectrogram(16000, n_fft=400, hop_length=160, n_mels=40)
    assert error(frontend.log_mel(tone), tone) < 5 * error((single(tone) + 1e-6).log(), tone)


def test_keeps_the_first_frames_and_normalises() -> None:
    spec = MelSpec(frames=100, normalisation=Normalisation(kind="global", mean=-9.0, std=6.0))
    frontend = MelFrontend(spec, 16000)
    wave = torch.randn(1, 16000) / 10
    assert frontend(wave).shape == (1, 40, 100)
    torch.testing.assert_close(frontend(wave), (frontend.log_mel(wave) + 9) / 6)


def test_silence_is_the_floor_and_a_full_scale_tone_the_ceiling() -> None:
    spec = MelSpec()
    frontend = MelFrontend(spec, 16000)
    torch.testing.assert_close(frontend.log_mel(torch.zeros(1, 4000)), torch.full((1, 40, 26), spec.log_floor))
    tones = torch.stack([torch.sin(2 * torch.pi * f * torch.arange(8000) / 16000) for f in range(100, 7900, 25)])
    loudest = frontend.log_mel(tones).amax()
    assert spec.log_ceiling - 0.7 < loudest < spec.log_ceiling + 0.7


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2000), st.floats(1e-3, 1e3))
def test_peak_level_makes_the_peak_one(samples: int, gain: float) -> None:
    torch.manual_seed(samples)
    levelled = peak_level(gain * torch.randn(2, samples))
    assert levelled.shape == (2, samples)
    if samples:
        torch.testing.assert_close(levelled.abs().amax(1), torch.ones(2))


def test_peak_level_leaves_silence() -> None:
    assert peak_level(torch.zeros(1, 100)).abs().max() == 0
