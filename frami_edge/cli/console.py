"""Where commands print: results to stdout, progress and problems to stderr."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True)


def progress() -> Progress:
    """Progress bars on stderr with time spent and time left.

    Tasks may carry ``losses="..."``, shown at the end of the line. On anything but a terminal only the last state of
    the bars is written.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
        console=err,
    )
