"""Two processes on the CPU, connected by gloo: one bank, one student, and what happens when one of them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small
import torch
from typer.testing import CliRunner

from frami_edge import checkpoints, demo
from frami_edge.cli.main import app
from frami_edge.compute import choose
from frami_edge.errors import FramiError
from frami_edge.inversion.bank import Bank, Samples
from frami_edge.processes import ALONE, check_devices, lost_connection, on_cpu

pytest.importorskip("lightning_fabric")
TEACHER = Path(demo.__file__).parent / "teacher.pt"
WORKER = """
import sys
from pathlib import Path
import torch
from frami_edge import processes
from frami_edge.compute import choose
from frami_edge.distillation.data_free import DataFreeDistillation
from frami_edge.recipe import load
from frami_edge.runs import RunDirectory
from frami_edge.teacher.opening import open_teacher

folder, teacher, *overrides = sys.argv[1:]
compute = choose("cpu", "float32")
together = processes.join(compute.device, "ddp")
opened = open_teacher(Path(teacher))
work = DataFreeDistillation(opened.teacher, opened.sha256, "dscnn_s", load("quick", overrides), compute,
                            RunDirectory(Path(folder) / "run"), 0, together)
student = work.run()
seen = {"size": together.size, "parameters": student.state_dict(), "bank": work.bank.whole()._asdict()}
torch.save(processes.on_cpu(seen), Path(folder) / f"seen-{together.rank}.pt")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sets(*more: str) -> list[str]:
    return [word for value in (*small.VALUES, *more) for word in ("--set", value)]


def test_two_processes_make_one_bank_and_one_student(tmp_path: Path) -> None:
    """As torchrun starts them: by environment variables."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
               "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "TORCHELASTIC_RESTART_COUNT": "0"}
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(TEACHER), *small.VALUES],
                                env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for rank in range(2)]
    said = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(said)
    first, second = (torch.load(tmp_path / f"seen-{rank}.pt", weights_only=True) for rank in range(2))
    assert first["size"] == 2
    for name, value in first["parameters"].items():
        torch.testing.assert_close(second["parameters"][name], value, rtol=0, atol=0)
    for name, value in first["bank"].items():
        assert torch.equal(second["bank"][name], value)
    log_mel = first["bank"]["log_mel"]
    assert len(log_mel) == 4 * 4  # 3 batches were asked for, and two are made at a time
    assert not torch.equal(log_mel[:4], log_mel[4:8])  # each its own part
    assert sorted(path.name for path in (tmp_path / "run" / "bank").iterdir()) == [
        f"batch-{index:05d}.pt" for index in range(4)]


def command(folder: Path, *more: str, devices: int = 2) -> list[str]:
    return [sys.executable, "-m", "frami_edge", "distill", str(TEACHER), "--student", "dscnn_s", "--out",
            str(folder / "student.pt"), "--precision", "float32", "--device", "cpu", "--devices", str(devices), *more]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
def test_a_process_that_dies_ends_the_run_and_it_can_be_gone_on_with(tmp_path: Path) -> None:
    long = sets("distillation.finish.steps=200", "distillation.batch_size=16")
    run, metrics = tmp_path / "student.run", tmp_path / "student.run" / "metrics.jsonl"
    begun = subprocess.Popen(command(tmp_path, *long), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    victim = wait_for(lambda: second_process(begun.pid) if metrics.exists() and "finish_step" in metrics.read_text()
                      else None)
    os.kill(victim, signal.SIGKILL)
    _, said = begun.communicate(timeout=240)
    assert begun.returncode == 3
    assert "was killed by signal 9" in said
    assert "--resume" in said
    assert not (tmp_path / "student.pt").exists()
    before = metrics.read_text().splitlines()
    done = subprocess.run(command(tmp_path, *long, "--resume"), capture_output=True, text=True, check=False,
                          timeout=240)
    assert done.returncode == 0, done.stderr
    after = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [json.loads(line) for line in before] == after[: len(before)]  # gone on with, not begun anew
    assert sum("batch" in event for event in after) == 2
    assert len(Bank(run / "bank", checkpoints.load(tmp_path / "student.pt").provenance["teacher_sha256"], 999)) == 16
    alone = CliRunner().invoke(app, command(tmp_path, *long, "--resume", devices=1)[3:])
    assert alone.exit_code == 3
    assert "another number of processes" in alone.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="sends Ctrl-C to a group of processes")
def test_ctrl_c_ends_all_processes_and_keeps_what_there_is(tmp_path: Path) -> None:
    long = sets("distillation.finish.steps=2000", "distillation.batch_size=16")
    metrics = tmp_path / "student.run" / "metrics.jsonl"
    begun = subprocess.Popen(command(tmp_path, *long), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)
    wait_for(lambda: True if metrics.exists() and "finish_step" in metrics.read_text() else None)
    os.kill(begun.pid, signal.SIGINT)
    _, said = begun.communicate(timeout=240)
    assert begun.returncode == 130 and "--resume" in said and "Traceback" not in said, said


@pytest.mark.parametrize("device,count,available,problem", [
    ("cuda:1", 2, 2, "one device"), ("cuda", 3, 2, "sees 2 CUDA devices"), ("cuda:2", 1, 2, "no cuda:2"),
    ("cpu", 3, 0, ""), ("cuda", 2, 2, ""), ("auto", 2, 2, ""),
])
def test_each_process_needs_a_device(monkeypatch: pytest.MonkeyPatch, device: str, count: int, available: int,
                                     problem: str) -> None:
    """On a machine with two GPUs, as PyTorch would tell of them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: available)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.version, "hip", None)
    if problem:
        with pytest.raises(FramiError, match=problem):
            check_devices(count, device)
    else:
        check_devices(count, device)
        assert device == "cpu" or choose(device).dtype == torch.float32  # Turing multiplies no bf16


def wait_for(look, seconds: float = 400.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if (found := look()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("nothing came of it")


def second_process(parent: int) -> int | None:
    """The worker of rank 1 below the process ``parent``."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if f"PPid:\t{parent}\n" in status and b"RANK=1" in environment:
            return int(folder.name)
    return None


def test_batches_of_others_are_taken_up_from_one_folder(tmp_path: Path) -> None:
    mine, other = (Bank(tmp_path, "ab", 1000) for _ in range(2))
    samples = Samples(torch.randn(4, 8, 10), torch.arange(4), torch.randn(4, 3))
    other.add(1, samples)
    mine.take_up([1])
    assert torch.equal(mine.whole().labels, samples.labels)
    with pytest.raises(FramiError, match="another process has made it"):
        mine.take_up([2])


def test_alone_nothing_is_shared() -> None:
    layer = torch.nn.Linear(2, 2)
    assert ALONE.wrap(layer, "forward") == layer.forward
    assert ALONE.agreed(True) is True and ALONE.agreed(False) is False
    assert ALONE.gathered({"a": 1}) == [{"a": 1}]
    ALONE.share_buffers(layer)


@pytest.mark.parametrize(("text", "lost"), [
    ("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2451", True),
    ("Timed out waiting 1800000ms for recv operation to complete", True),
    ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", False)])
def test_a_lost_connection_is_told_from_other_errors(text: str, lost: bool) -> None:
    assert lost_connection(RuntimeError(text)) is lost


def test_states_go_to_the_cpu_whatever_holds_them() -> None:
    state = {"a": [torch.ones(2), {"b": (torch.zeros(1), 3)}]}
    moved = on_cpu(state)
    assert torch.equal(moved["a"][0], torch.ones(2))
    assert moved["a"][1]["b"][1] == 3
