"""`frami-edge export` and `frami-edge bench`, typed one after the other in one folder with nothing else."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from frami_edge import checkpoints, networks
from frami_edge.card import TeacherCard
from frami_edge.cli.main import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a student.pt, exported by the command as it stands in the README."""
    folder = tmp_path_factory.mktemp("folder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.build("wrn16", 2, 40)
    checkpoints.save(folder / "student.pt", network, TeacherCard(labels=("yes", "no"), time_dependent=True), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = run(app, ["export", "student.pt", "--onnx"])
    assert done.exit_code == 0, done.output
    assert "parity PASS" in done.stdout
    assert "student.onnx" in done.stdout
    assert "student.golden.npz" in done.stdout
    assert "graph" in done.stderr
    assert "graph" not in done.stdout
    return folder


def test_export_writes_both_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["student.golden.npz", "student.onnx", "student.pt"]


def test_bench_finds_what_export_wrote(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = run(app, ["bench", "--runs", "10"])
    assert done.exit_code == 0, done.output
    assert "parity PASS" in done.stdout
    assert "p90" in done.stdout
    assert "warm calls" in done.stderr


def test_bench_prints_json_and_nothing_else(folder: Path) -> None:
    done = run(app, ["bench", str(folder / "student.onnx"), "--json", "--runs", "2", "--threads", "1,2"])
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert [measured["threads"] for measured in report["models"][0]["runs"]] == [1, 2]


def test_before_and_after(folder: Path, tmp_path: Path) -> None:
    measure = ["bench", str(folder / "student.onnx"), "--runs", "20", "--no-parity"]
    for name in ("before.json", "after.json"):
        (tmp_path / name).write_text(run(app, [*measure, "--json"]).stdout)
    done = run(app, ["compare", str(tmp_path / "before.json"), str(tmp_path / "after.json")])
    assert done.exit_code == 0, done.output
    assert "times as long" in done.stdout
    done = run(app, [*measure, "--baseline", str(tmp_path / "before.json"), "--max-regression", "1000%", "--markdown"])
    assert done.exit_code == 0, done.output
    assert "| --max-regression | student.onnx | 1 |" in done.stdout
    done = run(app, [*measure, "--max-p95-ms", "0.0001"])
    assert done.exit_code == 1
    assert "FAIL" in done.stdout


def test_an_opset_of_zero_is_one_that_was_asked_for(folder: Path, tmp_path: Path) -> None:
    done = run(app, ["export", str(folder / "student.pt"), "--opset", "0", "--out", str(tmp_path / "a.onnx")])
    assert done.exit_code == 2 and "0" in done.stderr and not (tmp_path / "a.onnx").exists()


def test_a_baseline_of_another_device_is_told(folder: Path, tmp_path: Path) -> None:
    words = ["bench", str(folder / "student.onnx"), "--runs", "3", "--warmup", "0", "--no-parity", "--json"]
    report = json.loads(run(app, words).stdout)
    (tmp_path / "same.json").write_text(json.dumps(report))
    report["device"]["cpu"] = "Cortex-A53"
    (tmp_path / "other.json").write_text(json.dumps(report))
    told = [run(app, [*words, "--baseline", str(tmp_path / name), "--max-regression", "9999%"])
            for name in ("same.json", "other.json")]
    assert [("of another device" in each.stderr, each.exit_code) for each in told] == [(False, 0), (True, 0)]
    assert "Cortex-A53" in told[1].stderr


def test_export_keeps_files_unless_forced(folder: Path) -> None:
    before = (folder / "student.onnx").read_bytes()
    done = run(app, ["export", str(folder / "student.pt"), "--onnx"])
    assert done.exit_code == 2
    assert "exists already" in done.stderr
    assert "--force" in done.stderr
    assert (folder / "student.onnx").read_bytes() == before


def test_forced_into_another_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "hub.onnx").write_bytes(b"old")
    done = run(app, ["export", str(folder / "student.pt"), "--out", str(tmp_path / "hub.onnx"), "--force"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "hub.onnx").read_bytes() == (folder / "student.onnx").read_bytes()
    assert (tmp_path / "hub.golden.npz").exists()


@pytest.mark.parametrize(("line", "code", "said"), [
    (["export", "absent.pt"], 3, "There is no file absent.pt"),
    (["export", "absent.pt", "--calibration", "absent.run"], 2, "belongs to --int8"),
    (["export", "absent.pt", "--min-agreement", "0.9"], 2, "belongs to --int8"),
    (["bench"], 3, "There is no file student.onnx"),
    (["bench", "--threads", "0"], 2, "--threads"),
    (["bench", "--runs", "x"], 2, "--runs"),
    (["bench", "--max-regression", "5%"], 2, "--baseline"),
    (["bench", "--baseline", "absent.json"], 3, "There is no file absent.json"),
    (["compare", "absent.json", "absent.json"], 3, "There is no file absent.json"),
])
def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], code: int, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(app, line)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stdout == ""
