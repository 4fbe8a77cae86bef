"""Does the exported file decide as PyTorch does, on recordings? Golden vectors are synthetic; these clips are real.

    python benchmarks/parity_on_recordings.py student.pt student.onnx FOLDER [--clips 200]

Every clip goes through both, resampled and prepared as the card says. Prints a Markdown table: the largest absolute
error of the logits over all clips, and how often the top-1 classes agree. Exit codes: 0 where the error is below
1e-4 and all classes agree, 1 where not, 3 where it could not run.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frami_edge import audio, checkpoints
from frami_edge.errors import EXIT_CHECK_FAILED, EXIT_OK, FramiError
from frami_edge.frontend import MelFrontend
from frami_edge.model import WaveformClassifier
from frami_edge.runtime.clips import prepare
from frami_edge.runtime.session import open_model

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST_ERROR = 1e-4  # of a logit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path, help="recordings, in sub-folders or not")
    parser.add_argument("--clips", type=int, default=200, help="spread evenly over all recordings")
    given = parser.parse_args()
    try:
        pytorch, onnx = both_logits(given.checkpoint, given.model, recordings(given.folder, given.clips))
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    largest = float(np.abs(pytorch - onnx).max())
    agree = int((pytorch.argmax(1) == onnx.argmax(1)).sum())
    print("| clips | largest logit | max abs error | mean abs error | top-1 agreement |\n|---|---|---|---|---|")
    print(f"| {len(onnx)} | {np.abs(pytorch).max():.1f} | {largest:.1e} | {np.abs(pytorch - onnx).mean():.1e} "
          f"| {agree} of {len(onnx)} ({100 * agree / len(onnx):.1f} %) |")
    return EXIT_OK if largest < LARGEST_ERROR and agree == len(onnx) else EXIT_CHECK_FAILED


def recordings(folder: Path, clips: int) -> list[Path]:
    """At most ``clips`` of the recordings below ``folder``, at equal distances in the order of their names."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES)
    if not found:
        raise FramiError(f"There are no recordings below {folder}.", "Give a folder with audio files.")
    wanted = np.linspace(0, len(found) - 1, min(clips, len(found))).round().astype(int)
    return [found[index] for index in wanted]


def both_logits(checkpoint: Path, model: Path, paths: list[Path]) -> tuple[Array, Array]:
    """Logits of PyTorch in float32 and of ONNX Runtime, (clips, classes) each."""
    student = checkpoints.load(checkpoint)
    exported = open_model(model)
    eager = WaveformClassifier(MelFrontend.from_card(student.card), student.network).eval()
    mine, theirs = [], []
    for done, path in enumerate(paths):
        wave = audio.read(path, exported.metadata.sample_rate)
        wave = prepare(wave, exported.metadata.clip)[None].astype(np.float32)
        with torch.inference_mode():
            mine.append(eager(torch.from_numpy(wave)).numpy())
        theirs.append(exported.logits(wave))
        if done % 50 == 49:
            print(f"{done + 1} of {len(paths)}", file=sys.stderr)
    return np.concatenate(mine), np.concatenate(theirs)


if __name__ == "__main__":
    sys.exit(main())
