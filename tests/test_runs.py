"""The run directory: identity, lock, metrics."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frami_edge.errors import FramiError
from frami_edge.runs import RunDirectory

LOCKING = ("import os, sys; from pathlib import Path; from frami_edge.runs import RunDirectory; "
           "lock = RunDirectory(Path(sys.argv[1])).locked(); lock.__enter__()")
IDENTITY = {"teacher": "teacher.pt", "teacher_sha256": "abc", "card_sha256": "c", "student": "wrn16", "seed": 0}


def started(path: Path) -> RunDirectory:
    run = RunDirectory(path / "student.run")
    run.start(IDENTITY, "a = 1\n")
    return run


@pytest.mark.parametrize("change,message", [
    ({"seed": 1}, "seed = 0, not 1"), ({"student": "res18"}, "student"), ({"teacher_sha256": "x"}, "teacher_sha256"),
    ({"card_sha256": "x"}, "card_sha256"), ({"student_sha256": "x"}, "student_sha256 = None, not x"),
])
def test_resuming_something_else_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    run = started(tmp_path)
    run.check_same(IDENTITY, "a = 1\n")
    run.check_same(IDENTITY | {"teacher": "renamed.pt"}, "a = 1\n")
    with pytest.raises(FramiError, match=message):
        run.check_same(IDENTITY | change, "a = 1\n")
    with pytest.raises(FramiError, match="another recipe"):
        run.check_same(IDENTITY, "a = 2\n")


def test_checkpoints_come_back(tmp_path: Path) -> None:
    run = started(tmp_path)
    assert run.load() is None
    run.save({"batches": 3, "random": torch.get_rng_state()})
    state = run.load()
    assert state is not None and state["batches"] == 3 and torch.equal(state["random"], torch.get_rng_state())
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:100])
    with pytest.raises(FramiError, match="damaged"):
        run.load()


def test_metrics_are_one_json_object_a_line(tmp_path: Path) -> None:
    run = started(tmp_path)
    run.log({"batch": 1})
    run.log({"batch": 2})
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["batch"] for line in lines] == [1, 2] and all("time" in line for line in lines)


def test_a_folder_that_was_removed_is_told_from_a_full_disk(tmp_path: Path) -> None:
    run = started(tmp_path)
    shutil.rmtree(run.path)
    with pytest.raises(FramiError, match="Cannot write") as raised:
        run.log({"batch": 1})
    assert "removed" in raised.value.hint


def test_clearing_removes_samples_and_keeps_what_is_not_ours(tmp_path: Path) -> None:
    run = started(tmp_path)
    run.bank.mkdir()
    (run.bank / "batch-00000.pt").write_text("")
    (run.path / "notes.txt").write_text("")
    run.clear()
    assert not run.exists() and not list(run.bank.iterdir()) and (run.path / "notes.txt").exists()


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    run = started(tmp_path)
    with run.locked():
        other = subprocess.run([sys.executable, "-c", LOCKING, str(run.path)], capture_output=True, text=True,
                               check=False)
        assert other.returncode == 1 and "FramiError: Another process works in" in other.stderr
        with pytest.raises(FramiError, match="Another process"), RunDirectory(run.path).locked():
            pass
    with RunDirectory(run.path).locked():
        pass


def test_the_lock_of_a_dead_process_does_not_count(tmp_path: Path) -> None:
    """Also where the next one gets its number, as in a container that is started again."""
    run = started(tmp_path)
    died = subprocess.run([sys.executable, "-c", LOCKING + "; os.kill(os.getpid(), 9)", str(run.path)], check=False)
    assert died.returncode != 0
    (run.path / ".lock").write_text(str(os.getpid()))
    with run.locked():
        pass


@pytest.mark.parametrize("content", ["null", "3", "[1]", "{"])
def test_damaged_notes_are_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(FramiError, match="holds no run that could go on"):
        RunDirectory(tmp_path).identity()


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.events() == []
    run.log({"batch": 1})
    run.log({"batch": 2})
    assert [event["batch"] for event in run.events()] == [1, 2]
    with open(tmp_path / "metrics.jsonl", "a") as handle:
        handle.write('{"batch": 3, "synth')  # the machine went down
    assert [event["batch"] for event in run.events()] == [1, 2]
    run.log({"batch": 3})  # goes on in the same line, which is lost
    run.log({"batch": 4})
    assert [event["batch"] for event in run.events()] == [1, 2, 4]
