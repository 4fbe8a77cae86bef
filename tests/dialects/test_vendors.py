"""The dialects that vendors use, each as the documentation's card has it, against what it is named after."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from vendors_dialects import CARDS, NAMES, ORACLES, VENDOR_RATES, noise, speech_like

from frami_edge._torchaudio import torchaudio
from frami_edge.card import MelSpec
from frami_edge.frontend import MelFrontend
from frami_edge.mel import mel_bands

RATES = [8000, 16000, 22050, 32000, 44100, 48000]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [100, 401, 3000, 23457])
def test_the_vendors_cards(name: str, samples: int) -> None:
    spec, rate = CARDS[name], VENDOR_RATES.get(name, 16000)
    frontend = MelFrontend(spec, rate)
    for wave in (noise(samples), speech_like(samples, rate)):
        # what is shorter than a window is filled with zeros first: vendors pad so, drop it, or fail
        filled = F.pad(wave, (0, max(0, frontend.shortest - samples)))
        ours, theirs = frontend(wave[None])[0], ORACLES[name](filled.double(), rate)
        assert ours.shape == theirs.shape
        if spec.normalisation.kind in ("cmvn", "cmn") and ours.shape[1] == 1:
            assert ours.abs().max() == 0  # one frame is its own mean; PyTorch's deviation of it is NaN
        else:
            # the promise holds for the natural logarithm; MFCCs are sums over 128 bands
            scale = spec.log_scale * (math.sqrt(spec.n_mels) if spec.kind == "mfcc" else 1)
            assert (ours - theirs).abs().max() < 1e-3 * scale


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("window", ["povey", "hanning", "hamming", "blackman"])
def test_kaldi_at_every_rate_with_every_window(rate: int, window: str) -> None:
    from torchaudio.compliance.kaldi import fbank

    length = rate // 40
    spec = CARDS["kaldi"].changed(
        n_fft=2 ** math.ceil(math.log2(length)), win_length=length, hop_length=rate // 100, n_mels=23, f_max=rate / 2,
        window={"hanning": "hann"}.get(window, window), normalisation={})
    for samples in (length, 5 * length + 7, rate // 2):
        wave = speech_like(samples, rate)
        theirs = fbank(32768 * wave[None].double(), sample_frequency=rate, window_type=window, dither=0.0).T
        ours = MelFrontend(spec, rate)(wave[None])[0]
        assert ours.shape == theirs.shape and (ours - theirs).abs().max() < 1e-3


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-3])
def test_an_offset_leaves_no_trace_where_frames_lose_their_mean(level: float) -> None:
    from torchaudio.compliance.kaldi import fbank

    wave = 0.5 + 10 * level * noise(16000)[None]
    theirs = fbank(32768 * wave.double(), num_mel_bins=80, dither=0.0).T
    ours = MelFrontend(CARDS["kaldi"].changed(normalisation={}), 16000)(wave)[0]
    assert (ours - theirs).abs().max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("power,log,offset_by", [(2.0, "db", "clamping"), (1.0, "db-amplitude", "clamping"),
                                                 (2.0, "ln", "adding"), (1.0, "log2", "adding")])
def test_torchaudio_at_every_rate(rate: int, power: float, log: str, offset_by: str) -> None:
    length = rate // 40
    spec = MelSpec(n_fft=2 * length, win_length=length, hop_length=rate // 100, n_mels=32, f_max=rate / 2, power=power,
                   log=log, log_offset_by=offset_by, log_offset=1e-7, window="hamming", preemphasis=0.9,
                   top_db=60.0 if log.startswith("db") else 0.0)
    mel = torchaudio.transforms.MelSpectrogram(rate, 2 * length, length, rate // 100, n_mels=32, power=power,
                                               window_fn=torch.hamming_window).double()
    decibels = torchaudio.transforms.AmplitudeToDB("power" if power == 2 else "magnitude", top_db=60.0)
    decibels.amin = 1e-7
    for wave in (noise(rate // 3), speech_like(rate // 2, rate)):
        found = mel(torchaudio.functional.preemphasis(wave.double()[None], 0.9))
        scale = {"ln": 1.0, "log2": 1 / math.log(2)}.get(log)
        theirs = scale * (found + 1e-7).log() if scale else decibels(found)
        assert (MelFrontend(spec, rate)(wave[None]) - theirs).abs().max() < 1e-3 * spec.log_scale


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("norm", ["none", "slaney"])
def test_slaney_is_librosas(rate: int, norm: str) -> None:
    librosa = pytest.importorskip("librosa")
    spec = MelSpec(n_fft=1024, n_mels=64, f_min=30.0, f_max=rate / 2.2, mel_scale="slaney", mel_norm=norm)
    theirs = librosa.filters.mel(sr=rate, n_fft=1024, n_mels=64, fmin=30.0, fmax=rate / 2.2, dtype=np.float64,
                                 norm=None if norm == "none" else norm)
    found = mel_bands(spec, rate).numpy().T
    np.testing.assert_allclose(found, theirs, atol=2e-4 * theirs.max())


@pytest.mark.parametrize("name", NAMES)
def test_silence_within_a_clip(name: str) -> None:
    """What masks and shifts write into features is what the front-end makes of a silent frame of that clip."""
    spec, rate = CARDS[name], VENDOR_RATES.get(name, 16000)
    frontend = MelFrontend(spec, rate)
    half = noise(rate)[None].clone()
    half[:, rate // 2 :] = 0
    log_mel = frontend.log_mel(half)
    features, silence = frontend.features(log_mel), frontend.features.silence(log_mel)
    assert (log_mel[:, :, -5:] - spec.log_floor).abs().max() < 1e-4 * spec.log_scale
    assert (features[:, :, -5:] - silence).abs().max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_no_sound_is_above_the_ceiling(name: str) -> None:
    spec, rate = CARDS[name], VENDOR_RATES.get(name, 16000)
    seconds = torch.arange(rate // 4) / rate
    tones = torch.stack([torch.sin(2 * torch.pi * hertz * seconds) for hertz in np.linspace(200, 0.45 * rate, 40)])
    loudest = float(MelFrontend(spec, rate).log_mel(tones).amax())
    assert spec.log_ceiling - 3 * spec.log_scale < loudest < spec.log_ceiling + spec.log_scale
