"""Labelled recordings on disk: the layouts that sound-classification data sets come in, and a plain folder of classes.

A group is what a fair split keeps apart: the speaker of spoken words, the official fold of environmental sounds.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from frami_edge.audio import SUFFIXES
from frami_edge.errors import EXIT_USAGE, FramiError, nearest


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
        """(the rest, the clips of ``groups``); an unknown group, or nothing left to train on, is an error."""
        unknown = [group for group in groups if group not in self.groups]
        if unknown:
            hint = nearest(unknown[0], self.groups) if self.groups else (
                "This layout has no groups: in a plain folder they are sub-folders, CLASS/GROUP/clip.wav.")
            raise FramiError(f"{self.name} has no group '{unknown[0]}'.", hint, exit_code=EXIT_USAGE)
        inside = tuple(clip for clip in self.clips if clip.group in groups)
        outside = tuple(clip for clip in self.clips if clip.group not in groups)
        return replace(self, clips=outside), replace(self, clips=inside)

    def with_labels(self, labels: Sequence[str]) -> "Dataset":
        """The same clips, labelled as a card does: its order, and its spelling (case, spaces and _ do not count).

        A data set may have fewer classes than the card; a class that the card does not have is an error.
        """
        known = {_plain(label): index for index, label in enumerate(labels)}
        missing = [label for label in self.labels if _plain(label) not in known]
        if missing:
            raise FramiError(
                f"{self.name} has {len(missing)} of {len(self.labels)} classes that the model does not have, "
                f"such as '{missing[0]}'.", f"The model has {_few(labels)}. {nearest(missing[0], list(labels))}")
        new = [known[_plain(label)] for label in self.labels]
        return replace(self, labels=tuple(labels),
                       clips=tuple(clip._replace(label=new[clip.label]) for clip in self.clips))


class Layout(NamedTuple):
    """A way to lay out a data set. ``read`` gives None for a folder that is laid out otherwise."""

    read: Callable[[Path], list[tuple[Path, str, str]] | None]  # (path, label, group) of each clip
    looks_like: str
    time_dependent: bool
    seconds: float


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
    if not folder.is_dir():
        raise FramiError(f"There is no folder {folder}.", "Give the folder of a data set.")
    if layout not in ("auto", *LAYOUTS):
        raise FramiError(f"There is no data set layout '{layout}'.", nearest(layout, ["auto", *LAYOUTS]),
                         exit_code=EXIT_USAGE)
    candidates = list(LAYOUTS) if layout == "auto" else [layout]
    for name in candidates:
        rows = LAYOUTS[name].read(folder)
        if rows:
            break
    else:
        expected = "; ".join(f"{name}: {LAYOUTS[name].looks_like}" for name in candidates)
        raise FramiError(f"No labelled recordings were found in {folder}.", f"What is looked for: {expected}.")
    absent = next((path for path, _, _ in rows if not path.is_file()), None)
    if absent:
        raise FramiError(f"{folder} is incomplete: {absent} is missing.", "Unpack the data set again.")
    kind = LAYOUTS[name]
    labels = tuple(dict.fromkeys(label for _, label, _ in rows))
    clips = tuple(Clip(path, labels.index(label), group) for path, label, group in rows)
    return Dataset(name, labels, clips, kind.time_dependent if time_dependent is None else time_dependent,
                   kind.seconds if seconds is None else seconds)


# The readers. Rows come sorted by class: the order of the labels is the order in which they first appear.


def _esc50(folder: Path, esc10_only: bool = False) -> list[tuple[Path, str, str]] | None:
    rows = _table(folder / "meta" / "esc50.csv", "filename", "fold", "target", "category", "esc10")
    if rows is None:
        return None
    rows = sorted(rows, key=lambda row: (int(row["target"]), row["filename"]))
    return [(folder / "audio" / row["filename"], row["category"], row["fold"]) for row in rows
            if not esc10_only or row["esc10"] == "True"]


def _esc10(folder: Path) -> list[tuple[Path, str, str]] | None:
    """The folders of the ESC-10 release, or the part of ESC-50 that is ESC-10."""
    rows = []
    for path in _recordings(folder):
        numbered = re.fullmatch(r"\d+ - (.+)", path.parent.name)
        take = re.fullmatch(r"(\d)-\d+-[A-Z]\d*", path.stem)
        if numbered and take and path.parent.parent == folder:
            rows.append((path, numbered[1], take[1]))
    return rows or _esc50(folder, esc10_only=True)


def _urbansound8k(folder: Path) -> list[tuple[Path, str, str]] | None:
    rows = _table(folder / "metadata" / "UrbanSound8K.csv", "slice_file_name", "fold", "classID", "class")
    if rows is None:
        return None
    rows = sorted(rows, key=lambda row: (int(row["classID"]), int(row["fold"]), row["slice_file_name"]))
    return [(folder / "audio" / f"fold{row['fold']}" / row["slice_file_name"], row["class"], row["fold"])
            for row in rows]


def _audiomnist(folder: Path) -> list[tuple[Path, str, str]] | None:
    """``data/SPEAKER/DIGIT_SPEAKER_TAKE.wav``; the folder ``data`` itself will do."""
    found = [(path, re.fullmatch(r"(\d)_(\d\d)_\d+", path.stem)) for path in _recordings(folder)]
    rows = [(path, name[1], name[2]) for path, name in found if name and path.parent.name == name[2]]
    return sorted(rows, key=lambda row: (row[1], row[0])) or None


def _fsdd(folder: Path) -> list[tuple[Path, str, str]] | None:
    """``DIGIT_SPEAKER_TAKE.wav`` in the folder or in its ``recordings``."""
    found = [(path, re.fullmatch(r"(\d)_([a-z]+)_\d+", path.stem)) for path in _recordings(folder)
             if path.parent in (folder, folder / "recordings")]
    return [(path, name[1], name[2]) for path, name in found if name] or None


def _folders(folder: Path) -> list[tuple[Path, str, str]] | None:
    """``CLASS/clip.wav``, or ``CLASS/GROUP/clip.wav``."""
    rows = []
    for path in _recordings(folder):
        label, *group, _ = path.relative_to(folder).parts if path.parent != folder else ("", "")
        if label:
            rows.append((path, label, "/".join(group)))
    return rows or None


LAYOUTS = {
    "esc50": Layout(_esc50, "meta/esc50.csv and audio/", False, 2.0),
    "urbansound8k": Layout(_urbansound8k, "metadata/UrbanSound8K.csv and audio/fold1/", False, 2.0),
    "esc10": Layout(_esc10, "'001 - Dog bark'/1-30226-A.ogg (fold-id-take), or ESC-50", False, 2.0),
    "audiomnist": Layout(_audiomnist, "data/01/0_01_0.wav (digit_speaker_take)", True, 1.0),
    "fsdd": Layout(_fsdd, "recordings/0_theo_0.wav (digit_speaker_take)", True, 1.0),
    "folders": Layout(_folders, "CLASS/clip.wav or CLASS/GROUP/clip.wav", True, 1.0),
}


def _recordings(folder: Path) -> Iterator[Path]:
    """Every audio file below ``folder``, sorted; hidden files and folders are left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path


def _table(path: Path, *columns: str) -> list[dict[str, str]] | None:
    """The rows of a CSV file, or None where it is not there."""
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = set(columns) - set(reader.fieldnames or [])
        if missing:
            raise FramiError(f"{path} has no column {', '.join(sorted(missing))}.", "Download the data set again.")
        return list(reader)


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", label).strip().casefold()


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
