"""Labelled recordings on disk, and the splits that are fair.

A group is what a fair split keeps apart: the speaker of spoken words, the official fold of environmental sounds.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from frami_edge.errors import EXIT_USAGE, FramiError, nearest
from frami_edge.layouts import LAYOUTS

OFFICIAL = "official"  # the groups that are usually kept for the test


class Clip(NamedTuple):
    path: Path
    label: int  # index into the data set's labels
    group: str  # speaker or fold; "" where the layout knows none


@dataclass(frozen=True)
class Dataset:
    """Recordings with labels."""

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    time_dependent: bool  # words: different content at different times
    seconds: float  # length of clip that a classifier is trained on, unless a card says otherwise

    @property
    def groups(self) -> list[str]:
        return sorted({clip.group for clip in self.clips} - {""})

    def split(self, *groups: str) -> tuple["Dataset", "Dataset"]:
        """(the rest, the clips of ``groups``); an unknown group is an error, an empty rest is not.

        ``official`` stands for the groups that are usually kept for the test: the last fold, the last six speakers.
        """
        if groups == (OFFICIAL,):
            groups = self._official_groups()
        groups = tuple(unicodedata.normalize("NFC", group) for group in groups)
        unknown = [group for group in groups if group not in self.groups]
        if unknown:
            hint = nearest(unknown[0], self.groups) if self.groups else (
                "This layout has no groups: in a plain folder they are sub-folders, CLASS/GROUP/clip.wav.")
            raise FramiError(f"{self.name} has no group '{unknown[0]}'.", hint, exit_code=EXIT_USAGE)
        inside = tuple(clip for clip in self.clips if clip.group in groups)
        outside = tuple(clip for clip in self.clips if clip.group not in groups)
        return replace(self, clips=outside), replace(self, clips=inside)

    def _official_groups(self) -> tuple[str, ...]:
        groups = official_groups(self.name)
        absent = [group for group in groups if group not in self.groups]
        if absent:
            raise FramiError(f"{self.name}: the official test groups are {', '.join(groups)}, and {', '.join(absent)} "
                             f"{'is' if len(absent) == 1 else 'are'} not there.", LAYOUTS[self.name].where())
        return groups

    @property
    def shortfall(self) -> str:
        """A sentence where clips of the official release are missing; results then cannot be compared with others'."""
        official = LAYOUTS[self.name].clips
        return f"{len(self.clips)} of the {official} clips of {self.name} are there." if len(self.clips) < official \
            else ""

    def with_labels(self, labels: Sequence[str]) -> "Dataset":
        """The same clips, labelled as a card does: its order, and its spelling.

        Case, spaces and _ do not count where that leaves one class. A data set may have fewer classes than the card; a
        class that the card does not have is an error, and so are two that would be one.
        """
        alike: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            alike.setdefault(_plain(label), []).append(index)
        known = {label: (labels.index(label) if label in labels else alike[_plain(label)][0]) for label in self.labels
                 if label in labels or len(alike.get(_plain(label), ())) == 1}
        missing = [label for label in self.labels if label not in known]
        if missing:
            raise FramiError(
                f"{self.name} has {len(missing)} of {len(self.labels)} classes that the model does not have, "
                f"such as '{missing[0]}'.", f"The model has {_few(labels)}. {nearest(missing[0], list(labels))}")
        new = [known[label] for label in self.labels]
        for first, second in itertools.combinations(self.labels, 2):
            if known[first] == known[second]:
                raise FramiError(f"'{first}' and '{second}' of {self.name} would both be '{labels[known[first]]}'.",
                                 "Rename one of them as the model's labels are.")
        return replace(self, labels=tuple(labels),
                       clips=tuple(clip._replace(label=new[clip.label]) for clip in self.clips))


def official_groups(layout: str) -> tuple[str, ...]:
    """The groups of a data set that are usually kept for the test; an error where there are none."""
    groups = LAYOUTS[layout].test
    if not groups:
        raise FramiError(f"{layout} has no official split.", "Name the test groups: --test GROUP.",
                         exit_code=EXIT_USAGE)
    return groups


def open_dataset(folder: Path, layout: str = "auto", time_dependent: bool | None = None,
                 seconds: float | None = None) -> Dataset:
    """The data set in ``folder``.

    Args:
        layout: one of :data:`LAYOUTS`, or "auto" for the first that fits.
        time_dependent, seconds: instead of what is usual for the layout.

    Raises:
        FramiError: no such folder or layout, nothing found in it, or a clip that a table names is missing.
    """
    folder = Path(folder)
    if layout not in ("auto", *LAYOUTS):
        raise FramiError(f"There is no data set layout '{layout}'.", nearest(layout, ["auto", *LAYOUTS]),
                         exit_code=EXIT_USAGE)
    if not folder.is_dir():
        raise FramiError(f"There is no folder {folder}.",
                         LAYOUTS[layout].where() if layout in LAYOUTS else "Give the folder of a data set.")
    for name in list(LAYOUTS) if layout == "auto" else [layout]:
        rows = LAYOUTS[name].read(folder)
        if rows:
            break
    else:
        raise _not_found(folder, layout)
    absent = [path for path, _, _ in rows if not path.is_file()]
    if absent:
        more = f", and {len(absent) - 1} more of {len(rows)} recordings" if len(absent) > 1 else ""
        raise FramiError(f"{folder} is incomplete: {absent[0].relative_to(folder)} is missing{more}.",
                         f"Unpack the data set again. {LAYOUTS[name].where()}".rstrip())
    kind = LAYOUTS[name]
    labels = tuple(dict.fromkeys(label for _, label, _ in rows))
    clips = tuple(Clip(path, labels.index(label), group) for path, label, group in rows)
    return Dataset(name, labels, clips, kind.time_dependent if time_dependent is None else time_dependent,
                   kind.seconds if seconds is None else seconds)


def locate(folder: Path, layout: str) -> Path:
    """``folder`` itself where it is laid out so, else the folder below it that its archive unpacks to."""
    folder = Path(folder)
    for candidate in (folder, *(folder / name for name in LAYOUTS[layout].folders)):
        if candidate.is_dir() and LAYOUTS[layout].read(candidate):
            return candidate
    if not folder.is_dir():
        raise FramiError(f"There is no folder {folder}.", LAYOUTS[layout].where())
    raise _not_found(folder, layout)


def _not_found(folder: Path, layout: str) -> FramiError:
    """The error for a folder that is laid out in none of the expected ways: what is missing, and where it may be."""
    if layout == "auto":
        expected = "; ".join(f"{name}: {kind.looks_like}" for name, kind in LAYOUTS.items())
        return FramiError(f"No labelled recordings were found in {folder}.", f"What is looked for: {expected}.")
    kind = LAYOUTS[layout]
    problem = f"No labelled recordings of {layout} were found in {folder}: it has no {kind.looks_like}."
    found = next((place for place in [folder.parent, *sorted(folder.iterdir())]
                  if kind.marker and place.is_dir() and next(place.glob(kind.marker), None)), None)
    if found:
        return FramiError(problem, f"Give {found} instead.")
    return FramiError(problem, kind.where())


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", label)).strip().casefold()


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
