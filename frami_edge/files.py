"""Files that are either the old one or the new one, never half of one."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from frami_edge.errors import EXIT_USAGE, FramiError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside ``path``, flush to the disk, then rename: an interruption or a full disk keeps the old file.

    Args:
        path: the file to replace or create; its folder is created.
        write: called with the temporary path; must create that file.

    Raises:
        FramiError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(aside)
        with open(aside, "rb+") as handle:  # Windows flushes only what may be written
            os.fsync(handle.fileno())
        os.replace(aside, path)
    # torch.save reports a full disk as RuntimeError
    except (OSError, RuntimeError) as error:
        kept = f" {path.name} as it was before is kept." if os.path.exists(path) else ""  # not path.exists: it raises
        raise FramiError(
            f"Cannot write {path}: {error}.{kept}", "Free some space or choose another folder, then go on."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written there is nothing to remove
            aside.unlink()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def renamed(path: Path, suffix: str) -> Path:
    """``path`` with another suffix.

    Raises:
        FramiError: it names no file, as "." and "/" do.
    """
    if not path.name:
        raise FramiError(f"{path} is a folder.", "Give the name of a file.", exit_code=EXIT_USAGE)
    return path.with_suffix(suffix)


def refuse_own_source(path: Path, source: Path) -> None:
    """Raise :class:`FramiError` where ``path``, which is to be written, is what it would be made from."""
    if path.exists() and source.exists() and path.samefile(source):
        raise FramiError(f"{path} would be replaced by what is made from it.", "Choose another --out.",
                         exit_code=EXIT_USAGE)


def refuse_overwrite(path: Path, force: bool, hint: str = "Say --force to replace it, or --out to write elsewhere."
                     ) -> None:
    """Raise :class:`FramiError` where ``path`` exists and the user did not say ``--force``, or is a folder."""
    if path.is_dir():
        raise FramiError(f"{path} is a folder.", "Give the name of a file with --out.", exit_code=EXIT_USAGE)
    if path.exists() and not force:
        raise FramiError(f"{path} exists already.", hint, exit_code=EXIT_USAGE)
