"""`frami-edge eval` and what it prints, for a student and its exported model."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, TeacherCard
from frami_edge.cli.eval import print_evaluation
from frami_edge.cli.main import app
from frami_edge.evaluation import Evaluation
from frami_edge.exporters.onnx import export_onnx
from frami_edge.frontend import MelFrontend

QUIET, LOUD = 0.003, 0.3  # amplitudes


class Loudness(NamedTuple):
    model: Path
    data: Path


def write_model(path: Path, noise: torch.Tensor) -> None:
    """A wrn16 whose classifier is set by hand: logits -0.5 and 0.5 for loud clips, the opposite for quiet ones."""
    torch.manual_seed(0)
    card = TeacherCard(labels=("quiet", "loud"), time_dependent=False, clip=Clip(seconds=0.3))
    network, frontend = networks.build("wrn16", 2).eval(), MelFrontend.from_card(card)
    with torch.no_grad():
        quiet, loud = (network.forward_hidden(frontend(level * noise)).pooled.mean(0) for level in (QUIET, LOUD))
        direction = (loud - quiet) / (loud - quiet).square().sum()
        middle = direction @ (loud + quiet) / 2
        network.classifier.weight.copy_(torch.stack([-direction, direction]))
        network.classifier.bias.copy_(torch.stack([middle, -middle]))
    checkpoints.save(path, network, card, {})


@pytest.fixture
def loudness(tmp_path: Path) -> Loudness:
    """The model, and two clips of each class, of groups a and b, with a loud one among the quiet ones of b."""
    noise = torch.randn(4, 4800, generator=torch.Generator().manual_seed(0)).clamp(-3, 3) / 3
    made = Loudness(tmp_path / "student.pt", tmp_path / "sounds")
    write_model(made.model, noise)
    for name, level in (("quiet/a/1", QUIET), ("quiet/b/1", QUIET), ("quiet/b/2", LOUD), ("loud/a/1", LOUD),
                        ("loud/b/1", LOUD)):
        path = made.data / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, level * noise[1].numpy(), 16000, subtype="FLOAT")
    return made


def evaluate(*words: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, words)])


def test_accuracy_per_class_and_confusion(loudness: Loudness) -> None:
    done = evaluate(loudness.model, loudness.data)
    assert done.exit_code == 0, done.output
    assert "4 of 5 right: 80.0 %" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["quiet", "2", "3", "66.7"] in rows
    assert ["loud", "2", "2", "100.0"] in rows
    assert ["0", "quiet", "2", "1"] in rows
    assert ["1", "loud", ".", "2"] in rows
    assert "5/5" in done.stderr
    assert "5/5" not in done.stdout


def test_a_matrix_that_is_too_wide_becomes_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    confusion = np.full((20, 20), 11) + 126 * np.eye(20, dtype=int)
    labels = tuple(f"class {index}" for index in range(20))
    print_evaluation(Evaluation(labels, confusion, np.zeros((int(confusion.sum()), 20))))
    printed = capsys.readouterr().out
    assert "\u2026" not in printed and "taken for class" in printed and "taken for\n" not in printed


def test_labels_are_no_markup(loudness: Loudness) -> None:
    """They come from files that anybody may have written."""
    stored = checkpoints.load(loudness.model)
    for name, label in (("quiet", "speech [male]"), ("loud", "b [c]")):
        (loudness.data / name).rename(loudness.data / label)
    card = stored.card.model_copy(update={"labels": ("speech [male]", "b [c]")})
    checkpoints.save(loudness.model, stored.network, card, {})
    done = evaluate(loudness.model, loudness.data)
    assert done.exit_code == 0 and done.stdout.count("speech [male]") == 2 and done.stdout.count("b [c]") == 2


def test_json_of_one_group(loudness: Loudness) -> None:
    done = evaluate(loudness.model, loudness.data, "--test", "b", "--json")
    result = json.loads(done.stdout)
    assert (result["n"], result["correct"], result["accuracy"]) == (3, 2, 2 / 3)
    assert (result["dataset"], result["groups"]) == ("folders", ["b"])
    assert (result["labels"], result["confusion"]) == (["quiet", "loud"], [[1, 1], [0, 1]])


def test_the_exported_model_has_the_same_confusion(loudness: Loudness) -> None:
    exported = loudness.model.with_suffix(".onnx")
    export_onnx(loudness.model, exported)
    of_student, of_export = (json.loads(evaluate(model, loudness.data, "--json").stdout)
                             for model in (loudness.model, exported))
    assert of_export["confusion"] == of_student["confusion"] == [[2, 1], [0, 2]]


def test_how_often_two_models_decide_alike(loudness: Loudness, tmp_path: Path) -> None:
    """The other one hears nothing but quiet clips: so does the first in two of five."""
    stored = checkpoints.load(loudness.model)
    with torch.no_grad():
        stored.network.classifier.bias.copy_(torch.tensor([100.0, -100.0]))
    checkpoints.save(tmp_path / "deaf.pt", stored.network, stored.card, {})
    done = evaluate(loudness.model, loudness.data, "--against", tmp_path / "deaf.pt")
    assert done.exit_code == 0 and "4 of 5 right" in done.stdout and "deaf.pt: 3 of 5 right" in done.stdout
    assert "Both decide alike on 2 of 5: 40.0 %" in done.stdout
    found = json.loads(evaluate(loudness.model, loudness.data, "--against", tmp_path / "deaf.pt", "--json").stdout)
    assert found["correct"] == 4
    assert {name: found["against"][name] for name in ("correct", "same", "agreement")} == {
        "correct": 3, "same": 2, "agreement": 0.4}
    # it is sure of one class: the divergence of a clip is -log of what the first one gives that class
    assert found["against"]["divergence"] > 0.4 and "nats" in done.stdout
    alike = json.loads(evaluate(loudness.model, loudness.data, "--against", loudness.model, "--json").stdout)
    assert (alike["against"]["agreement"], alike["against"]["divergence"]) == (1.0, 0.0)
    renamed = stored.card.model_copy(update={"labels": ("loud", "quiet")})
    checkpoints.save(tmp_path / "renamed.pt", stored.network, renamed, {})
    done = evaluate(loudness.model, loudness.data, "--against", tmp_path / "renamed.pt")
    assert done.exit_code == 2 and "same classes in the same order" in done.stderr


def test_what_cannot_be_evaluated_is_said(loudness: Loudness, tmp_path: Path) -> None:
    (tmp_path / "other" / "meow").mkdir(parents=True)
    (tmp_path / "other" / "meow" / "1.wav").touch()
    for words, exit_code, problem in (
        ((tmp_path / "none.onnx", loudness.data), 3, "none.onnx"),
        ((loudness.model, tmp_path / "none"), 3, "There is no folder"),
        ((loudness.model, loudness.data, "--test", "c"), 2, "no group 'c'"),
        ((loudness.model, tmp_path / "other"), 3, "such as 'meow'"),
    ):
        done = evaluate(*words)
        assert done.exit_code == exit_code, done.output
        assert problem in done.stderr
        assert done.stdout == ""
