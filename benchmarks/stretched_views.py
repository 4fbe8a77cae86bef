"""Is a teacher more often right if it hears each clip several times, a little stretched, and the mean counts?

    python benchmarks/stretched_views.py teacher.pt fsdd --test jackson
    python benchmarks/stretched_views.py teacher.pt fsdd --test jackson --bands 0.1 --frames 0 --views 4 16

What `distillation.finish.consensus` lets a student learn, asked of the teacher itself on recordings. A setting is to be
chosen by groups that are not the test of anything else. Prints a Markdown table: on how many clips it is right,
by itself and by the mean probability of random views stretched by up to each of --bands and --frames, as shares.
"""

import argparse
import itertools
import sys
from pathlib import Path

import torch
from torch import Tensor

from frami_edge import recordings
from frami_edge.datasets import open_dataset
from frami_edge.distillation.losses import consensus
from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.features import Features
from frami_edge.inversion.views import warp
from frami_edge.teacher.opening import open_teacher

BATCH = 100  # clips


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("folder", type=Path, help="labelled recordings")
    parser.add_argument("--test", nargs="+", required=True, help="groups that the teacher has not heard")
    parser.add_argument("--bands", nargs="+", type=float, default=[0.05, 0.1, 0.2], help="along the Mel axis")
    parser.add_argument("--frames", nargs="+", type=float, default=[0.0, 0.15], help="along time")
    parser.add_argument("--views", nargs="+", type=int, default=[4, 16])
    parser.add_argument("--arch")
    parser.add_argument("--trust", action="store_true")
    given = parser.parse_args(words)
    try:
        print(table(given))
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_OK


@torch.no_grad()
def table(given: argparse.Namespace) -> str:
    opened = open_teacher(given.teacher, arch=given.arch, trust=given.trust)
    test = open_dataset(given.folder).with_labels(opened.card.labels).split(*given.test)[1]
    clips, normalise = recordings.load(test.clips, opened.card), Features(opened.card.frontend)

    def heard(bands: float, frames: float, views: int) -> Tensor:
        """What the teacher, or the consensus of stretched views, takes each clip for, (clips,)."""
        torch.manual_seed(0)
        answers = torch.zeros(len(clips), dtype=torch.long)
        for length in clips.lengths.unique():
            for alike in torch.nonzero(clips.lengths == length).squeeze(1).split(BATCH):
                time = clips.starts[alike, None] + torch.arange(int(length))
                x = clips.frames[time].transpose(1, 2).repeat_interleave(views, dim=0)
                logits = opened.teacher(normalise(warp(x, bands, frames) if bands or frames else x))
                answers[alike] = consensus(logits, views)[::views].argmax(1)
        return answers

    alone = heard(0.0, 0.0, 1)
    lines = [f"{opened.source}: {int((alone == clips.labels).sum())} of {len(clips)} right by itself.", "",
             "| bands | frames | views | right | as by itself |", "|---|---|---|---|---|"]
    for bands, frames, views in itertools.product(given.bands, given.frames, given.views):
        found = heard(bands, frames, views)
        lines.append(f"| {bands:g} | {frames:g} | {views} | {int((found == clips.labels).sum())} | "
                     f"{int((found == alone).sum())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
