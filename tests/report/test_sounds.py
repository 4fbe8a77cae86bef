"""Sounds made of log-Mels: heard by the same front-end again, they give the log-Mels back."""

import any_dialect
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vendors_dialects import CARDS, NAMES, VENDOR_RATES, speech_like

from frami_edge.card import MelSpec
from frami_edge.frontend import MelFrontend
from frami_edge.report.sounds import PEAK, magnitudes, overlaps, waveforms


def alike(one: Tensor, other: Tensor) -> float:
    """Correlation of two log-Mels over the frames that both have; a difference in level does not count."""
    frames = min(one.shape[2], other.shape[2])
    both = torch.stack([each[:, :, 2 : frames - 2].flatten() for each in (one, other)])
    return float(torch.corrcoef(both)[0, 1])


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")  # torchaudio's own defaults
@pytest.mark.parametrize("name", NAMES)
def test_speech_in_vendors_dialects_is_kept(name: str) -> None:
    spec, rate = CARDS[name], VENDOR_RATES.get(name, 16000)
    frontend = MelFrontend(spec, rate)
    log_mel = frontend.log_mel(speech_like(rate, rate)[None])
    wave = waveforms(log_mel, spec, rate)
    assert abs(wave.shape[1] - rate) < 2 * spec.n_fft and wave.abs().max() == pytest.approx(PEAK)
    assert alike(frontend.log_mel(0.3 * wave), log_mel) > 0.9
    louder = waveforms(log_mel + spec.log_scale, spec, rate)  # nearly: what is added to is not scaled with the sound
    assert alike(frontend.log_mel(0.3 * louder), log_mel) > 0.9


@pytest.mark.parametrize("hertz", [440.0, 2000.0])
def test_a_tone_keeps_its_pitch(hertz: float) -> None:
    spec, rate = MelSpec(n_mels=64), 16000
    tone = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(rate) / rate)[None]
    wave = waveforms(MelFrontend(spec, rate).log_mel(tone), spec, rate)[0]
    loudest = float(torch.fft.rfft(wave).abs().argmax()) * rate / len(wave)
    assert loudest == pytest.approx(hertz, rel=0.08)  # half the width of a band


def test_pre_emphasis_is_undone() -> None:
    """White noise was white before it, so it is white again: as loud above 4 kHz as between 1 and 4."""
    spec = MelSpec(n_mels=64, f_min=20.0, preemphasis=0.97)
    noise = 0.1 * torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))
    spectrum = magnitudes(MelFrontend(spec, 16000).log_mel(noise), spec, 16000)[0].mean(1)
    low, high = spectrum[25:100].mean(), spectrum[100:190].mean()  # bins of 40 Hz
    assert 0.5 < float(high / low) < 2  # 9 with the emphasis


def test_silence_stays_silence_beside_sound() -> None:
    spec = MelSpec()
    log_mel = MelFrontend(spec, 16000).log_mel(torch.stack([torch.zeros(8000), speech_like(8000, 16000)]))
    quiet, loud = waveforms(log_mel, spec, 16000)
    assert quiet.abs().max() == 0 and loud.abs().max() == pytest.approx(PEAK)


def test_the_same_sound_each_time_and_no_random_numbers_taken() -> None:
    log_mel = MelFrontend(MelSpec(), 16000).log_mel(speech_like(8000, 16000)[None])
    state = torch.get_rng_state()
    first = waveforms(log_mel, MelSpec(), 16000)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(1)
    assert torch.equal(first, waveforms(log_mel, MelSpec(), 16000))


def test_frames_that_do_not_overlap_are_known() -> None:
    assert overlaps(MelSpec(win_length=400, hop_length=320))
    assert not overlaps(MelSpec(win_length=400, hop_length=400))  # a Hann window is zero where the next begins
    assert not overlaps(MelSpec(win_length=400, hop_length=500))


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
@settings(max_examples=40, deadline=None)
@given(spec=any_dialect.specs(), frames=st.integers(1, 30), seed=st.integers(0, 100))
def test_any_dialect_gives_a_finite_sound(spec: MelSpec, frames: int, seed: int) -> None:
    if overlaps(spec):
        between = torch.rand(2, spec.n_mels, frames, generator=torch.Generator().manual_seed(seed))
        wave = waveforms(torch.lerp(torch.tensor(spec.log_floor), torch.tensor(spec.log_ceiling), between), spec, 16000)
        assert wave.shape == (2, spec.hop_length * max(1, frames - 1))
        assert wave.isfinite().all() and wave.abs().max() <= PEAK + 1e-6
