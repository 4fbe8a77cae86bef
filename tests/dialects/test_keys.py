"""What each key of a front-end means, which keys contradict one another, and that every valid card can be used."""

import math

import pytest
import torch
from any_dialect import specs
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from vendors_dialects import noise

from frami_edge.card import MelSpec, Normalisation
from frami_edge.features import Features
from frami_edge.frontend import MelFrontend
from frami_edge.mel import mel_bands


def test_log1p_is_a_gain_and_an_offset_of_one() -> None:
    wave = noise(8000)[None]
    mel = MelFrontend(MelSpec(log_offset=1e-30), 16000)(wave).exp()
    found = MelFrontend(MelSpec(log_gain=10.0, log_offset=1.0), 16000)(wave)
    torch.testing.assert_close(found, (10 * mel).log1p(), atol=1e-5, rtol=1e-5)


def test_a_clips_own_statistics() -> None:
    log_mel = 3 * torch.randn(4, 8, 50, generator=torch.Generator().manual_seed(0)) - 7
    cases = {"clip": (1, 2), "cmvn": (2,), "cmn": (2,)}
    for kind, axes in cases.items():
        for correction in (0, 1):
            spec = MelSpec(n_mels=8, normalisation=Normalisation(kind=kind, correction=correction, epsilon=1e-3))
            std, mean = torch.std_mean(log_mel, axes, correction=correction, keepdim=True)
            expected = (log_mel - mean) / (1 if kind == "cmn" else std + 1e-3)
            torch.testing.assert_close(Features(spec)(log_mel), expected, atol=1e-5, rtol=1e-5)


def test_given_statistics_by_band() -> None:
    mean, std = torch.arange(8.0), 1 + torch.arange(8.0)
    spec = MelSpec(n_mels=8, normalisation={"kind": "per-band", "band_mean": mean.tolist(), "band_std": std.tolist()})
    log_mel = torch.randn(2, 8, 5)
    torch.testing.assert_close(Features(spec)(log_mel), (log_mel - mean[:, None]) / std[:, None])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["htk", "slaney"]), st.sampled_from(["none", "slaney"]), st.sampled_from([0.0, 50.0, 1200.0]),
       st.sampled_from([3000.0, 7600.0, 11025.0]), st.integers(8, 64))
def test_the_ceiling_knows_the_highest_filter(scale: str, norm: str, low: float, high: float, bands: int) -> None:
    """With bins dense enough that one lies near each filter's peak."""
    spec = MelSpec(n_fft=32768, f_min=low, f_max=high, n_mels=bands, mel_scale=scale, mel_norm=norm)
    highest = float(mel_bands(spec, 22050).max())
    plain = spec.changed(mel_norm="none", log_offset=1e-30).log_ceiling
    assert spec.changed(log_offset=1e-30).log_ceiling - plain == pytest.approx(math.log(highest), abs=0.1)


@pytest.mark.parametrize("values,message", [
    ({"top_db": 80.0}, 'write log = "db"'),
    ({"db_reference": "max"}, 'write log = "db"'),
    ({"kind": "mfcc"}, "needs n_mfcc, from 1 to n_mels"),
    ({"kind": "mfcc", "n_mfcc": 41}, "needs n_mfcc, from 1 to n_mels"),
    ({"n_mfcc": 13}, "change kind, or leave n_mfcc out"),
    ({"frame_length": "win_length"}, "center = false"),
    ({"preemphasis_of": "frame"}, "preemphasis = 0.97"),
    ({"mel_scale": "kaldi", "mel_norm": "slaney"}, "leave it out"),
    ({"log_offset": 0.0}, "log_offset"),
    ({"log": "db", "db_reference": "peak"}, 'give a positive number, or "max"'),
    ({"normalisation": {"kind": "per-band"}}, "a number for each band"),
    ({"normalisation": {"kind": "per-band", "band_mean": [0.0], "band_std": [1.0]}}, "there are 40 bands"),
    ({"normalisation": {"band_mean": [0.0]}}, 'belong to kind = "per-band"'),
])
def test_contradictions_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MelSpec.model_validate(values)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
@settings(max_examples=150, deadline=None)
@given(specs(), st.sampled_from([0, 1, 200, 1500]))
def test_any_valid_card_gives_finite_values_and_gradients(spec: MelSpec, samples: int) -> None:
    frontend = MelFrontend(spec, 16000)
    waves = torch.stack([noise(samples), torch.zeros(samples), torch.full((samples,), 0.5)])
    log_mel = frontend.log_mel(waves).requires_grad_()
    features = frontend.features(log_mel)
    features.sum().backward()
    assert features.shape[:2] == (3, spec.rows) and features.isfinite().all()
    assert log_mel.grad is not None and log_mel.grad.isfinite().all()
    assert torch.as_tensor(frontend.features.silence(log_mel.detach())).isfinite().all()
    assert MelSpec.model_validate_json(spec.model_dump_json()) == spec
