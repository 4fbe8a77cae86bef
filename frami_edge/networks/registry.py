"""Networks by name: a new student is one file with one decorated function."""

from collections.abc import Callable
from typing import NamedTuple

from frami_edge.errors import EXIT_USAGE, FramiError, nearest
from frami_edge.networks.base import Network, initialise

Builder = Callable[[int, int], Network]


class Entry(NamedTuple):
    summary: str
    build: Builder


_ENTRIES: dict[str, Entry] = {}


def register(name: str, summary: str) -> Callable[[Builder], Builder]:
    """Decorate a function ``(classes, n_mels) -> Network`` to make it known as ``name``."""

    def keep(builder: Builder) -> Builder:
        _ENTRIES[name] = Entry(summary, builder)
        return builder

    return keep


def names() -> list[str]:
    return sorted(_ENTRIES)


def describe(name: str) -> str:
    return _entry(name).summary


def build(name: str, classes: int, n_mels: int = 40) -> Network:
    """A freshly initialised network; raises :class:`FramiError` for an unknown name, naming the nearest."""
    network = _entry(name).build(classes, n_mels)
    network.name = name
    initialise(network)
    return network


def _entry(name: str) -> Entry:
    if name not in _ENTRIES:
        raise FramiError(f"There is no network '{name}'.", f"{nearest(name, names())} See 'frami-edge networks'.",
                         exit_code=EXIT_USAGE)
    return _ENTRIES[name]
