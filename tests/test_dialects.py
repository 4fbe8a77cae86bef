"""The dialects that vendors use, each as the documentation's card has it, against what it is named after in float64."""

import copy
import math
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from frami_edge._torchaudio import torchaudio
from frami_edge.card import MelSpec, Normalisation
from frami_edge.exporters.basis import BASIS
from frami_edge.exporters.graph import build_graph
from frami_edge.features import Features
from frami_edge.frontend import MelFrontend
from frami_edge.mel import mel_bands
from frami_edge.model import WaveformClassifier
from frami_edge.networks.base import Network
from frami_edge.runtime.graphs import with_outputs

PAGE = (Path(__file__).parents[1] / "docs" / "teachers.md").read_text(encoding="utf-8")
BLOCKS = PAGE.split("## Front-ends of vendors")[1].split("\n## ")[0].split("```toml")[1:]
NAMES = ("librosa", "torchaudio", "mfcc", "kaldi", "ast", "speechbrain", "panns", "yamnet")
CARDS = {name: MelSpec.model_validate(tomllib.loads(block.split("```")[0])["frontend"])
         for name, block in zip(NAMES, BLOCKS, strict=True)}
VENDOR_RATES = {"librosa": 22050, "panns": 32000}  # the others: 16000
RATES = [8000, 16000, 22050, 32000, 44100, 48000]
Oracle = Callable[[torch.Tensor, int], torch.Tensor]  # (samples,) float64, Hz -> (rows, frames)


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def speech_like(samples: int, rate: int) -> torch.Tensor:
    """Harmonics of a gliding pitch in syllables, over noise at -60 dB and an offset."""
    seconds = torch.arange(samples, dtype=torch.float64) / rate
    phase = 2 * torch.pi * (120 * seconds + 4 * torch.sin(5 * seconds))
    voiced = sum(torch.sin(harmonic * phase) / harmonic for harmonic in range(1, 25))
    syllables = torch.sin(4 * torch.pi * seconds).clamp_min(0)
    return (0.2 * syllables * voiced + 0.01).float() + 0.01 * noise(samples)


def of_librosa(wave: torch.Tensor, rate: int) -> torch.Tensor:
    librosa = pytest.importorskip("librosa")
    return torch.from_numpy(librosa.power_to_db(librosa.feature.melspectrogram(y=wave.numpy(), sr=rate), ref=np.max))


def of_torchaudio(wave: torch.Tensor, rate: int) -> torch.Tensor:
    return torchaudio.transforms.AmplitudeToDB()(torchaudio.transforms.MelSpectrogram(rate).double()(wave))


def of_mfcc(wave: torch.Tensor, rate: int) -> torch.Tensor:
    return torchaudio.transforms.MFCC(rate).double()(wave)


def of_kaldi(wave: torch.Tensor, rate: int) -> torch.Tensor:
    from torchaudio.compliance.kaldi import fbank

    found = fbank(wave[None] * 32768, sample_frequency=rate, num_mel_bins=80, dither=0.0).T
    return found - found.mean(1, keepdim=True)


def of_ast(wave: torch.Tensor, rate: int) -> torch.Tensor:
    from torchaudio.compliance.kaldi import fbank

    found = fbank(wave[None], sample_frequency=rate, window_type="hanning", num_mel_bins=128, dither=0.0).T
    return (found + 4.2677393) / (2 * 4.5689974)


