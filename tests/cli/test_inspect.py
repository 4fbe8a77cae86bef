"""`frami-edge inspect` as a user types it, and the five cases of docs/teachers.md from file to student."""

import importlib
import json
import re
from importlib import resources
from pathlib import Path

import pytest
import small
import torch
from torch import nn
from typer.testing import CliRunner

from frami_edge import networks
from frami_edge.card import TeacherCard
from frami_edge.cli.main import app
from frami_edge.frontend import MelFrontend
from frami_edge.teacher.sounds import sounds

SECTION = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8").split("## Five cases")[1]
CASES = [block.split("\n```")[0].strip().splitlines() for block in SECTION.split("## The card")[0].split("```sh\n")[1:]]
# what completes a draft: 3 classes, short clips
VALUES = {"labels": ["cat", "dog", "rain"], "time_dependent": False, "sample_rate": 8000, "seconds": 0.5,
          "preparation": "crop", "n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 40, "f_max": 4000,
          "mel_scale": "htk", "mel_norm": "none", "log": "ln", "log_offset": 1e-6, "kind": "none"}
MODEL = """
from torch import nn

class Vendor(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.out = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.bn(self.conv(x)).relu().mean((2, 3)))

def build():
    return Vendor()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are typed: the packaged teacher, and what vendors ship."""
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "model.py").write_text(MODEL)
    (tmp_path / "vendor" / "shipped_model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "vendor")  # stands for PYTHONPATH=vendor
    packaged = resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes()
    (tmp_path / "teacher.pt").write_bytes(packaged)
    torch.manual_seed(0)
    ours, theirs = networks.build("wrn16", 3), importlib.import_module("shipped_model").build()
    card = TeacherCard.parse({"labels": VALUES["labels"], "time_dependent": False, "clip": {
        key: VALUES[key] for key in ("sample_rate", "seconds", "preparation")}, "frontend": {
        key: VALUES[key] for key in ("n_fft", "win_length", "hop_length", "f_max")}}, "test")
    log_mels = MelFrontend.from_card(card)(torch.from_numpy(sounds(card)))
    for network in (ours, theirs):  # its BatchNorms have seen sounds
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        network.train()(log_mels.unsqueeze(1))
    torch.save(ours.state_dict(), "bought.pt")
    torch.save(theirs.state_dict(), "vendor/weights.pt")
    half = {f"module.{key}": value.half() if value.is_floating_point() else value
            for key, value in ours.state_dict().items()}
    torch.save({"epoch": 80, "state_dict": half, "optimizer": {"lr": 0.1}}, "epoch-80.pth.tar")
    torch.save(theirs, "whole.pt")
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def fill_in(path: Path) -> None:
    """As the user does: each FILL IN becomes a value."""
    text = re.sub(r'^(\w+) = "FILL IN"', lambda found: f"{found[1]} = {json.dumps(VALUES[found[1]])}",
                  path.read_text(), flags=re.MULTILINE)
    path.write_text(text)
    TeacherCard.read(path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].split("inspect ")[1].split()[0])
def test_the_documented_cases(case: list[str], folder: Path) -> None:
    assert len(CASES) == 5
    for line in case:
        if line.startswith("#"):
            fill_in(folder / re.search(r"\S+\.toml", line)[0])  # type: ignore[index]
            continue
        words = line.removeprefix("PYTHONPATH=vendor ").removeprefix("frami-edge ").split()
        code, printed, errors = run(*words, *(small.OPTIONS if words[0] == "distill" else []))
        assert code == 0 and "DOUBTFUL" not in printed, printed + errors
    assert (folder / "student.pt").is_file()


def test_a_draft_is_written_once(folder: Path) -> None:
    code, printed, errors = run("inspect", "bought.pt")
    assert code == 0 and "fits            wrn16 (3 classes, 40 Mel bands)" in printed
    assert "13 layers, no dead channels" in printed and "Wrote teacher.toml" in errors
    (folder / "teacher.toml").write_text("precious")
    code, printed, _ = run("inspect", "bought.pt")
    assert code == 1 and "WRONG. Cannot read the teacher card" in printed
    code, _, errors = run("inspect", "bought.pt", "--write")
    assert code == 2 and "--force" in errors and (folder / "teacher.toml").read_text() == "precious"
    run("inspect", "bought.pt", "--write", "--force")
    assert "FILL IN" in (folder / "teacher.toml").read_text()
    (folder / "bought.toml").write_text("its own")  # looked for first, and so written
    assert run("inspect", "bought.pt", "--write")[0] == 2 and (folder / "bought.toml").read_text() == "its own"
    run("inspect", "bought.pt", "--write", "--force")
    assert "FILL IN" in (folder / "bought.toml").read_text()


