"""Where commands print: results to stdout, progress and problems to stderr."""

from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

# seconds that the time left is estimated from: synthesis and distillation take turns, of which one may take a minute
ESTIMATED_FROM = 600

# what is printed is paths, labels and other people's messages, in which [brackets] are no markup
out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)


class LossesColumn(ProgressColumn):
    """The task's ``losses``, cut where the line ends; the other columns are never squeezed for them."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("losses", ""), no_wrap=True, overflow="ellipsis")


def progress() -> Progress:
    """Progress bars on stderr with the time left; tasks may carry ``losses="..."``.

    On anything but a terminal only the last state of the bars is written.
    """
    whole = [Column(no_wrap=True) for _ in range(4)]
    return Progress(
        TextColumn("{task.description}", table_column=whole[0]),
        BarColumn(bar_width=12, table_column=whole[1]),
        MofNCompleteColumn(table_column=whole[2]),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=whole[3]),
        LossesColumn(),
        console=err,
        speed_estimate_period=ESTIMATED_FROM,
    )


def log(bars: Progress, task: TaskID) -> None:
    """A bar as a line: how far its task is, the time left and its losses. Where stderr is no terminal, else nothing."""
    if err.is_terminal:
        return
    state = next(each for each in bars.tasks if each.id == task)
    left = "" if not state.time_remaining else f", {clock(state.time_remaining)} left"
    err.print(f"{state.description} {state.completed:.0f}/{state.total:.0f}{left}: {state.fields['losses']}",
              soft_wrap=True)


def clock(seconds: float) -> str:
    """As the bars write it: 0:16:40."""
    return str(timedelta(seconds=round(seconds)))
