"""Every group of recordings in turn is the one that nobody has heard: as many teachers, and all clips are test clips.

    python benchmarks/held_out.py fsdd --out held-out                                    # all speakers and arms: hours
    python benchmarks/held_out.py fsdd --out held-out --groups jackson --arms kd,frami   # some; a second call goes on
    python benchmarks/held_out.py --out held-out                                    # only the table of what is there
    python benchmarks/held_out.py --out held-out --groups jackson --against noise   # of some, against another arm

One teacher and one voice say little of a method: 500 clips tell two methods apart only where they differ by several
points, and another voice may order them otherwise. So a small teacher (WRN-16-2, 8 kHz, 32 Mel bands) is trained for
each group on all others, and `frami-edge reproduce` runs the arms on each, into a folder of its own. Prints the table
over all groups and writes it to OUT/table.md. Two processes share the work by their --groups.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frami_edge import checkpoints, recordings
from frami_edge.card import MelSpec, TeacherCard
from frami_edge.datasets import Dataset, open_dataset
from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.files import write_atomically
from frami_edge.reproduce import running
from frami_edge.reproduce.results import Result, below
from frami_edge.reproduce.tasks import ARMS, place
from frami_edge.statistics import Difference, paired_bootstrap, sign_flips
from frami_edge.training import default_card, with_normalisation

TABLES = {"fsdd": "digits", "esc10": "esc10"}
Array = np.ndarray[Any, np.dtype[Any]]
Figure = Callable[[Result, Result], Array]  # (cell, its teacher) -> a number for each clip
FIGURES: dict[str, tuple[Figure, float, int]] = {  # with the factor and the decimals it is shown with
    "points of accuracy": (lambda cell, teacher: cell.right, 100, 1),
    "points of agreement": (lambda cell, teacher: cell.agreeing(teacher), 100, 1),
    "KL, nats": (lambda cell, teacher: cell.divergences(teacher), 1, 4),
    "log loss, nats": (lambda cell, teacher: cell.log_losses, 1, 3),
}


class Group(NamedTuple):
    """The cells of one held-out group, by arm and seed."""

    name: str
    teacher: Result
    cells: dict[str, dict[int, Result]]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="labelled recordings; without them only the table")
    parser.add_argument("--out", type=Path, default=Path("held-out"))
    parser.add_argument("--groups", nargs="+", help="speakers or folds; by default all of them")
    parser.add_argument("--arms", default="kd,noise,fastdfkd,cmi,frami,frami-no-prepare,frami-no-reuse")
    parser.add_argument("--against", default="frami")
    parser.add_argument("--student", default="wrn16")
    parser.add_argument("--network", default="wrn16x2", help="of the teachers")
    parser.add_argument("--epochs", default="40", help="of the teachers")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--budget", help="wall-clock time of each data-free cell, such as 8m; into an OUT of its own")
    parser.add_argument("--set", action="append", default=[], help="of every cell: table.key=value")
    given = parser.parse_args(words)
    try:
        if given.folder:
            data = open_dataset(given.folder)
            with running.interruptible():
                for group in given.groups or data.groups:
                    run(group, data, given)
        print(written(given))
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"Interrupted. What is done is kept in {given.out}: the same command goes on.", file=sys.stderr)
        return running.INTERRUPTED
    return EXIT_OK


def run(group: str, data: Dataset, given: argparse.Namespace) -> None:
    """Train the teacher that has not heard ``group``, unless it is there, and run the arms."""
    if data.name not in TABLES:
        raise FramiError(f"There are no recipes for {data.name}.", f"Known: {', '.join(TABLES)}.")
    out: Path = given.out / group
    out.mkdir(parents=True, exist_ok=True)
    teacher = out / "teacher.pt"
    if not running.whole(teacher):
        said = card(data, group).to_toml()
        write_atomically(out / "card.toml", lambda aside: aside.write_text(said, encoding="utf-8"))
        call(["train", str(given.folder), "--network", given.network, "--test", group, "--card", str(out / "card.toml"),
              "--epochs", given.epochs, "--out", str(teacher), "--force"], out)
    trained = checkpoints.load(teacher)
    epochs = trained.provenance.get("settings", {}).get("epochs")
    if given.epochs != "0" and (trained.network.name, str(epochs)) != (given.network, given.epochs):
        raise FramiError(f"{teacher} is a {trained.network.name} trained for {epochs} epochs, not a {given.network} "
                         f"for {given.epochs}.", "Other teachers go into an OUT of their own.")
    budget = ["--budget", given.budget] if given.budget else []
    call(["reproduce", TABLES[data.name], "--data", str(given.folder), "--test", group, "--teacher", str(teacher),
          "--student", given.student, "--arms", f"teacher,{given.arms}", "--seeds", given.seeds, "--out", str(out),
          "--against", given.against, *budget, *(word for each in given.set for word in ("--set", each))], out)


def call(words: list[str], out: Path) -> None:
    code = running.run_command(words, out / "output.txt")
    if code == running.INTERRUPTED:
        raise KeyboardInterrupt
    if code != 0:
        raise FramiError(f"frami-edge {' '.join(words)} failed with exit code {code}.")


def card(data: Dataset, group: str) -> TeacherCard:
    """8 kHz and 32 Mel bands every 20 ms, with the normalisation of all recordings but those of ``group``."""
    usual = default_card(data)
    clip = usual.clip.model_copy(update={"sample_rate": 8000})
    frontend = MelSpec(n_fft=256, win_length=256, hop_length=160, n_mels=32, f_min=50.0, f_max=4000.0,
                       frames=0 if usual.clip.preparation == "crop" else round(50 * usual.clip.seconds))
    small = usual.model_copy(update={"clip": clip, "frontend": frontend})
    return with_normalisation(small, recordings.load(data.split(group)[0].clips, small))


def written(given: argparse.Namespace) -> str:
    """The table of all cells below OUT, also of other calls, kept there; without recordings that of --groups alone."""
    wanted = None if given.folder else given.groups
    found = groups_below(given.out, wanted)
    if not found:
        raise FramiError(f"{given.out} has no cells yet.", "Give the folder of recordings to run them.")
    text = table(found, given.against)
    if not wanted:
        write_atomically(given.out / "table.md", lambda aside: aside.write_text(text + "\n", encoding="utf-8"))
    return text


def groups_below(out: Path, wanted: Sequence[str] | None = None) -> list[Group]:
    """All that are done below OUT, or those that are wanted."""
    folders = sorted(path for path in out.glob("*/") if not wanted or path.name in wanted)
    return [group for path in folders if (group := read(path))]


def read(folder: Path) -> Group | None:
    """What is done in one group's folder; None without its teacher."""
    cells: dict[str, dict[int, Result]] = {}
    for result in below(folder):
        if cells.setdefault(result.arm, {}).setdefault(result.seed, result) is not result:
            raise FramiError(f"{folder} has two cells of {result.arm}, seed {result.seed}, with other settings.",
                             "Other settings, budgets and teachers go into an OUT of their own.")
    teachers = list(cells.pop("teacher", {}).values())
    if not teachers:
        return None
    for result in (each for seeds in cells.values() for each in seeds.values()):
        if result.teacher_sha256 != teachers[0].model_sha256 or result.clips != teachers[0].clips:
            raise FramiError(f"{folder}: {result.arm}, seed {result.seed}, was made for another teacher or tested on "
                             "other clips.", "Other teachers go into an OUT of their own.")
    return Group(folder.name, teachers[0], cells)


