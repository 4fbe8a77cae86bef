"""One arm against all others, over every set, teacher and budget that they were measured at: one line for each pair.

    python benchmarks/overview.py docs/cells
    python benchmarks/overview.py docs/cells --against fastdfkd

The lines of one rival stand together, so that one sees at a glance where it is ahead and where it is not. Seeds are
those that both have; differences and p are those of held_out.py: over clips and seeds; over classes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import held_out
from held_out import FIGURES, Group, signed

from frami_edge.errors import EXIT_OK, FramiError
from frami_edge.reproduce.tasks import ARMS, place
from frami_edge.statistics import Difference

# folder: what its cells do not say themselves, and where they are told; in the order of the lines
SETTINGS = {
    "digits-demo-6m": ("digits, 6 minutes, the demo's teacher", "digits.md#at-equal-wall-clock-the-teacher-that-ships"),
    "digits-demo-equal": ("digits, equal samples, the demo's teacher",
                          "digits.md#at-equal-samples-the-teacher-that-ships"),
    "digits-held-out-8m": ("digits, 8 minutes, a small teacher", "digits.md#at-equal-wall-clock"),
    "digits-held-out": ("digits, equal samples, small teachers of several voices",
                        "digits.md#every-speaker-in-turn"),
    "digits-vendor": ("digits, equal samples, a vendor's WRN-40-2", "digits.md#a-vendors-teacher"),
    "esc10-6m": ("ESC-10, 6 minutes, a small teacher", "esc10.md#at-equal-wall-clock"),
    "esc10-6m-faster": ("ESC-10, 6 minutes of a faster core, that teacher", "esc10.md#on-a-faster-core"),
    "esc10-6m-folds": ("ESC-10, 6 minutes, a small teacher for each fold", "esc10.md#every-fold-in-turn"),
    "esc10-held-out": ("ESC-10, equal samples, another small teacher",
                       "esc10.md#a-small-teacher-and-what-each-part-is-worth"),
}
SHOWN = ("KL, nats", "points of agreement", "points of accuracy")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, help="where the folders of held_out.py's cells lie")
    parser.add_argument("--against", default="frami")
    given = parser.parse_args(words)
    try:
        print(table(given.cells, given.against))
    except FramiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_OK


def table(cells: Path, against: str) -> str:
    """Markdown; in the order of the arms, and for each arm in that of the settings.

    Raises:
        FramiError: there are none.
    """
    settings = {f"[{title}](results/{heading})": groups for name, (title, heading) in SETTINGS.items()
                if (groups := held_out.groups_below(cells / name))}
    if not settings:
        raise FramiError(f"{cells} has none of {', '.join(SETTINGS)}.")
    arms = {arm for groups in settings.values() for group in groups for arm in group.cells} - {against}
    ours = ARMS.get(against, against)
    lines = [f"| {ours} against | on | seeds | n | KL, nats: {ours}, the other | p; classes | agreement, points "
             "| p; classes | accuracy, points | p; classes |", "|---|---|---|---|---|---|---|---|---|---|"]
    for arm in sorted(arms, key=place):
        name = ARMS.get(arm, arm)
        for title, groups in settings.items():
            if inside := [group for group in groups if held_out.common_seeds(group, arm, against)]:
                lines.append(f"| {name} | {title} | {_line(arm, against, inside)} |")
                name = ""  # once for all lines of a rival
    return "\n".join(lines)


def _line(arm: str, against: str, groups: Sequence[Group]) -> str:
    """Seeds, clips, the KL of both, and by how much the one is ahead of the other, each with its p."""
    found = {name: held_out.difference(held_out.gains(arm, against, groups, FIGURES[name][0]), groups)
             for name in SHOWN}
    seeds = [held_out.common_seeds(group, arm, against) for group in groups]
    figure, _, decimals = FIGURES["KL, nats"]
    ours = sum(held_out.of(group, against, figure, each).mean() for group, each in zip(groups, seeds, strict=True))
    ours, gap = ours / len(groups), found["KL, nats"]
    shown = [str(len(seeds[0])), str(gap.clips), f"{ours:.{decimals}f}, {ours - gap.mean:.{decimals}f}", _p(gap)]
    for name in SHOWN[1:]:
        _, factor, decimals = FIGURES[name]
        shown += [signed(found[name].mean, factor, decimals), _p(found[name])]
    return " | ".join(shown)


def _p(found: Difference) -> str:
    return f"{found.p:.2g}; {found.p_units:.2g}"


if __name__ == "__main__":
    sys.exit(main())
