"""benchmarks/changed_speed.py and stretched_views.py: what they count, on real recordings and on tones."""

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import changed_speed
import numpy as np
import pytest
import soundfile
import stretched_views
import torch
import verdicts

from frami_edge.datasets import Clip
from frami_edge.evaluation import Array, Model, evaluate

DEMO = Path(str(resources.files("frami_edge.demo").joinpath("teacher.pt")))


def test_a_slowed_recording_has_lower_tones(tmp_path: Path) -> None:
    """Half a second of 1 kHz fills the whole second at rate 2, an octave lower."""
    time = np.arange(4000) / 8000
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), 8000)

    def loudest(waves: Array) -> Array:
        """The loudest frequency, (batch, 1): its bin, which is in Hz as clips are a second long."""
        return np.abs(np.fft.rfft(waves)).argmax(1)[:, None].astype(np.float32)

    clip = {"sample_rate": 8000, "seconds": 1.0, "preparation": "center-pad", "level": "none"}
    model = Model(("tone",), clip, loudest)
    for rate, hertz in ((1.0, 1000), (2.0, 500), (0.5, 2000)):
        found = evaluate(changed_speed.slowed(model, rate), [Clip(tmp_path / "tone.wav", 0, "")]).logits
        assert found.item() == pytest.approx(hertz, rel=0.01)


def test_rates_share_the_recordings() -> None:
    clips = tuple(Clip(Path(f"{number}.wav"), 0, "") for number in range(8))
    hands = changed_speed.dealt(clips, 3)
    assert sorted(clip.path for hand in hands for clip in hand) == sorted(clip.path for clip in clips)
    assert [len(hand) for hand in hands] == [3, 3, 2]


def test_students_of_one_name_are_told_apart():
    """The students of a table's cells are all called student.pt."""
    cells = [Path("runs/a/student.pt"), Path("runs/b/student.pt")]
    assert changed_speed.told_apart(cells) == ["a/student.pt", "b/student.pt"]
    assert changed_speed.told_apart([Path("runs/a.pt"), Path("b.pt")]) == ["a.pt", "b.pt"]
    assert changed_speed.told_apart([Path("a.pt"), Path("a.pt")]) == ["a.pt", "a.pt"]


def test_a_teacher_as_its_own_student(fsdd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(DEMO), str(fsdd), "--test", "theo", "--every", "25", "--students", str(DEMO)]
    assert changed_speed.main([*words, "--rates", "1.0"]) == 0
    as_they_are = capsys.readouterr().out
    assert "| teacher.pt | 100.0% | 0.0000 | " in as_they_are and "100 recordings" in as_they_are
    assert changed_speed.main([*words, "--rates", "0.6", "1.6"]) == 0
    accuracy = [float(re.findall(r"accuracy ([\d.]+)%", text)[0]) for text in (as_they_are, capsys.readouterr().out)]
    assert accuracy[0] >= 98 and accuracy[1] <= accuracy[0] - 20  # training recordings; pitch and tempo changed by much


def test_labels_of_a_card_in_another_order(fsdd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(DEMO, weights_only=True)
    content["card"]["labels"] = content["card"]["labels"][::-1]
    for name in ("classifier.weight", "classifier.bias"):
        content["state_dict"][name] = content["state_dict"][name].flip(0)
    torch.save(content, tmp_path / "other.pt")
    words = [str(tmp_path / "other.pt"), str(fsdd), "--test", "theo", "--every", "50", "--rates", "1.0"]
    assert changed_speed.main([*words, "--students", str(DEMO)]) == 0
    assert float(re.findall(r"accuracy ([\d.]+)%", capsys.readouterr().out)[0]) >= 98


def test_a_rank_correlation_needs_two_students() -> None:
    def row(agreement: float) -> dict[str, Any]:
        return {"teacher": "t", "n": 9, "accuracy": 1.0, "real": agreement, "verdict": {"agreement": agreement}}

    assert "agreement:" not in verdicts.table({"a.pt": row(0.9)})
    assert "agreement: +1.00 over 2 students" in verdicts.table({"a.pt": row(0.9), "b.pt": row(0.8)})


def test_stretched_views(fsdd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's teacher on `theo`: as often right as its README says, and hardly stretched views change nothing."""
    words = [str(DEMO), str(fsdd), "--test", "theo", "--frames", "0", "--views", "2"]
    assert stretched_views.main([*words, "--bands", "1e-6", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "443 of 500 right by itself." in printed and "| 1e-06 | 0 | 2 | 443 | 500 |" in printed
    right, same = (int(cell) for cell in re.findall(r"\| 0.5 \| 0 \| 2 \| (\d+) \| (\d+) \|", printed)[0])
    assert 250 < right < 443 and same < 480


@pytest.mark.parametrize("script,more", [
    (changed_speed.main, ["--students", "student.pt"]), (stretched_views.main, []),
])
def test_errors_say_what_to_do(script: Callable[[list[str]], int], more: list[str], tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    assert script([str(tmp_path / "teacher.pt"), str(tmp_path), "--test", "a", *more]) != 0
    assert capsys.readouterr().err.startswith("error: ")
