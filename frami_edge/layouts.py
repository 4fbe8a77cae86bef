"""How data sets of sounds lie on disk: their official layouts, and a plain folder of classes."""

import csv
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from frami_edge.audio import SUFFIXES
from frami_edge.errors import FramiError


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
    found = [(path, re.fullmatch(r"(\d)_(\d\d)_\d+", path.stem)) for path in _recordings(folder)
             if path.parent.parent in (folder, folder / "data")]
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
        # names from macOS have accents of their own
        parts = [unicodedata.normalize("NFC", part) for part in path.relative_to(folder).parts]
        label, *group, _ = parts if path.parent != folder else ("", "")
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


def _recordings(folder: Path) -> Iterator[Path]:
    """Every audio file below ``folder``, sorted; hidden files and folders are left out, links are followed."""
    yield from _below(folder, frozenset())


def _below(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Links to folders are followed, but for those that lead back to a folder above them."""
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FramiError(f"{folder} cannot be read: {error.strerror}.") from error
    here = status.st_dev, status.st_ino
    if here in above:
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _below(path, above | {here})
        elif path.suffix.lower() in SUFFIXES and path.is_file():
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
