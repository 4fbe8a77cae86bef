"""What turns a checkpoint into a file for devices: one module per target format.

Installed as ``frami_edge.exporters``. Other packages can register formats in the entry-point group of that name;
:func:`find` gives them to Python code, the command line knows those that are here.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from frami_edge.errors import EXIT_USAGE, FramiError, nearest

GROUP = "frami_edge.exporters"


def names() -> list[str]:
    """The formats that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def find(name: str) -> Callable[..., Any]:
    """The exporter of a format; importing it is what loads torch."""
    for entry in entry_points(group=GROUP, name=name):
        exporter: Callable[..., Any] = entry.load()
        return exporter
    raise FramiError(f"There is no exporter '{name}'.", nearest(name, names()), exit_code=EXIT_USAGE)