def of_speechbrain(wave: torch.Tensor, rate: int) -> torch.Tensor:
    """Its documentation in numpy: filters with equal slopes, decibels of at most 80 below the peak."""
    spectrum = torch.stft(wave, 400, 160, 400, torch.hamming_window(400, dtype=torch.float64), center=True,
                          pad_mode="constant", return_complex=True).abs().square()
    edges = 700 * (10 ** (np.linspace(0, 2595 * math.log10(1 + 8000 / 700), 82) / 2595) - 1)
    widths, frequencies = np.diff(edges)[:-1], np.linspace(0, rate // 2, 201)
    filters = np.stack([np.interp(frequencies, [centre - width, centre, centre + width], [0, 1, 0])
                        for centre, width in zip(edges[1:-1], widths, strict=True)])
    decibels = 10 * (torch.from_numpy(filters) @ spectrum).clamp_min(1e-10).log10()
    decibels = decibels.maximum(decibels.max() - 80)
    return (decibels - decibels.mean(1, keepdim=True)) / decibels.std(1, keepdim=True).clamp_min(1e-10)


def of_panns(wave: torch.Tensor, rate: int) -> torch.Tensor:
    librosa = pytest.importorskip("librosa")
    power = np.abs(librosa.stft(wave.numpy(), n_fft=1024, hop_length=320, pad_mode="reflect")) ** 2
    mel = librosa.filters.mel(sr=rate, n_fft=1024, n_mels=64, fmin=50, fmax=14000, dtype=np.float64) @ power
    return torch.from_numpy(librosa.power_to_db(mel, top_db=None))


def of_yamnet(wave: torch.Tensor, rate: int) -> torch.Tensor:
    """tf.signal's documentation in numpy: frames from the first sample on, triangles over the Mel axis."""
    frames = np.lib.stride_tricks.sliding_window_view(wave.numpy(), 400)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    magnitude = np.abs(np.fft.rfft(frames * window, 512))

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hertz) / 700)

    edges, bins = np.linspace(mel(125.0), mel(7500.0), 66), mel(np.arange(257) * rate / 512)
    filters = np.stack([np.interp(bins, edges[band : band + 3], [0, 1, 0]) for band in range(64)])
    return torch.from_numpy(np.log(filters @ magnitude.T + 0.001))


ORACLES: dict[str, Oracle] = {name: globals()[f"of_{name}"] for name in NAMES}


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


@st.composite
def specs(draw: st.DrawFn) -> MelSpec:
    """Any valid dialect at 16 kHz."""
    win_length, n_mels = draw(st.integers(1, 512)), draw(st.integers(1, 48))
    log = draw(st.sampled_from(["ln", "log2", "log10", "db", "db-amplitude"]))
    decibels, kind, center = log.startswith("db"), draw(st.sampled_from(["log-mel", "mfcc"])), draw(st.booleans())
    n_mfcc = draw(st.integers(1, n_mels)) if kind == "mfcc" else 0
    mel_scale = draw(st.sampled_from(["htk", "slaney", "kaldi", "speechbrain"]))
    mel_norm = draw(st.sampled_from(["none", "slaney"])) if mel_scale in ("htk", "slaney") else "none"
    normalised = draw(st.sampled_from(["none", "global", "per-band", "clip", "cmvn", "cmn"]))
    given_values = [draw(st.floats(0.1, 9))] * (n_mfcc or n_mels) if normalised == "per-band" else []
    preemphasis = draw(st.sampled_from([0.0, 0.97]))
    return MelSpec(
        kind=kind, n_mfcc=n_mfcc, n_mels=n_mels, win_length=win_length, n_fft=win_length + draw(st.integers(0, 300)),
        hop_length=draw(st.integers(40, 400)), window=draw(st.sampled_from(["hann", "hamming", "povey", "blackman"])),
        window_periodic=draw(st.booleans()), center=center, pad_mode=draw(st.sampled_from(["reflect", "constant"])),
        frame_length="n_fft" if center else draw(st.sampled_from(["n_fft", "win_length"])),
        input_scale=draw(st.sampled_from([1.0, 32768.0])), preemphasis=preemphasis,
        preemphasis_of=draw(st.sampled_from(["wave", "frame"])) if preemphasis else "wave",
        remove_dc=draw(st.booleans()), power=draw(st.sampled_from([1.0, 1.5, 2.0])),
        f_min=draw(st.floats(0, 100)), f_max=draw(st.floats(101, 8000)),
        mel_scale=mel_scale, mel_norm=mel_norm, log=log, log_gain=draw(st.sampled_from([1.0, 1e4])),
        log_offset=draw(st.sampled_from([1e-37, 1e-10, 1e-3, 1.0])),
        log_offset_by=draw(st.sampled_from(["adding", "clamping"])),
        db_reference=draw(st.sampled_from([1.0, 1e-3, "max"])) if decibels else 1.0,
        top_db=draw(st.sampled_from([0.0, 80.0])) if decibels else 0.0, frames=draw(st.sampled_from([0, 1, 20])),
        normalisation=Normalisation(
            kind=normalised, band_mean=given_values, band_std=given_values,
            correction=draw(st.sampled_from([0, 1])), epsilon=draw(st.sampled_from([1e-12, 1e-5]))))


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