def test_no_draft_before_anything_says_what_builds_the_network(folder: Path) -> None:
    """It would lack what probing finds, and stand in the way of the one that --arch drafts."""
    code, _, errors = run("inspect", "vendor/weights.pt")
    assert code == 0 and not (folder / "vendor" / "teacher.toml").exists()
    assert errors.endswith("Next: frami-edge inspect vendor/weights.pt --arch model.py:build\n")
    assert run("inspect", "vendor/weights.pt", "--arch", "model.py:build")[0] == 0
    assert 'architecture = "model.py:build"' in (folder / "vendor" / "teacher.toml").read_text()
    (folder / "vendor" / "teacher.toml").unlink()
    assert run("inspect", "vendor/weights.pt", "--write")[0] == 0
    assert 'architecture = "FILL IN"' in (folder / "vendor" / "teacher.toml").read_text()


def test_an_incomplete_card_is_no_use(folder: Path) -> None:
    run("inspect", "bought.pt")
    code, printed, _ = run("inspect", "bought.pt")
    assert code == 1 and "not complete: labels, time_dependent, clip.sample_rate" in printed
    code, _, errors = run("distill", "bought.pt")
    assert code == 3 and "not complete: labels" in errors


def test_no_write(folder: Path) -> None:
    assert run("inspect", "bought.pt", "--no-write")[0] == 0 and not (folder / "teacher.toml").exists()


def test_code_is_not_run_unasked(folder: Path) -> None:
    (folder / "vendor" / "teacher.toml").write_text('architecture = "model.py:build"\nlabels = ["a", "b", "c"]\n'
                                                    "time_dependent = true\n")
    code, printed, _ = run("inspect", "vendor/weights.pt")
    assert code == 0 and "names code, model.py:build, which was not run" in printed
    code, _, errors = run("inspect", "whole.pt")
    assert code == 3 and "without running code" in errors


def test_json(folder: Path) -> None:
    code, printed, _ = run("inspect", "teacher.pt", "--json")
    found = json.loads(printed)
    assert code == 0 and found["kind"].startswith("frami-edge checkpoint") and found["card_at"] == "inside"
    assert found["network"]["classes"] == 10 and found["network"]["lengths"] == {"shortest": 1, "fixed": False}
    assert found["check"]["gap"] < 0.2 and not found["card_is_wrong"] and found["warning"] == ""


def test_a_wrong_card_ends_with_1_and_stops_distill(folder: Path) -> None:
    assert run("inspect", "teacher.pt", "--write")[0] == 0  # the card that is inside
    card = (folder / "teacher.toml").read_text()
    (folder / "teacher.toml").write_text(card.replace('log = "ln"', 'log = "db"'))
    code, printed, _ = run("inspect", "teacher.pt", "--card", "teacher.toml")
    assert code == 1 and "WRONG" in printed and 'log = "ln"' in printed
    code, _, errors = run("distill", "teacher.pt", "--card", "teacher.toml", *small.OPTIONS)
    assert code == 3 and "The card is wrong" in errors and not (folder / "student.run").exists()
    code, _, errors = run("distill", "teacher.pt", "--card", "teacher.toml", "--believe-card", *small.OPTIONS)
    assert code == 0 and "warning: " in errors


@pytest.mark.parametrize("words,code,message", [
    (["absent.pt"], 3, "no file"), (["bought.pt", "--arch", "wrn61"], 2, "no network 'wrn61'"),
    (["bought.pt", "--arch", "res18"], 2, "does not fit res18"),
    (["vendor/model.py"], 3, "not a PyTorch file"),
])
def test_what_cannot_be_inspected(words: list[str], code: int, message: str, folder: Path) -> None:
    exit_code, _, errors = run("inspect", *words)
    assert exit_code == code and message in errors
