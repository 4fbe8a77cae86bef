"""Distillation and training on a device that is not the CPU: all of it is where it should be (tests/elsewhere.py)."""

from collections.abc import Iterator
from pathlib import Path

import elsewhere
import pytest
import small
import torch
from torch import Tensor

from frami_edge import networks, recipe
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.compute import Compute
from frami_edge.distillation.data_free import DataFreeDistillation, Progress
from frami_edge.distillation.verdict import Verdict
from frami_edge.networks.base import Network
from frami_edge.recordings import Recordings
from frami_edge.runs import RunDirectory
from frami_edge.teacher.opening import open_teacher
from frami_edge.teacher.taps import Teacher
from frami_edge.training import Settings, Training

CPU = torch.device("cpu")
WIDE = ("distillation.finish.mix=0.99", "distillation.finish.consensus=2", "distillation.finish.splice=0.99",
        "distillation.finish.clip_norm=1", "inversion.input_weight=1")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with elsewhere.there(monkeypatch) as device:
        yield device


def make_card(time_dependent: bool) -> TeacherCard:
    return TeacherCard(labels=("a", "b", "c", "d"), time_dependent=time_dependent,
                       clip=Clip(seconds=0.5 if time_dependent else 1.0,
                                 preparation="center-pad" if time_dependent else "crop"),
                       frontend=MelSpec(n_mels=16, normalisation=Normalisation(kind="global", mean=-9.0, std=1.5)))


def make_teacher(time_dependent: bool = True) -> Teacher:
    torch.manual_seed(0)
    network = networks.build("dscnn_s", 4, 16)
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.randn(8, 16, 50))
    return Teacher(network, make_card(time_dependent))


def distil(folder: Path, device: torch.device, method: str = "quick", time_dependent: bool = True,
           stop: Progress | None = None) -> tuple[Network, Verdict]:
    def report(progress: Progress) -> None:
        if stop and (progress.phase, progress.done) == (stop.phase, stop.done):
            raise KeyboardInterrupt

    run = DataFreeDistillation(make_teacher(time_dependent), "sha", "dscnn_s",
                               recipe.load(method, [*small.VALUES, *WIDE]), Compute(device, torch.float32),
                               RunDirectory(folder), seed=0)
    student = run.run(report)
    return student, run.verdict(student)


@torch.no_grad()
def off(network: Network, other: Network) -> float:
    """The largest distance between two weights of the same name, as a share of the first."""
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    return max(float((one - two).norm() / one.norm().clamp_min(1e-3)) for one, two in pairs)


def test_what_such_a_device_refuses(there: torch.device) -> None:
    x, here = torch.zeros(2, 3, device=there), torch.ones(2, 3)
    for meet in (lambda: x + here, lambda: here @ x.T, lambda: torch.cat([x, here]), lambda: x.add_(here),
                 lambda: here[torch.zeros(2, dtype=torch.long, device=there)]):
        with pytest.raises(RuntimeError, match="same device"):
            meet()
    with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
        x.numpy()
    x.add_(here.to(there)).mul_(torch.tensor(2.0))
    assert x.is_cuda and x[0].device == there and x.device.type == "cuda"
    assert torch.equal(x.cpu(), 2 * here) and float(x.sum()) == 12 and not x.cpu().is_cuda


@pytest.mark.parametrize("method,time_dependent", [("quick", True), ("quick", False), ("adi", False),
                                                   ("fastdfkd", True)])
def test_a_distillation_comes_to_the_same_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str,
                                                  time_dependent: bool) -> None:
    student, verdict = distil(tmp_path / "here", CPU, method, time_dependent)
    with elsewhere.there(monkeypatch) as device:
        other, others = distil(tmp_path / "there", device, method, time_dependent)
    assert off(student, other) < 0.1  # Adam's first steps make much of the last bit of a gradient
    torch.testing.assert_close((verdict.bn_gap, verdict.noise_bn_gap), (others.bn_gap, others.noise_bn_gap), rtol=1e-3,
                               atol=0.0)


def test_an_interrupted_one_goes_on_there(tmp_path: Path, there: torch.device) -> None:
    whole, _ = distil(tmp_path / "whole", there)
    for stop in (Progress("alternation", 3, 0, {}), Progress("finish", 2, 0, {})):
        with pytest.raises(KeyboardInterrupt):
            distil(tmp_path / "parts", there, stop=stop)
    assert off(whole, distil(tmp_path / "parts", there)[0]) == 0


@pytest.mark.parametrize("name", networks.names())
def test_networks_learn_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 16, 50)

    def learn(device: torch.device) -> tuple[Tensor, list[Tensor]]:
        torch.manual_seed(0)
        network = Compute(device, torch.float32).place(networks.build(name, 4, 16)).train()
        hidden = network.forward_hidden(x.to(device))
        (hidden.logits.square().sum() + hidden.pooled.mean() + hidden.frames.mean()).backward()
        return hidden.logits.detach().cpu(), [weight.grad.cpu() for weight in network.parameters()
                                              if weight.grad is not None]

    logits, gradients = learn(CPU)
    with elsewhere.there(monkeypatch) as device:
        others, other_gradients = learn(device)
    assert len(gradients) > 0
    torch.testing.assert_close((logits, gradients), (others, other_gradients), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("taught", [False, True])
def test_a_training_comes_to_the_same_network(monkeypatch: pytest.MonkeyPatch, taught: bool) -> None:
    lengths = torch.full((24,), 60)
    recordings = Recordings(torch.randn(24 * 60, 16) - 9, lengths.cumsum(0) - lengths, lengths, torch.arange(24) % 4)

    def train(device: torch.device) -> Network:
        teacher = make_teacher()
        torch.manual_seed(0)
        return Training(networks.build("dscnn_s", 4, 16), recordings, teacher.card,
                        Settings(epochs=2, batch_size=8, lr=0.05), Compute(device, torch.float32),
                        teacher if taught else None).run()

    network = train(CPU)
    with elsewhere.there(monkeypatch) as device:
        assert off(network, train(device)) < 0.02


def test_a_vendors_exported_program_runs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose graph may make tensors by itself, and hold constants."""
    teacher, x = make_teacher(), torch.randn(2, 16, 51)
    program = torch.export.export(teacher.net.eval(), (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, tmp_path / "teacher.pt2")
    (tmp_path / "teacher.toml").write_text(teacher.card.model_copy(update={"layout": "BFT"}).to_toml())
    opened = open_teacher(tmp_path / "teacher.pt2").teacher
    expected = opened.forward_hidden(x)
    with elsewhere.there(monkeypatch) as device:
        found = Compute(device, torch.float32).place(opened).forward_hidden(x.to(device))
        for one, other in zip((expected.logits, expected.pooled), (found.logits, found.pooled), strict=True):
            torch.testing.assert_close(one.detach(), other.detach().cpu())
