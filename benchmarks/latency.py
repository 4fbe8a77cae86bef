"""How fast is the exported file against PyTorch? Waveform to logits, end to end, one thread, called in turn.

    python benchmarks/latency.py student.pt student.onnx [--seconds 1 5] [--runs 200]

Prints a Markdown table. The ratio is of the medians; its interval holds 95 % of the ratios of bootstrapped rounds
(a round is one call of each, so a slow spell of the machine meets both). Needs both files of one export.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frami_edge import checkpoints
from frami_edge.errors import FramiError
from frami_edge.frontend import MelFrontend
from frami_edge.model import WaveformClassifier
from frami_edge.runtime import device
from frami_edge.runtime.latency import interleave
from frami_edge.runtime.report import device_text
from frami_edge.runtime.session import open_model

Array = np.ndarray[Any, np.dtype[Any]]

RESAMPLES = 2000  # of the bootstrap
LARGEST_DIFFERENCE = 1e-2  # of the logits; two files that differ by more are not the same model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        rows = compare(given.checkpoint, given.model, given.seconds, given.runs)
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{device_text(device.describe())}, torch {torch.__version__}; one thread, median milliseconds\n")
    print("| clip | ONNX Runtime | PyTorch eager | ratio | 95 % of ratios | n |\n|---|---|---|---|---|---|")
    print("\n".join(rows))
    return 0


def compare(checkpoint: Path, model: Path, seconds: list[float], runs: int) -> list[str]:
    """One row of the table for each length of clip."""
    student = checkpoints.load(checkpoint)
    exported = open_model(model, threads=1)
    if exported.metadata.provenance.get("student_sha256") != student.sha256:
        raise FramiError(f"{model} was not exported from {checkpoint}.", "Give both files of one export.")
    eager = WaveformClassifier(MelFrontend.from_card(student.card), student.network).eval()

    def pytorch(wave: Array) -> Array:
        with torch.inference_mode():
            return eager(torch.from_numpy(wave)).numpy()

    rows = []
    for length in seconds:
        print(f"{length:g} s", file=sys.stderr)
        noise = np.random.default_rng(0).standard_normal((1, round(length * student.card.clip.sample_rate)))
        rows.append(row(length, exported.logits, pytorch, (0.1 * noise).astype(np.float32), runs))
    return rows


def row(length: float, onnx: Callable[[Array], Array], pytorch: Callable[[Array], Array], wave: Array,
        runs: int) -> str:
    difference = float(np.abs(onnx(wave) - pytorch(wave)).max())
    if not difference < LARGEST_DIFFERENCE:
        raise FramiError(f"Logits differ by {difference:g}.", "Export again.")
    fast, slow = interleave([lambda: onnx(wave), lambda: pytorch(wave)], runs=runs, warmup=10, limit_seconds=300)
    low, high = ratio_interval(fast, slow)
    ratio = np.median(slow) / np.median(fast)
    return (f"| {length:g} s | {np.median(fast):.2f} | {np.median(slow):.2f} | {ratio:.2f} x "
            f"| {low:.2f} to {high:.2f} | {len(fast)} |")


def ratio_interval(fast: Array, slow: Array) -> tuple[float, float]:
    """Percentile bootstrap of median(slow) / median(fast) over rounds, (rounds,) each."""
    chosen = np.random.default_rng(0).integers(0, len(fast), (RESAMPLES, len(fast)))
    ratios = np.median(slow[chosen], axis=1) / np.median(fast[chosen], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    sys.exit(main())
