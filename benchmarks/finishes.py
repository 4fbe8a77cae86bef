"""How much of a student is its samples, and how much the last phase: finished cells' samples finished again.

    python benchmarks/finishes.py esc10 --out held-out/5 --arms frami,fastdfkd --seeds 10 20    # a second call goes on
    python benchmarks/finishes.py --out held-out/5                                 # only the table of what is there
    python benchmarks/finishes.py esc10 --out held-out/5 --arms fastdfkd --label reuse \
        --set distillation.finish.frame_reuse=1 --set distillation.finish.utterance_reuse=1    # as a row of its own

Two students of the same samples differ by their initial weights, views and order alone. Takes the data-free cells that
`frami-edge reproduce` or held_out.py left below OUT, runs `frami-edge distill --bank` on each with other seeds, and
splits the variance of what the students do on the test clips into that between samples and that between finishes. Then
it compares the arms again with the mean over the finishes of each cell, which is the fairer question of the two: are
these samples better, not was this student lucky. With --set they are finished in another way, and are a row of their
own, named ARM+LABEL: what a method owes to its samples, and what to its last phase. Another --set needs another label.
Keeps cell.json in OUT/*/CELL/finish-SEED or finish-LABEL-SEED; prints the table.
"""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import held_out
import numpy as np
from held_out import FIGURES, Figure

from frami_edge import checkpoints
from frami_edge.datasets import locate, open_dataset
from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.evaluation import evaluate, torch_model
from frami_edge.reproduce import results, running
from frami_edge.reproduce.results import Result
from frami_edge.reproduce.tasks import ARMS, place
from frami_edge.statistics import paired_bootstrap
from frami_edge.teacher.opening import open_teacher

Array = np.ndarray[Any, np.dtype[Any]]
LABEL = re.compile("[a-z-]*[a-z]")


@dataclass(frozen=True)
class Bank:
    """Samples of one cell, and the students that were finished on them in one way."""

    arm: str
    seed: int  # of the samples
    students: tuple[Result, ...]

    def figure(self, figure: Figure, teacher: Result) -> Array:
        """(finishes, clips)."""
        return np.stack([figure(each, teacher) for each in self.students]).astype(float)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="labelled recordings; without them only the table")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="of reproduce; several of one teacher")
    parser.add_argument("--teacher", type=Path, help="by default OUT/teacher.pt, as held_out.py leaves it")
    parser.add_argument("--trust", action="store_true", help="run the code that the teacher's card names")
    parser.add_argument("--arms", help="by default all that make samples")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--against", default="frami")
    parser.add_argument("--set", action="append", default=[], help="of these finishes: table.key=value")
    parser.add_argument("--label", default="", help="of these finishes, in letters; with --set")
    given = parser.parse_args(words)
    if bool(given.set) != bool(given.label) or (given.label and not LABEL.fullmatch(given.label)):
        parser.error("--set and --label LETTERS go together")
    try:
        if given.folder:
            with running.interruptible():
                for seed in given.seeds:
                    for out in given.out:
                        finish_all(out, seed, given)
        print(table(*read(given.out), given.against))
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted. What is done is kept: the same command goes on.", file=sys.stderr)
        return running.INTERRUPTED
    return EXIT_OK


def finish_all(out: Path, seed: int, given: argparse.Namespace) -> None:
    arms = given.arms.split(",") if given.arms else None
    for folder, cell in results.with_folders(out):
        if cell.kind == "data-free" and (arms is None or cell.arm in arms):
            finish(folder, cell, seed, given.teacher or out / "teacher.pt", given)


def finish(folder: Path, cell: Result, seed: int, teacher: Path, given: argparse.Namespace) -> None:
    """One more student of the samples of ``cell``, unless it is there, and what it does on the same clips."""
    kept, recordings = folder / "-".join(filter(None, ("finish", given.label, str(seed)))), given.folder
    if results.read(kept, cell.key):
        return
    recordings = locate(recordings, cell.dataset)
    clips = open_dataset(recordings, cell.dataset).with_labels(cell.labels).split(*cell.test)[1].clips
    if [clip.path.relative_to(recordings).as_posix() for clip in clips] != cell.clips:
        raise FramiError(f"{recordings} has other clips than {folder / results.FILE}.")
    kept.mkdir(exist_ok=True)
    model = kept / "student.pt"
    if not model.is_file():
        words = ["distill", str(teacher), "--student", cell.student, "--bank", str(folder / "student.run"),
                 "--seed", str(seed), "--out", str(model), *(["--trust"] if given.trust else []),
                 *(word for each in given.set for word in ("--set", each))]
        code = running.run_command([*words, "--force"], kept / "output.txt")
        if code == running.INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0:
            raise FramiError(f"frami-edge {' '.join(words)} failed with exit code {code}.")
    opened = open_teacher(model)
    found = evaluate(torch_model(opened.teacher, opened.card), clips)
    provenance = checkpoints.load(model).provenance
    replace(cell, values=provenance["recipe"], agreement=None, **running.outcome(model, found, provenance)).write(kept)


