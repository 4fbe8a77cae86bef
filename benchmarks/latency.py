"""How fast is an exported file against PyTorch, and against the usual way? Waveform to logits, all called in turn.

    python benchmarks/latency.py [wrn16 res18 ...] [--seconds 1 5] [--threads 1 2] [--runs 200]

Networks have random weights, which cost the same as trained ones; the front-end is the default one (16 kHz, 40 Mel
bands, n_fft 400, hop 160). Each network is exported as `frami-edge export` does, int8 calibrated with noise. Prints a
Markdown table: medians, and how many times as fast as PyTorch eager each way is, with the 95 % interval of a paired
bootstrap over rounds (a round calls each way once).

The ways: PyTorch eager; torch.compile (inductor, one compilation for each length); torchaudio's MelSpectrogram and a
network exported alone; the same features in numpy (real FFT, as librosa does) and a network exported alone; our file;
our int8 file.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from frami_edge import networks
from frami_edge._torchaudio import torchaudio
from frami_edge.card import MelSpec
from frami_edge.exporters.graph import build_graph
from frami_edge.exporters.quantize import quantize
from frami_edge.frontend import MelFrontend, mel_bands
from frami_edge.model import WaveformClassifier
from frami_edge.runtime import device
from frami_edge.runtime.latency import interleave, times_as_fast
from frami_edge.runtime.report import device_text, interval
from frami_edge.runtime.session import open_session

Array = np.ndarray[Any, np.dtype[Any]]
Way = Callable[[Array], Array]  # waveform (1, samples) -> logits (1, classes)

RATE, CLASSES = 16000, 10
SPEC = MelSpec()
REFERENCE = "PyTorch eager"
LARGEST_DIFFERENCE = 1e-3  # of the largest logit; beyond it a way computes something else (int8 is another matter)


class Files(NamedTuple):
    """One network's models, as bytes."""

    whole: bytes
    int8: bytes
    alone: bytes  # normalised log-Mel -> logits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["wrn16", "res18", "bcresnet3", "dscnn_s", "mn02"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    print(f"{device_text(device.describe())}, torch {torch.__version__}\n")
    print(f"| network | threads | clip | way | median, ms | times as fast as {REFERENCE} | 95 % | n |\n"
          "|---|---|---|---|---|---|---|---|")
    for name in given.networks:
        model, files = prepare(name)
        for threads in given.threads:
            torch.set_num_threads(threads)
            made = ways(model, files, threads)
            for seconds in given.seconds:
                print(f"{name}, {threads} threads, {seconds:g} s", file=sys.stderr)
                print("\n".join(rows(name, threads, seconds, made, given.runs)), flush=True)
    return 0


def prepare(name: str) -> tuple[WaveformClassifier, Files]:
    """A network with random weights behind the front-end, and its exports."""
    torch.manual_seed(0)
    model = WaveformClassifier(MelFrontend(SPEC, RATE), networks.build(name, CLASSES, SPEC.n_mels))
    with torch.no_grad():
        model.train()(0.1 * torch.randn(16, RATE))  # BatchNorms that have seen something
    model.eval()
    graph = build_graph(model, 18)
    samples = model.frontend(0.1 * torch.randn(64, RATE)).detach().numpy()
    int8, _ = quantize(graph, samples, RATE)
    return model, Files(graph.SerializeToString(), int8.SerializeToString(), alone(model.network))


def alone(network: nn.Module) -> bytes:
    """The network without its front-end, as projects that compute features elsewhere export it."""
    dynamic = {"log_mel": {0: torch.export.Dim("batch"), 2: torch.export.Dim("frames", min=8)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (torch.randn(2, SPEC.n_mels, 101),), dynamo=True, opset_version=18,
                                    external_data=False, verbose=False, input_names=["log_mel"],
                                    output_names=["logits"], dynamic_shapes=tuple(dynamic.values()))
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto.SerializeToString()


def ways(model: WaveformClassifier, files: Files, threads: int) -> dict[str, Way]:
    """Every way from waveform to logits, with so many threads."""
    compiled = torch.compile(model, dynamic=False)
    features = torchaudio.transforms.MelSpectrogram(RATE, SPEC.n_fft, hop_length=SPEC.hop_length, f_max=SPEC.f_max,
                                                    n_mels=SPEC.n_mels)
    whole, int8, network = (open_session(content, "model", threads) for content in files)

    def behind(log_mel: Array) -> Array:
        logits: Array = network.run(None, {"log_mel": log_mel})[0]
        return logits

    def in_torch(call: Callable[[Tensor], Tensor]) -> Way:
        def run(wave: Array) -> Array:
            with torch.inference_mode():
                return call(torch.from_numpy(wave)).numpy()
        return run

    log_mel = in_torch(lambda wave: torch.log(features(wave) + SPEC.log_offset))
    bands = mel_bands(SPEC, RATE).numpy().T
    return {
        REFERENCE: in_torch(model),
        "torch.compile": in_torch(compiled),
        "torchaudio + network in ONNX Runtime": lambda wave: behind(log_mel(wave)),
        "numpy + network in ONNX Runtime": lambda wave: behind(numpy_log_mel(wave, bands)),
        "frami-edge, float32": lambda wave: whole.run(None, {"waveform": wave})[0],
        "frami-edge, int8": lambda wave: int8.run(None, {"waveform": wave})[0],
    }


def numpy_log_mel(wave: Array, bands: Array) -> Array:
    """Log-Mel (1, n_mels, frames) of (1, samples): framing, window, real FFT, Mel bands, as librosa goes about it."""
    padded = np.pad(wave[0], SPEC.n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, SPEC.n_fft)[:: SPEC.hop_length]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SPEC.n_fft) / SPEC.n_fft)).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return np.log(bands @ power.T.astype(np.float32) + np.float32(SPEC.log_offset))[None]


def rows(name: str, threads: int, seconds: float, made: dict[str, Way], runs: int) -> list[str]:
    """The table's rows for one network, number of threads and length of clip."""
    noise = np.random.default_rng(0).standard_normal((1, round(seconds * RATE)))
    wave = (0.1 * noise).astype(np.float32)
    expected = made[REFERENCE](wave)
    for way, call in made.items():
        difference = float(np.abs(call(wave) - expected).max() / np.abs(expected).max())
        if "int8" not in way and not difference < LARGEST_DIFFERENCE:
            raise SystemExit(f"{way} gives other logits than {REFERENCE}: {difference:.1e} of the largest.")
    taken = dict(zip(made, interleave([lambda call=call: call(wave) for call in made.values()], runs=runs, warmup=10,
                                      limit_seconds=300), strict=True))
    lines = []
    for way, milliseconds in taken.items():
        ratio, bounds = times_as_fast(taken[REFERENCE], milliseconds)
        lines.append(f"| {name} | {threads} | {seconds:g} s | {way} | {np.median(milliseconds):.2f} | {ratio:.2f} | "
                     f"{'' if way == REFERENCE else interval(bounds)} | {len(milliseconds)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
