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
        """(the rest, the clips of ``groups``); an unknown group, or nothing left to train on, is an error.

        ``official`` stands for the groups that are usually kept for the test: the last fold, the last six speakers.
        """
        if groups == (OFFICIAL,):
            groups = self._official_groups()
        unknown = [group for group in groups if group not in self.groups]
        if unknown:
            hint = nearest(unknown[0], self.groups) if self.groups else (
                "This layout has no groups: in a plain folder they are sub-folders, CLASS/GROUP/clip.wav.")
            raise FramiError(f"{self.name} has no group '{unknown[0]}'.", hint, exit_code=EXIT_USAGE)
        inside = tuple(clip for clip in self.clips if clip.group in groups)
        outside = tuple(clip for clip in self.clips if clip.group not in groups)
        return replace(self, clips=outside), replace(self, clips=inside)

    def _official_groups(self) -> tuple[str, ...]:
        groups = LAYOUTS[self.name].test
        absent = [group for group in groups if group not in self.groups]
        if not groups:
            raise FramiError(f"{self.name} has no official split.", "Name the test groups: --test GROUP.",
                             exit_code=EXIT_USAGE)
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
    title: str = ""
    marker: str = ""  # what a folder with this layout holds, as a glob
    source: str = ""  # where to get it
    licence: str = ""
    clips: int = 0  # of the whole release
    test: tuple[str, ...] = ()  # groups that are usually kept for the test
    folders: tuple[str, ...] = ()  # names that its archives unpack to

    def where(self) -> str:
        """Where to get the data set, and under which licence."""
        return f"{self.title} ({self.clips} clips, {self.licence}): {self.source}" if self.source else ""


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


# The readers. Rows come sorted by class: the order of the labels is the order in which they first appear.


def _esc50(folder: Path, esc10_only: bool = False) -> list[tuple[Path, str, str]] | None:
    rows = _table(folder / "meta" / "esc50.csv", "filename", "fold", "target", "category", "esc10",
                  numbers=("fold", "target"))
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
    rows = _table(folder / "metadata" / "UrbanSound8K.csv", "slice_file_name", "fold", "classID", "class",
                  numbers=("fold", "classID"))
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
    "esc50": Layout(
        _esc50, "meta/esc50.csv and audio/", False, 2.0, "ESC-50", "meta/esc50.csv",
        "https://github.com/karolpiczak/ESC-50", "CC BY-NC 3.0", 2000, ("5",), ("esc50", "ESC-50", "ESC-50-master")),
    "urbansound8k": Layout(
        _urbansound8k, "metadata/UrbanSound8K.csv and audio/fold1/", False, 2.0, "UrbanSound8K",
        "metadata/UrbanSound8K.csv", "https://urbansounddataset.weebly.com/urbansound8k.html", "CC BY-NC 3.0", 8732,
        ("10",), ("urbansound8k", "UrbanSound8K")),
    "esc10": Layout(
        _esc10, "'001 - Dog bark'/1-30226-A.ogg (fold-id-take), or ESC-50", False, 2.0, "ESC-10", "??? - */?-*.ogg",
        "https://github.com/karoldvl/ESC-10, or as a part of https://github.com/karolpiczak/ESC-50", "CC BY 3.0", 400,
        ("5",), ("esc10", "ESC-10", "ESC-10-master", "esc50", "ESC-50", "ESC-50-master")),
    "audiomnist": Layout(
        _audiomnist, "data/01/0_01_0.wav (digit_speaker_take)", True, 1.0, "AudioMNIST", "data/??/?_??_*.wav",
        "https://github.com/soerenab/AudioMNIST", "MIT", 30000, tuple(str(speaker) for speaker in range(55, 61)),
        ("audiomnist", "AudioMNIST", "AudioMNIST-master")),
    "fsdd": Layout(
        _fsdd, "recordings/0_theo_0.wav (digit_speaker_take)", True, 1.0, "Free Spoken Digit Dataset",
        "recordings/?_*_*.wav", "https://github.com/Jakobovski/free-spoken-digit-dataset", "CC BY-SA 4.0", 3000,
        (), ("fsdd", "free-spoken-digit-dataset", "free-spoken-digit-dataset-master")),
    "folders": Layout(_folders, "CLASS/clip.wav or CLASS/GROUP/clip.wav", True, 1.0),
}
OFFICIAL = "official"


def _recordings(folder: Path) -> Iterator[Path]:
    """Every audio file below ``folder``, sorted; hidden files and folders are left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path


def _table(path: Path, *columns: str, numbers: tuple[str, ...] = ()) -> list[dict[str, str]] | None:
    """The rows of a CSV file, with text in each of ``columns`` and whole ``numbers``; None where it is not there."""
    if not path.is_file():
        return None
    again = "Download the data set again."
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            missing = set(columns) - set(reader.fieldnames or [])
            if missing:
                raise FramiError(f"{path} has no column {', '.join(sorted(missing))}.", again)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FramiError(f"{path} cannot be read as a table: {error}", again) from error
    for line, row in enumerate(rows, start=2):
        wrong = next((column for column in columns if not row[column]
                      or (column in numbers and not re.fullmatch("[0-9]{1,9}", row[column]))), None)
        wrong = wrong or next((column for column in columns if set(row[column]) & set("/\\\0")), None)  # no paths
        if wrong:
            raise FramiError(f"{path}, row {line}: no valid {wrong}.", again)
    return rows


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", label).strip().casefold()


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
