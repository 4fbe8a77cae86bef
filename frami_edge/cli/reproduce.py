"""`frami-edge reproduce`: a table like the paper's, cell by cell, with what its differences are worth."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frami_edge.cli import console, options
from frami_edge.durations import seconds_of
from frami_edge.errors import EXIT_CANNOT_RUN, EXIT_USAGE, FramiError

if TYPE_CHECKING:
    from frami_edge.reproduce.plan import Entry, Outcome, Plan
    from frami_edge.reproduce.tasks import Options

HELP = """
Run the cells of TABLE one after another, and write the table beside the paper's numbers.

\b
  frami-edge reproduce table1 --data sounds         # ESC-50, UrbanSound8K and AudioMNIST lie below
  frami-edge reproduce esc50 --data ESC-50-master --seeds 1 --plan   # only say what it would take
  frami-edge reproduce digits --data fsdd --teacher vendor/teacher.pt --trust --student wrn16
  frami-edge reproduce esc10 --data esc10 --arms frami,adi --test 4  # another fold

TABLE is table1 or table2 of the paper, or a data set: urbansound8k, esc50, audiomnist, esc10, digits. Writes TABLE.md,
TABLE.json and TABLE.svg, and for each cell a folder with the model, its recipe and what was heard in each test clip.
Ctrl-C at any time: the same command goes on, and skips what is done. Nothing is selected on test clips.
"""
Names = list[str] | None


def _tell(line: str) -> None:
    console.err.print(line, highlight=False, markup=False, soft_wrap=True)


def _print(line: str) -> None:
    console.out.print(line, highlight=False, markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    @app.command("reproduce", help=HELP)
    def reproduce(
        table: Annotated[str, typer.Argument(help="table1, table2, or a data set.")],
        data: Annotated[Path, typer.Option(help="The data set, or a folder of data sets.")],
        seeds: Annotated[int, typer.Option(min=1, help="How many of every student: 0, 1, 2, ...")] = 3,
        first_seed: Annotated[int, typer.Option(
            min=0, max=2**31 - 1, help="Where they begin, so that machines can share a table.",
            show_default=False)] = 0,
        arms: Annotated[Names, typer.Option(help="Only these rows, such as frami,adi.", show_default=False)] = None,
        student: Annotated[Names, typer.Option(help="Only this student: wrn16, res18.", show_default=False)] = None,
        against: Annotated[str, typer.Option(help="The row that every other one is compared with.")] = "frami",
        budget: Annotated[str, typer.Option(help="Time for each data-free cell, such as 10m; by default all get the "
                                                 "same samples and steps instead.", show_default=False)] = "",
        test: Annotated[Names, typer.Option(help="Other test groups than the recipes'.", show_default=False)] = None,
        set_: options.Set = None,
        out: Annotated[Path | None, typer.Option(help="By default reproduce-TABLE.", show_default=False)] = None,
        plan: Annotated[bool, typer.Option(
            "--plan", help="Say what would be run, and how long: times a few steps, runs no cell.")] = False,
        teacher: Annotated[Path | None, typer.Option(help="A teacher that is there already.")] = None,
        card: options.Card = None,
        arch: options.Arch = None,
        trust: options.Trust = False,
        device: options.Device = "auto",
        precision: options.Precision = "auto",
        believe_card: options.BelieveCard = False,
    ) -> None:
        from frami_edge.reproduce.tasks import Options

        if (card or arch or trust or believe_card) and not teacher:
            raise FramiError("--card, --arch, --trust and --believe-card are about a teacher, and there is "
                             "no --teacher.",
                             exit_code=EXIT_USAGE)
        if budget:
            seconds_of(budget)  # a duration that cannot be read is told before anything else
        run_reproduce(table, Options(
            data, out or Path(f"reproduce-{table}"), seeds, _split(arms), _split(student), tuple(set_ or ()),
            _split(test), budget, teacher, card, arch, trust, device, precision, believe_card, first_seed),
            against, plan)


def run_reproduce(table: str, chosen: "Options", against: str, plan_only: bool) -> None:
    """Plan, estimate, run, and print the table to stdout."""
    from frami_edge.reproduce import plan as planning
    from frami_edge.reproduce.running import interruptible
    from frami_edge.runs import RunDirectory

    plan = planning.Plan(table, chosen, against)
    for sentence in plan.shortfalls():
        _tell(f"{sentence} The results cannot be compared with the paper's.")
    for sentence in plan.without_effect():
        _tell(sentence)
    if plan_only:
        _show(plan, _print)
        return
    with interruptible(), RunDirectory(chosen.out).locked():
        try:
            outcome = plan.run(_show(plan), _tell)
        except KeyboardInterrupt:
            _tell(f"Interrupted. What is done is kept in {chosen.out}: the same command goes on.")
            raise
    _finish(plan, outcome)


def _show(plan: "Plan", show: Callable[[str], None] = _tell) -> "list[Entry]":
    """The plan, to stderr where cells are run."""
    from frami_edge.reproduce.plan import lines

    entries = plan.entries(_tell)
    for line in lines(entries):
        show(line)
    return entries


def _finish(plan: "Plan", outcome: "Outcome") -> None:
    folder, name = plan.options.out, plan.name
    console.out.print((folder / f"{name}.md").read_text(encoding="utf-8"), highlight=False, markup=False,
                      soft_wrap=True)
    _tell(f"Written: {', '.join(str(folder / f'{name}{suffix}') for suffix in ('.md', '.json', '.svg'))}")
    if outcome.failures:
        _tell(f"Cells that failed, and are not in the table: {len(outcome.failures)}.")
        raise typer.Exit(EXIT_CANNOT_RUN)


def _split(names: Names) -> tuple[str, ...]:
    """Options that may be repeated, or hold several names with commas between."""
    return tuple(part.strip() for name in names or [] for part in name.split(",") if part.strip())

