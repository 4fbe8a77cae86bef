"""The dialects in ONNX Runtime."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from any_dialect import specs
from hypothesis import Phase, example, given, settings
from torch import nn
from vendors_dialects import CARDS, VENDOR_RATES, noise, speech_like

from frami_edge.card import MelSpec, Normalisation
from frami_edge.exporters.basis import BASIS
from frami_edge.exporters.graph import build_graph
from frami_edge.frontend import MelFrontend
from frami_edge.model import WaveformClassifier
from frami_edge.networks.base import Network
from frami_edge.runtime.graphs import with_outputs


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
