"""Files are the old one or the new one, never half of one."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from frami_edge.errors import FramiError
from frami_edge.files import refuse_overwrite, sha256, write_atomically


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    for text in ("one", "two"):
        write_atomically(path, lambda aside, text=text: aside.write_text(text))
        assert path.read_text() == text
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_an_interruption_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def interrupted(aside: Path) -> None:
        aside.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "file" / "x.pt", tmp_path / ("x" * 300)):
        with pytest.raises(FramiError, match="Cannot write"):
            write_atomically(path, lambda aside: aside.write_text("text"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """A process that may not write more than 64 KiB stands for the full disk; torch.save is what fails."""
    path = tmp_path / "checkpoint.pt"
    code = f"""
import signal, resource, torch
from pathlib import Path
from frami_edge.errors import FramiError
from frami_edge.files import write_atomically
path = Path({str(path)!r})
write_atomically(path, lambda aside: torch.save(torch.zeros(10), aside))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, {resource.RLIM_INFINITY}))
try:
    write_atomically(path, lambda aside: torch.save(torch.zeros(100_000), aside))
except FramiError as error:
    print(error.problem, error.hint)
assert torch.load(path).shape == (10,)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Cannot write" in done.stdout and "is kept" in done.stdout and "Free some space" in done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "student.pt"
    refuse_overwrite(path, force=False)
    path.write_text("")
    refuse_overwrite(path, force=True)
    with pytest.raises(FramiError, match="--force"):
        refuse_overwrite(path, force=False)


def test_sha256_of_a_known_string(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, example B.1
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_no_file_to_replace(tmp_path: Path, force: bool) -> None:
    with pytest.raises(FramiError, match="is a folder"):
        refuse_overwrite(tmp_path, force)