def table(groups: Sequence[Group], against: str) -> str:
    """Markdown: each arm over its groups, then ``against`` minus the others, over the groups that both have."""
    arms = sorted({arm for group in groups for arm in group.cells}, key=place)
    teachers = [group.teacher for group in groups]
    lines = ["| | groups | cells | n | accuracy | agreement with the teacher | KL, nats | log loss, nats "
             "| minutes |", "|---|---|---|---|---|---|---|---|---|",
             f"| teachers | {len(groups)} | | {sum(len(each.truth) for each in teachers)} | "
             f"{100 * np.mean([each.accuracy for each in teachers]):.1f} | | | "
             f"{np.mean([each.log_losses.mean() for each in teachers]):.3f} | |"]
    for arm in arms:
        inside = [group for group in groups if arm in group.cells]
        shown = [f"{factor * mean(arm, inside, figure):.{decimals}f}" for figure, factor, decimals in FIGURES.values()]
        minutes = [cell.seconds / 60 for group in inside for cell in group.cells[arm].values()]
        lines.append(f"| {ARMS.get(arm, arm)} | {len(inside)} | {len(minutes)} | "
                     f"{sum(len(group.teacher.truth) for group in inside)} | {' | '.join(shown)} | "
                     f"{np.mean(minutes):.1f} |")
    rivals = [arm for arm in arms if arm != against and any(common_seeds(group, arm, against) for group in groups)]
    for name, (figure, factor, decimals) in FIGURES.items() if rivals else ():
        lines += ["", f"| {ARMS.get(against, against)} minus, {name} | mean | 95 % interval, over clips and seeds "
                      "| p, over clips and seeds | p, over classes | by seed | by group | p, over groups |",
                      "|---|---|---|---|---|---|---|---|"]
        for arm in rivals:
            inside = [group for group in groups if common_seeds(group, arm, against)]
            lines.append(compared(arm, against, inside, figure, factor, decimals))
    return "\n".join(lines)


