"""What int8 and float16 weights cost and gain, and whether synthesized samples calibrate as well as recordings.

    python benchmarks/quantization.py student.pt FOLDER --test theo [--run student.run] [--rounds 200]

FOLDER holds labelled recordings, as for `frami-edge eval`; the test clips give the figures, the others calibrate the
row "recordings". Prints a Markdown table: accuracy, agreement with float32, the error of the logits on the test clips,
size, and the time of one clip against float32, one thread, all files called in turn, with the 95 % interval of a paired
bootstrap over rounds.
"""

import argparse
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
from frami_edge.exporters.half import halve
from frami_edge.exporters.quantize import CALIBRATION, HELD_OUT, calibration_samples, quantize
from frami_edge.frontend import MelFrontend
from frami_edge.inversion.noise import noise_fields
from frami_edge.model import WaveformClassifier
from frami_edge.runtime.latency import interleave, times_as_fast
from frami_edge.runtime.report import interval
from frami_edge.runtime.session import open_session
from frami_edge.runtime.workload import noise

Array = np.ndarray[Any, np.dtype[Any]]


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
    models = {"float32": graph, "float16 weights": halve(graph)}
    for name, samples in calibrations(student, given.run or given.checkpoint.with_suffix(".run"), rest.clips).items():
        models[f"int8, calibrated with {name}"] = quantize(graph, samples, student.card.clip.samples)[0]
    models["the first of these, the rest in float16"] = halve(models["int8, calibrated with synthesized samples"])
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
    random_fields = noise_fields(len(synthesized), *synthesized.shape[1:]).numpy()
    return {"synthesized samples": synthesized, "recordings": recordings, "noise": random_fields}


def table(models: dict[str, onnx.ModelProto], waves: list[Array], truth: Array, clip_samples: int, rounds: int
          ) -> list[str]:
    """Markdown rows; the first model is the reference."""
    contents = {name: model.SerializeToString() for name, model in models.items()}
    sessions = {name: open_session(content, name) for name, content in contents.items()}
    logits = {name: np.concatenate([session.run(["logits"], {"waveform": wave[None]})[0] for wave in waves])
              for name, session in sessions.items()}
    wave = {"waveform": noise(clip_samples)}
    times = interleave([lambda session=session: session.run(["logits"], wave) for session in sessions.values()],
                       runs=rounds, warmup=3, limit_seconds=600)
    reference, first = logits["float32"], len(contents["float32"])
    rows = ["| | accuracy | same class as float32 | mean, max error of the logits | size | times as fast | 95 % |",
            "|---|---|---|---|---|---|---|"]
    for index, (name, found) in enumerate(logits.items()):
        error, (ratio, bounds) = np.abs(found - reference), times_as_fast(times[0], times[index])
        right = int((found.argmax(1) == truth).sum())
        rows.append(f"| {name} | {right / len(truth):.1%} ({right} of {len(truth)}) "
                    f"| {(found.argmax(1) == reference.argmax(1)).mean():.1%} | {error.mean():.3f}, {error.max():.2f} "
                    f"| {len(contents[name]) / first:.2f} | {ratio:.2f} | {interval(bounds)} |")
    return rows


if __name__ == "__main__":
    main()
