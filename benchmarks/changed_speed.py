"""How well does a student imitate its teacher on sounds near the training data? To choose settings by, not test groups.

    python benchmarks/changed_speed.py teacher.pt fsdd --test theo --students a.pt b.pt
    python benchmarks/changed_speed.py esc10/teacher.pt esc10 --test 5 --students a.pt --every 2

The recordings of the training groups are played slower and faster (pitch and all), each one time after the other at the
--rates, so that the teacher has heard none of them quite so, and is no longer sure of all. Prints a Markdown table: the
teacher's accuracy, and how often each student agrees with it. The groups of --test are not touched.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from frami_edge import checkpoints
from frami_edge.datasets import Clip, open_dataset
from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.evaluation import Model, evaluate, torch_model
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
        clips = open_dataset(given.folder).split(*given.test)[0].clips[:: given.every]
        taught = answers(torch_model(opened.teacher.cpu(), opened.card), clips, given.rates)
        truth = [clip.label for part in dealt(clips, len(given.rates)) for clip in part]
        print(f"{len(truth)} recordings, {given.rates} times as slow; the teacher's accuracy "
              f"{share(taught, truth):.1%}\n\n| student | agreement with the teacher | accuracy |\n|---|---|---|")
        for path in given.students:
            student = checkpoints.load(path)
            ours = answers(torch_model(student.network, student.card), clips, given.rates)
            print(f"| {path.name} | {share(ours, taught):.1%} | {share(ours, truth):.1%} |", flush=True)
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_OK


def answers(model: Model, clips: tuple[Clip, ...], rates: list[float]) -> list[int]:
    """The classes that ``model`` gives; each of ``rates`` has its own part of the clips."""
    parts = zip(dealt(clips, len(rates)), rates, strict=True)
    return [label for part, rate in parts for label in evaluate(slowed(model, rate), part).predicted]


def dealt(clips: tuple[Clip, ...], hands: int) -> list[tuple[Clip, ...]]:
    """Every Nth clip, N times."""
    return [clips[first::hands] for first in range(hands)]


def share(ours: list[int], theirs: list[int]) -> float:
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)


def slowed(model: Model, rate: float) -> Model:
    """The model, fed with recordings that last ``rate`` times as long: as many samples, of a higher sample rate."""
    clip = dict(model.clip)
    clip |= {"sample_rate": round(clip["sample_rate"] * rate), "seconds": clip["seconds"] / rate}
    return replace(model, clip=clip)


if __name__ == "__main__":
    sys.exit(main())