def common_seeds(group: Group, *arms: str) -> list[int]:
    return sorted(set.intersection(*(set(group.cells.get(arm, {})) for arm in arms)))


def mean(arm: str, groups: Sequence[Group], figure: Figure) -> float:
    """Over the groups, each of which counts the same."""
    return float(np.mean([of(group, arm, figure).mean() for group in groups]))


def of(group: Group, arm: str, figure: Figure, seeds: Sequence[int] | None = None) -> Array:
    """(seeds, clips)."""
    cells = group.cells[arm]
    return np.stack([figure(cells[seed], group.teacher) for seed in (cells if seeds is None else seeds)]).astype(float)


def gains(arm: str, against: str, groups: Sequence[Group], figure: Figure) -> list[Array]:
    """``against`` minus ``arm`` in each group, (seeds, clips); one row where the groups' common seeds differ.

    Raises:
        FramiError: groups of different size. Means give each the same weight, a pool of their clips does not.
    """
    common = [common_seeds(group, arm, against) for group in groups]
    found = [of(group, against, figure, seeds) - of(group, arm, figure, seeds)
             for group, seeds in zip(groups, common, strict=True)]
    if any(seeds != common[0] for seeds in common):  # seeds are resampled where every group has the same
        found = [gain.mean(0, keepdims=True) for gain in found]
    if len({gain.shape[1] for gain in found}) > 1:
        raise FramiError(f"Groups {', '.join(group.name for group in groups)} have different numbers of clips.",
                         "Compare them one by one, with --groups.")
    return found


def difference(gained: Sequence[Array], groups: Sequence[Group]) -> Difference:
    """Of all groups together, over clips and seeds; the units are the classes of each group."""
    together = np.concatenate(gained, axis=1)
    units = [(group.name, label) for group in groups for label in group.teacher.truth]
    return paired_bootstrap(together, np.zeros_like(together), units=units)


def compared(arm: str, against: str, groups: Sequence[Group], figure: Figure, factor: float, decimals: int) -> str:
    """A line for groups in each of which both have a seed in common."""
    gained = gains(arm, against, groups, figure)
    found, show = difference(gained, groups), partial(signed, factor=factor, decimals=decimals)
    by_group = [float(gain.mean()) for gain in gained]
    by_seed = np.concatenate(gained, axis=1).mean(1).tolist() if found.seeds > 1 else []
    listed = [", ".join(show(each) for each in part) for part in (by_seed, by_group)]
    return (f"| {ARMS.get(arm, arm)} | {show(found.mean)} | {show(found.low)} to {show(found.high)} | {found.p:.2g} | "
            f"{found.p_units:.2g} | {listed[0]} | {listed[1]} | {sign_flips(by_group):.2g} |")


def signed(value: float, factor: float, decimals: int) -> str:
    return f"{factor * value:+.{decimals}f}"


if __name__ == "__main__":
    sys.exit(main())
