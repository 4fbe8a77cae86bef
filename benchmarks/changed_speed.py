"""How well does a student imitate its teacher on sounds near the training data? To choose settings by, not test groups.

    python benchmarks/changed_speed.py teacher.pt fsdd --test theo --students a.pt b.pt
    python benchmarks/changed_speed.py esc10/teacher.pt esc10 --test 5 --students a.pt --rates 0.75 1.3

The recordings of the training groups are played slower and faster (pitch and all), each one time after the other at the
--rates, so that the teacher has heard none of them quite so, and is no longer sure of all. Prints a Markdown table: the
teacher's accuracy, how often each student agrees with it, and how far its probabilities are from the teacher's
(mean KL divergence in nats). The groups of --test are not touched.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from frami_edge import checkpoints
from frami_edge.datasets import Clip, open_dataset
from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.evaluation import Array, Model, divergences, evaluate, torch_model
from frami_edge.teacher.opening import open_teacher


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("folder", type=Path, help="labelled recordings")
    parser.add_argument("--test", nargs="+", required=True, help="groups to leave out")
    parser.add_argument("--students", nargs="+", type=Path, required=True)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.8, 0.87, 1.15, 1.25])
    parser.add_argument("--every", type=int, default=1, help="take every Nth recording alone")
    parser.add_argument("--arch", help="code that builds the teacher: model.py:build")
    parser.add_argument("--trust", action="store_true", help="run the code that the teacher's card names")
    given = parser.parse_args(words)
    try:
        opened = open_teacher(given.teacher, arch=given.arch, trust=given.trust)
        clips = open_dataset(given.folder).with_labels(opened.card.labels).split(*given.test)[0].clips[:: given.every]
        taught = logits(torch_model(opened.teacher.cpu(), opened.card), clips, given.rates)
        truth = np.array([clip.label for part in dealt(clips, len(given.rates)) for clip in part])
        print(f"{len(truth)} recordings, {given.rates} times as slow; the teacher's accuracy "
              f"{same(taught, truth):.1%}\n\n| student | agreement with the teacher | KL | accuracy |\n"
              "|---|---|---|---|")
        for path, name in zip(given.students, told_apart(given.students), strict=True):
            student = checkpoints.load(path)
            ours = logits(torch_model(student.network, student.card), clips, given.rates)
            print(f"| {name} | {same(ours, taught.argmax(1)):.1%} | {divergences(taught, ours).mean():.4f} | "
                  f"{same(ours, truth):.1%} |", flush=True)
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_OK


def told_apart(paths: list[Path]) -> list[str]:
    """A name for each of ``paths``: the last part, or as many of the last parts as no two have in common."""
    longest = max(len(path.parts) for path in paths)
    tries = ([Path(*path.parts[-parts:]).as_posix() for path in paths] for parts in range(1, longest + 1))
    return next((names for names in tries if len(set(names)) == len(names)), [str(path) for path in paths])


def logits(model: Model, clips: tuple[Clip, ...], rates: list[float]) -> Array:
    """What ``model`` gives (clips, classes); each of ``rates`` has its own part of the clips."""
    parts = zip(dealt(clips, len(rates)), rates, strict=True)
    return np.concatenate([evaluate(slowed(model, rate), part).logits for part, rate in parts])


def dealt(clips: tuple[Clip, ...], hands: int) -> list[tuple[Clip, ...]]:
    """Every Nth clip, N times."""
    return [clips[first::hands] for first in range(hands)]


def same(ours: Array, labels: Array) -> float:
    """The share of the clips of which the logits ``ours`` have the class in ``labels``."""
    return float((ours.argmax(1) == labels).mean())


def slowed(model: Model, rate: float) -> Model:
    """The model, fed with recordings that last ``rate`` times as long: as many samples, of a higher sample rate."""
    clip = dict(model.clip)
    clip |= {"sample_rate": round(clip["sample_rate"] * rate), "seconds": clip["seconds"] / rate}
    return replace(model, clip=clip)


if __name__ == "__main__":
    sys.exit(main())
