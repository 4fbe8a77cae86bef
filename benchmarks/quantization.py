"""What int8 costs and gains, and whether synthesized samples calibrate as well as recordings.

    python benchmarks/quantization.py student.pt FOLDER --test theo [--run student.run] [--rounds 200]

FOLDER holds labelled recordings, as for `frami-edge eval`; the test clips give the figures, the others calibrate the
row "recordings". Prints a Markdown table: accuracy, agreement with float32, the error of the logits on the test clips,
size, and the time of one clip against float32, one thread, all files called in turn; the interval holds 95 % of the
ratios of bootstrapped rounds.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from frami_edge import checkpoints
from frami_edge.audio import read_clip
from frami_edge.checkpoints import Checkpoint
from frami_edge.datasets import open_dataset
from frami_edge.exporters.graph import build_graph
from frami_edge.exporters.quantize import CALIBRATION, HELD_OUT, calibration_samples, quantize
from frami_edge.frontend import MelFrontend
from frami_edge.inversion.noise import noise_fields
from frami_edge.model import WaveformClassifier
from frami_edge.runtime.session import open_session

Array = np.ndarray[Any, np.dtype[Any]]
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--test", required=True, help="speaker or fold")
    parser.add_argument("--run", type=Path, help="by default NAME.run beside the checkpoint")
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    student = checkpoints.load(given.checkpoint)
    graph = build_graph(WaveformClassifier(MelFrontend.from_card(student.card), student.network).eval(), 18)
    data = open_dataset(given.folder).with_labels(student.card.labels)
    rest, test = data.split(given.test)
    waves = [read_clip(clip.path, student.card.clip.model_dump()) for clip in test.clips]
    truth = np.array([clip.label for clip in test.clips])
    models = {"float32": graph}
    for name, samples in calibrations(student, given.run or given.checkpoint.with_suffix(".run"), rest.clips).items():
        models[f"int8, calibrated with {name}"] = quantize(graph, samples, student.card.clip.samples)[0]
    print(f"{student.network.name}, {len(waves)} test clips ({given.test}), {CALIBRATION} samples calibrate, "
          f"{given.rounds} rounds\n")
    print("\n".join(table(models, waves, truth, student.card.clip.samples, given.rounds)))


def calibrations(student: Checkpoint, run: Path, clips: Any) -> dict[str, Array]:
    """Normalised log-Mels (n, n_mels, frames) from three sources, twice as many as calibrate: the half counts."""
    synthesized = calibration_samples(student, run)
    random, card = np.random.default_rng(0), student.card
    chosen = random.permutation(len(clips))[: CALIBRATION + HELD_OUT]
    frontend = MelFrontend.from_card(card)
    waves = [read_clip(clips[index].path, card.clip.model_dump())[: card.clip.samples] for index in chosen]
    whole = [np.pad(wave, (0, card.clip.samples - len(wave))) for wave in waves]
    with torch.no_grad():
        recordings = frontend(torch.from_numpy(np.stack(whole))).numpy()[:, :, : synthesized.shape[2]]
    torch.manual_seed(0)
    noise = noise_fields(len(synthesized), *synthesized.shape[1:]).numpy()
    return {"synthesized samples": synthesized, "recordings": recordings, "noise": noise}


def table(models: dict[str, onnx.ModelProto], waves: list[Array], truth: Array, clip_samples: int, rounds: int
          ) -> list[str]:
    """Markdown rows; the first model is the reference."""
    contents = {name: model.SerializeToString() for name, model in models.items()}
    sessions = {name: open_session(content, name) for name, content in contents.items()}
    logits = {name: np.concatenate([session.run(["logits"], {"waveform": wave[None]})[0] for wave in waves])
              for name, session in sessions.items()}
    times = interleaved(list(sessions.values()), clip_samples, rounds)
    reference, first = logits["float32"], len(contents["float32"])
    rows = ["| | accuracy | same class as float32 | mean, max error of the logits | size | times as fast | 95 % |",
            "|---|---|---|---|---|---|---|"]
    for index, (name, found) in enumerate(logits.items()):
        error, ratio = np.abs(found - reference), times[:, 0] / times[:, index]
        low, high = bootstrap(times[:, 0], times[:, index])
        right = int((found.argmax(1) == truth).sum())
        rows.append(f"| {name} | {right / len(truth):.1%} ({right} of {len(truth)}) "
                    f"| {(found.argmax(1) == reference.argmax(1)).mean():.1%} | {error.mean():.3f}, {error.max():.2f} "
                    f"| {len(contents[name]) / first:.2f} | {np.median(ratio):.2f} | {low:.2f} to {high:.2f} |")
    return rows


def interleaved(sessions: list[Any], samples: int, rounds: int) -> Array:
    """Seconds (rounds, sessions)."""
    wave = (0.1 * np.random.default_rng(0).standard_normal((1, samples))).astype(np.float32)
    times = np.zeros((rounds + 3, len(sessions)))
    for row in times:
        for index, session in enumerate(sessions):
            started = time.perf_counter()
            session.run(["logits"], {"waveform": wave})
            row[index] = time.perf_counter() - started
    return times[3:]  # the first ones allocate


def bootstrap(one: Array, other: Array) -> tuple[float, float]:
    """Interval of the ratio of the medians."""
    picked = np.random.default_rng(0).integers(len(one), size=(RESAMPLES, len(one)))
    low, high = np.quantile(np.median(one[picked], axis=1) / np.median(other[picked], axis=1), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
