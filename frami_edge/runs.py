"""The run directory: what a distillation was told, how it went, and what it needs to go on."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.files import write_atomically

TOLD = {"teacher", "bank_of"}  # what run.json notes for people: the same file may have got another name


class RunDirectory:
    """A folder holding recipe.toml, run.json, metrics.jsonl, checkpoint.pt, bank/ and a lock.

    Everything is written aside and renamed, or appended a line at a time, so an interruption loses at most the work
    since the last checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.bank = self.path / "bank"
        self.checkpoint = self.path / "checkpoint.pt"
        self.recipe = self.path / "recipe.toml"

    def start(self, identity: dict[str, Any], recipe_toml: str) -> None:
        """Make the folder and note what the run is."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.recipe, lambda aside: aside.write_text(recipe_toml, encoding="utf-8"))
        write_atomically(self.path / "run.json",
                         lambda aside: aside.write_text(json.dumps(identity, indent=2), encoding="utf-8"))

    def exists(self) -> bool:
        return (self.path / "run.json").is_file()

    def identity(self) -> dict[str, Any]:
        """What :meth:`start` noted."""
        try:
            return dict(json.loads((self.path / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise FramiError(f"{self.path} holds no run that could go on: {error}",
                             "Start anew with --force.") from error

    def check_same(self, identity: dict[str, Any], recipe_toml: str) -> None:
        """Raise :class:`FramiError` where ``--resume`` would go on with something else."""
        kept = self.identity()
        for key in sorted((identity.keys() | kept.keys()) - TOLD):
            if kept.get(key) != identity.get(key):
                raise FramiError(f"{self.path} was started with {key} = {kept.get(key)}, not {identity.get(key)}.",
                                 "Resume with what it was started with, or start anew with --force.",
                                 exit_code=EXIT_USAGE)
        if self.recipe.read_text(encoding="utf-8") != recipe_toml:
            raise FramiError(f"{self.path} was started with another recipe: see {self.recipe}.",
                             f"Resume with --recipe {self.recipe}.", exit_code=EXIT_USAGE)

    def clear(self) -> None:
        """Remove what an earlier run left, so that its samples are never mixed in. Other files are kept."""
        for path in [*self.bank.glob("batch-*.pt"), self.checkpoint, self.path / "metrics.jsonl",
                     self.path / "run.json"]:
            path.unlink(missing_ok=True)

    def copy_bank(self, source: "RunDirectory") -> None:
        """The samples of another run, file by file."""
        self.bank.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.bank.glob("batch-*.pt")):
            write_atomically(self.bank / path.name, lambda aside, path=path: shutil.copyfile(path, aside))  # type: ignore[misc]

    def save(self, state: dict[str, Any]) -> None:
        write_atomically(self.checkpoint, lambda aside: torch.save(state, aside))

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint; None where there is none yet."""
        if not self.checkpoint.is_file():
            return None
        try:
            return dict(torch.load(self.checkpoint, map_location="cpu", weights_only=True))
        except Exception as error:  # whatever torch raises on a damaged file
            raise FramiError(f"{self.checkpoint} is damaged ({type(error).__name__}).",
                             "Start anew with --force.") from error

    def log(self, event: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        line = json.dumps({"time": round(time.time(), 3)} | event)
        try:
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as handle:
                handle.write(line + "\n")
        except OSError as error:
            hint = "Free some space, then --resume." if self.path.is_dir() else "The folder was removed: start anew."
            raise FramiError(f"Cannot write to {self.path}: {error}", hint) from error

    def events(self) -> list[dict[str, Any]]:
        """What :meth:`log` noted, oldest first, without lines that a crash cut off; nothing where the file is gone."""
        path, found = self.path / "metrics.jsonl", []
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise FramiError(f"Cannot read {path}: {error}") from error
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                found.append(dict(json.loads(line)))
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out. The operating system holds the lock, and frees it however the process ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)  # the file stays: removing it would be a race
        try:
            lock.acquire()
        except Timeout:
            raise FramiError(f"Another process works in {self.path}.", "Wait for it, or choose another --out."
                             ) from None
        try:
            yield
        finally:
            lock.release()