def read(outs: Sequence[Path]) -> tuple[Result, list[Bank]]:
    """The teacher, and the banks by arm and seed, finished in their cells alone or again.

    A row with recordings, which has no bank, is among them to be compared with.
    """
    banks: dict[tuple[str, str, int], list[Result]] = {}
    cells = [found for out in outs for found in results.with_folders(out)]
    teachers = {cell.model_sha256: cell for _, cell in cells if cell.arm == "teacher"}
    if len(teachers) > 1:
        raise FramiError(f"{', '.join(map(str, outs))} are of {len(teachers)} teachers.", "Give those of one.")
    teacher = next(iter(teachers.values()), None)
    for folder, cell in cells:
        if cell.kind != "teacher":
            if (cell.arm, "", cell.seed) in banks or (teacher and cell.teacher_sha256 != teacher.model_sha256):
                raise FramiError(f"{folder}: another cell of {cell.arm}, seed {cell.seed}, or one of another teacher.",
                                 "Other settings and teachers go into an OUT of their own.")
            banks[cell.arm, "", cell.seed] = [cell]
            for path in sorted(folder.glob("finish-*")):
                if again := results.read(path, cell.key):
                    label = path.name.removeprefix("finish-").rpartition("-")[0]
                    banks.setdefault((cell.arm, label, cell.seed), []).append(again)
    if not teacher or not banks:
        raise FramiError(f"No teacher's cell and data-free ones in {', '.join(map(str, outs))}.")
    order = sorted(banks, key=lambda key: (place(key[0]), *key))
    return teacher, [Bank("+".join(filter(None, key[:2])), key[2], tuple(banks[key])) for key in order]


def table(teacher: Result, banks: Sequence[Bank], against: str) -> str:
    """Markdown: a row for the samples of each arm and way to finish, then ``against`` minus the others."""
    arms: dict[str, list[Bank]] = {}
    for bank in banks:
        arms.setdefault(bank.arm, []).append(bank)
    lines = []
    for name, (figure, factor, decimals) in FIGURES.items():
        lines += ["", f"| {name.removeprefix('points of ')} | samples | finishes of each | mean of each | mean "
                      "| sd between finishes | sd between samples |", "|---|---|---|---|---|---|---|"]
        spread = []
        for arm, group in arms.items():
            of = [factor * bank.figure(figure, teacher).mean(1) for bank in group]
            spread.append(of)
            within, between = components(of)
            means = [float(each.mean()) for each in of]
            lines.append(f"| {name_of(arm)} | {len(of)} | {', '.join(str(len(each)) for each in of)} | "
                         f"{', '.join(f'{mean:.{decimals}f}' for mean in means)} | {np.mean(means):.{decimals}f} | "
                         f"{shown(within, decimals)} | {shown(between, decimals)} |")
        within = pooled([each for of in spread for each in of])
        lines.append(f"| all | {sum(map(len, spread))} | | | | {shown(within, decimals)} | |")
    for name, (figure, factor, decimals) in FIGURES.items():
        lines += ["", f"| {name_of(against)} minus, {name}, finishes averaged | mean "
                      "| 95 % interval, over clips and seeds | p | p, over classes | by seed |",
                      "|---|---|---|---|---|---|"]
        ours = {bank.seed: bank.figure(figure, teacher).mean(0) for bank in arms.get(against, [])}
        for arm, group in arms.items():
            theirs = {bank.seed: bank.figure(figure, teacher).mean(0) for bank in group}
            seeds = sorted(set(ours) & set(theirs))
            if arm != against and seeds:
                gains = np.stack([ours[seed] - theirs[seed] for seed in seeds])
                found = paired_bootstrap(gains, np.zeros_like(gains), units=teacher.truth)
                mean, low, high, *by_seed = (held_out.signed(each, factor, decimals) for each in
                                             (found.mean, found.low, found.high, *gains.mean(1)))
                lines.append(f"| {name_of(arm)} | {mean} | {low} to {high} | {found.p:.2g} | "
                             f"{found.p_units:.2g} | {', '.join(by_seed)} |")
    return "\n".join(lines).strip()


def components(of: Sequence[Array]) -> tuple[float, float]:
    """Standard deviation between finishes of the same samples, and between samples beyond that; nan where unknown.

    One-way random effects by the moments (Searle, Casella and McCulloch, Variance Components, 1992, section 3.6), with
    the mean of each bank weighted alike.

    Args:
        of: a figure of each finish, (finishes,), for each bank.
    """
    within = pooled(of)
    if len(of) < 2 or math.isnan(within):
        return within, math.nan
    of_means = float(np.var([each.mean() for each in of], ddof=1))
    return within, math.sqrt(max(0.0, of_means - within**2 * float(np.mean([1 / len(each) for each in of]))))


def pooled(of: Sequence[Array]) -> float:
    """Standard deviation within the groups; nan where each has one value only."""
    degrees = sum(len(each) - 1 for each in of)
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in of)
    return math.sqrt(squares / degrees) if degrees else math.nan


def name_of(arm: str) -> str:
    method, _, label = arm.partition("+")
    return f"{ARMS.get(method, method)}, finished with {label}" if label else ARMS.get(method, method)


def shown(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


if __name__ == "__main__":
    sys.exit(main())
