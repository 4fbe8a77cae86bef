"""Networks of ten families, written as vendors do: opened, probed, inverted for a batch and distilled for a step."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import zoo
import zoo_networks
from torch import nn

from frami_edge.card import TeacherCard
from frami_edge.compute import choose
from frami_edge.distillation.distiller import Distiller
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.inverter import Inverter
from frami_edge.inversion.sources import GeneratorSource
from frami_edge.inversion.synthesizer import make_synthesizer
from frami_edge.networks import build
from frami_edge.recipe import load
from frami_edge.teacher.opening import OpenedTeacher, open_teacher

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

FAMILIES = list(zoo_networks.FAMILIES)
# family -> the module with the frame-level state, its features, how it is pooled, BatchNorm layers
EXPECTED = {
    "resnet": ("layer3", 64, "mean", 9),
    "wrn": ("bn", 640, "mean", 7),
    "vgg": ("blocks", 64, "mean + max", 4),
    "bcresnet": ("head.2", 48, "mean", 10),
    "mobilenet": ("features", 128, "mean", 14),
    "crnn": ("gru", 96, "mean", 3),
    "tcresnet": ("layers", 96, "mean", 9),
    "attention": ("act", 96, "attention", 3),
    "dscnn": ("layers", 160, "flatten", 7),
    "transformer": ("norm", 64, "mean", 0),
}


def shipped(family: str, folder: Path) -> Path:
    """teacher.pt with its card and no code: ``--arch`` names that. BatchNorms have seen a batch."""
    torch.manual_seed(0)
    network: nn.Module = getattr(zoo_networks, family)()
    words = family not in ("crnn", "dscnn")  # of other sounds the inversion also hears chunks
    card = TeacherCard(labels=tuple("abcdefghij"), time_dependent=words, architecture=f"zoo_networks.py:{family}",
                       **zoo_networks.FAMILIES[family])
    x = torch.randn(16, 40, zoo_networks.FRAMES)
    network.train()({"B1FT": x.unsqueeze(1), "BFT": x, "BTF": x.transpose(1, 2)}[card.layout])
    torch.save(network.state_dict(), folder / "teacher.pt")
    (folder / "teacher.toml").write_text(card.to_toml())
    return folder / "teacher.pt"


def opened(family: str, folder: Path) -> OpenedTeacher:
    return open_teacher(shipped(family, folder), arch=f"{BENCHMARKS / 'zoo_networks.py'}:{family}")


@pytest.mark.parametrize("family", FAMILIES)
def test_taps(family: str, tmp_path: Path) -> None:
    frames, features, pooling, batch_norms = EXPECTED[family]
    teacher = opened(family, tmp_path).teacher
    assert (teacher.taps.frames, teacher.taps.form.pooling) == (frames, pooling)
    hidden = teacher.forward_hidden(torch.randn(3, 40, 101))
    assert hidden.frames.shape[:2] == (3, features) and hidden.frames.shape[2] >= 12
    pooled = {"mean": lambda: hidden.frames.mean(2), "flatten": lambda: hidden.frames.flatten(1),
              "mean + max": lambda: hidden.frames.mean(2) + hidden.frames.amax(2)}
    if pooling in pooled:
        torch.testing.assert_close(hidden.pooled.sort(1).values, pooled[pooling]().sort(1).values)
    assert len(teacher.batch_norms()) == batch_norms
    assert hidden.logits.shape == (3, 10) and 1 <= len(hidden.stages) <= 4
    assert all(stage.shape[0] == 3 for stage in hidden.stages)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in zoo_networks.WITHOUT_BN])
def test_a_batch_is_synthesized_and_a_step_taken(family: str, tmp_path: Path) -> None:
    """The BatchNorm loss is finite and has a gradient that reaches the samples; both reuse losses are finite."""
    small = ["batch_size=4", "steps=3", "first_steps=3", "ngf=4", "adversarial_weight=0.5", "negatives=4"]
    recipe = load("quick", [f"inversion.{value}" for value in small])
    compute = choose("cpu", "float32")
    teacher = compute.place(opened(family, tmp_path).teacher)
    assert teacher.channels_last == (family != "bcresnet")  # it uses view
    synthesizer, bank = make_synthesizer(teacher, recipe.inversion, compute), Bank(tmp_path / "bank", "0", 100)
    assert isinstance(synthesizer, Inverter) and isinstance(synthesizer.source, GeneratorSource)
    generator = synthesizer.source.generator
    before = [parameter.clone() for parameter in generator.parameters()]
    student = build("bcresnet1", 10).eval().requires_grad_(False)
    made = synthesizer.synthesize(student, bank)
    assert all(math.isfinite(value) for value in made.losses.values()) and made.losses["bn"] > 0
    changed = zip(before, generator.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in changed)
    assert ("finv" in made.losses) == (family in ("crnn", "dscnn"))
    settings = recipe.distillation
    distiller = Distiller(teacher, build("bcresnet1", 10), settings, settings.alternate, 10, compute)
    told = distiller.learn(distiller.ask(synthesizer.normalise(made.samples.log_mel)))
    assert set(told) == {"kd", "frame_reuse", "utterance_reuse", "agreement"}
    assert all(math.isfinite(value) for value in told.values())


def test_the_script_makes_a_table_and_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                               ) -> None:
    """Ten classes of tones in two groups; the second call makes nothing again."""
    for index in range(20):
        folder = tmp_path / "tones" / f"class{index // 2}" / f"group{index % 2}"
        folder.mkdir(parents=True)
        for take in range(2):
            phase = 2 * np.pi * (200 + 300 * (index // 2) + 5 * take) * np.arange(4000) / 8000
            soundfile.write(folder / f"{take}.wav", 0.5 * np.sin(phase), 8000)
    words = [str(tmp_path / "tones"), "--test", "group1", "--out", str(tmp_path / "zoo"), "--families", "tcresnet",
             "--student", "bcresnet1", "--epochs", "2", "--device", "cpu", "--precision", "float32"]
    for value in ("inversion.batches=2", "inversion.warmup_batches=1", "inversion.batch_size=4", "inversion.steps=2",
                  "inversion.first_steps=2", "inversion.ngf=4", "distillation.batch_size=4",
                  "distillation.alternate.steps=2", "distillation.alternate.lr=0.001", "distillation.finish.steps=2",
                  "distillation.finish.lr=0.001", "distillation.finish.utterance_reuse=0"):  # it diverges in two steps
        words += ["--set", value]
    assert zoo.main(words) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("| tcresnet"))
    assert row.count("|") == 12 and " mean | 9 | 254 k " in row and "n = 20" in printed
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "zoo" / "tcresnet").glob("*.pt")}
    assert {path.name for path in made} == {"teacher.pt", "student.pt", "kd.pt"}
    (tmp_path / "zoo" / "tcresnet" / "result.json").unlink()
    assert zoo.main(words) == 0
    assert capsys.readouterr().out == printed
    assert printed.strip() == (tmp_path / "zoo" / "table.md").read_text().strip()
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "zoo" / "tcresnet").glob("*.pt")}