def exported(frontend: MelFrontend) -> onnx.ModelProto:
    """The front-end as a graph, with a network of one layer behind it."""
    stage = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU())
    return build_graph(WaveformClassifier(frontend, Network([stage], 2, 1, 3, frontend.spec.rows)).eval(), 18)


def features_in_onnx_runtime(graph: onnx.ModelProto, waves: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(with_outputs(graph.SerializeToString(), ["log_mel"]))
    features: np.ndarray = session.run(["log_mel"], {"waveform": waves.numpy()})[0]
    return features


@pytest.mark.parametrize("name", ["librosa", "mfcc", "kaldi", "yamnet"])
def test_the_vendors_cards_in_onnx_runtime(name: str) -> None:
    """Between them they have all that the graph can hold: both kinds of frames, every step after the logarithm."""
    spec, rate = CARDS[name], VENDOR_RATES.get(name, 16000)
    frontend = MelFrontend(spec, rate)
    graph = exported(frontend)
    for samples in (0, 1, spec.win_length, rate // 3, rate + 1):
        waves = torch.stack([noise(samples), speech_like(samples, rate), torch.zeros(samples)])
        expected = frontend(waves).numpy()
        found = features_in_onnx_runtime(graph, waves)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 2e-4 * spec.log_scale
    written_out = any(tensor.name == BASIS for tensor in graph.graph.initializer)
    assert written_out == spec.remove_dc  # else the graph computes it


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(specs())
@example(MelSpec(n_fft=328, win_length=97, hop_length=134, window="hamming", window_periodic=False, center=False,
                 remove_dc=True, power=1.5, n_mels=17, f_min=28.12233113249479, f_max=586.9216038272803,
                 mel_norm="slaney", log="db-amplitude", log_offset=1e-10, log_offset_by="clamping", top_db=80.0,
                 normalisation=Normalisation(kind="clip")))  # of one sample: silence but for rounding errors
def test_any_valid_card_exports(spec: MelSpec) -> None:
    frontend = MelFrontend(spec, 16000)
    exact, graph = copy.deepcopy(frontend).double(), exported(frontend)
    unnormalised = MelFrontend(spec.changed(normalisation={}), 16000).double()
    for samples in (1, 200, 3001):
        wave = noise(samples)[None]
        found, ours, reference = features_in_onnx_runtime(graph, wave), frontend(wave), exact(wave.double())
        assert found.shape == ours.shape and np.isfinite(found).all()
        # as the parity of exports has it: what PyTorch's own float32 loses cannot be asked of another
        own = float((ours - reference).abs().max())
        wrong = (torch.from_numpy(found) - reference).abs()
        if axes := {"clip": (1, 2), "cmvn": (2,)}.get(spec.normalisation.kind):
            # where nothing differs, as in a clip of one sample, rounding errors are divided by next to nothing: there
            # the error counts as it was before the division
            deviation = unnormalised(wave.double()).std(axes, correction=0, keepdim=True)
            divided = deviation + spec.normalisation.epsilon
            wrong = torch.where(deviation > 1e-3 * spec.log_scale, wrong, wrong * divided)
        assert float(wrong.max()) < max(1e-4 * spec.log_scale, 8 * own)
