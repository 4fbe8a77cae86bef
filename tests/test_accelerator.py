"""On a device other than the CPU: nothing is left behind, and the results are those of the CPU's own code.

The device is pretended (``pretended_cuda.py``), so that this is tested where there is none.
"""

import json
import math
from pathlib import Path

import pytest
import small_runs
import torch
from pretended_cuda import CUDA, PretendedCuda
from torch import nn

from frami_edge import networks, recipe
from frami_edge._torchaudio import torchaudio
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.compute import Compute
from frami_edge.distillation import data_free
from frami_edge.distillation.data_free import DataFreeDistillation
from frami_edge.errors import FramiError
from frami_edge.networks.own import OwnNetwork
from frami_edge.recipe import Recipe
from frami_edge.recordings import Recordings
from frami_edge.runs import RunDirectory
from frami_edge.teacher.opening import open_teacher
from frami_edge.teacher.taps import Teacher
from frami_edge.teacher.waveform import behind_front_end
from frami_edge.training import Settings, Training

ON_CUDA = Compute(CUDA, torch.float32)
ON_CPU = Compute(torch.device("cpu"), torch.float32)
DECIBELS = {"log": "db", "log_offset": 1e-10, "log_offset_by": "clamping"}
FRONT_ENDS = {
    "mfcc": MelSpec(kind="mfcc", n_mfcc=40, top_db=80.0, normalisation={"kind": "cmvn"}, **DECIBELS),
    "clip": MelSpec(normalisation={"kind": "clip"}),
    "per-band": MelSpec(normalisation=Normalisation(kind="per-band", band_mean=[-6.0] * 40, band_std=[3.0] * 40)),
    "below the peak": MelSpec(db_reference="max", top_db=60.0, **DECIBELS),
}


@pytest.fixture(autouse=True)
def random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is pretended draws those of the CPU."""
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))


def run_of(folder: Path, teacher: Teacher, settings: Recipe, compute: Compute = ON_CUDA) -> DataFreeDistillation:
    return DataFreeDistillation(teacher, "sha", "wrn16", settings, compute, RunDirectory(folder), 0)


def test_the_pretended_device_knows_where_tensors_are() -> None:
    with PretendedCuda():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert there.device == CUDA and here.device.type == "cpu" and (there * 2)[1:].is_cuda
        with pytest.raises(AssertionError, match="one on the CPU"):
            there + here
        assert (there + here.to(there.device)).is_cuda and not (there.cpu() + here).is_cuda
        layer = nn.Linear(3, 2).to("cuda")
        layer(there).sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.is_cuda
        with pytest.raises(AssertionError, match="one on the CPU"):
            layer(here)


@pytest.mark.parametrize("method, time_dependent", [
    ("frami", False), ("frami", True), ("cmi", False), ("fastdfkd", True), ("adi", False), ("adi", True),
    ("noise", True),
])
def test_whole_runs(method: str, time_dependent: bool, tmp_path: Path) -> None:
    settings = recipe.load("quick" if method == "frami" else method, [
        *small_runs.VALUES, "inversion.steps=3", "distillation.finish.consensus=2", "distillation.finish.mix=0.5"])
    with PretendedCuda():
        work = run_of(tmp_path, small_runs.make_teacher(time_dependent), settings)
        student = work.run()
        verdict = work.verdict(student)
        assert student(torch.randn(2, 40, 51)).isfinite().all() and verdict.agreement >= 0
        assert math.isfinite(verdict.divergence)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_front_ends(front_end: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    card = TeacherCard(labels=("a", "b", "c", "d"), time_dependent=True, frontend=FRONT_ENDS[front_end],
                       clip=Clip(seconds=0.5, preparation="loop"))
    with PretendedCuda():
        run_of(tmp_path, Teacher(networks.build("wrn16", 4), card), small_runs.quick()).run()


def test_as_on_the_cpu(tmp_path: Path) -> None:
    """The device has code of its own where the CPU's would be slow there; the samples are the same."""
    there, here = (tmp_path / name for name in ("there", "here"))
    with PretendedCuda():
        ours = run_of(there, small_runs.make_teacher(time_dependent=False), small_runs.quick())
        ours.run()
    theirs = run_of(here, small_runs.make_teacher(time_dependent=False), small_runs.quick(), ON_CPU)
    theirs.run()
    assert torch.equal(ours.bank.whole().labels, theirs.bank.whole().labels)
    # Adam's first steps are signs of gradients, some of which are roundings
    assert (ours.bank.whole().log_mel.float() - theirs.bank.whole().log_mel.float()).abs().mean() < 0.02
    first, expected = (json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["synthesis"]
                       for folder in (there, here))
    assert first == pytest.approx(expected, rel=1e-3)


def test_interrupted_and_gone_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_free, "SECTION", 3)
    settings = small_runs.quick("distillation.finish.steps=7")

    def stop(progress: object) -> None:
        if getattr(progress, "phase", "") == "finish" and getattr(progress, "done", 0) == 5:
            raise KeyboardInterrupt

    with PretendedCuda():
        with pytest.raises(KeyboardInterrupt):
            run_of(tmp_path / "a", small_runs.make_teacher(), settings).run(stop)
        resumed = run_of(tmp_path / "a", small_runs.make_teacher(), settings)
        assert resumed.finish_steps == 3
        ours = resumed.run().state_dict()
        whole = run_of(tmp_path / "b", small_runs.make_teacher(), settings).run().state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in ours.items())


class Waveform(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(16000, n_mels=24, f_max=7600.0)
        self.to_db = torchaudio.transforms.AmplitudeToDB(top_db=70.0)
        self.behind = nn.Sequential(nn.Conv1d(24, 8, 3), nn.BatchNorm1d(8), nn.ReLU())
        self.last = nn.Linear(8, 3)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        return self.last(self.behind(self.to_db(self.mel(wave)).squeeze(1)).mean(2))


def test_a_front_end_inside_the_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    card = TeacherCard(labels=("a", "b", "c"), time_dependent=False, layout="waveform", clip=Clip(seconds=0.5))
    network, card = behind_front_end(Waveform().eval(), card)
    with PretendedCuda():
        run_of(tmp_path, Teacher(network, card), small_runs.quick()).run()


class Masked(nn.Module):
    """It has a constant, a buffer, and makes a tensor on the device of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)).relu() * torch.linspace(0.5, 1, 12, device=x.device).unsqueeze(1)
        return self.last(x.mean((2, 3))) * self.scale + torch.tensor([0.1, 0.2, 0.3]).to(x)


def test_an_exported_program(tmp_path: Path) -> None:
    torch.manual_seed(0)
    any_size = ({0: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(Masked().eval(), (torch.randn(2, 1, 12, 51),), dynamic_shapes=any_size),
                      tmp_path / "teacher.pt2")
    card = TeacherCard(labels=("a", "b", "c"), time_dependent=True, clip=Clip(seconds=0.5), frontend=MelSpec(n_mels=12))
    (tmp_path / "teacher.toml").write_text(card.to_toml())
    opened = open_teacher(tmp_path / "teacher.pt2")
    with PretendedCuda():
        run_of(tmp_path / "run", opened.teacher, small_runs.quick()).run()


class KeepsBack(nn.Module):
    """It has a tensor that PyTorch does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 4)
        self.mean = torch.full((1, 1, 40, 1), -9.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.conv(x - self.mean)).relu().mean((2, 3)))


def test_what_does_not_go_along_is_told(tmp_path: Path) -> None:
    card = small_runs.make_teacher().card
    with PretendedCuda():
        for network in (Teacher(KeepsBack(), card), OwnNetwork(KeepsBack(), 4, 40)):
            with pytest.raises(FramiError, match="does not go along to cuda:0.*on the same device") as raised:
                ON_CUDA.place(network)
            assert "register_buffer" in raised.value.hint and "--device cpu" in raised.value.hint
        assert network.training  # as a student is


def test_networks_that_are_on_the_device_already(tmp_path: Path) -> None:
    """As one has them after training, and as code of vendors may build them."""
    card = small_runs.make_teacher().card
    with PretendedCuda():
        taught = Teacher(networks.build("wrn16", 4).to("cuda"), card)
        assert taught(torch.randn(2, 40, 51)).device.type == "cpu"
        student = OwnNetwork(networks.build("dscnn_s", 4).to("cuda"), 4, 40)
        assert ON_CUDA.place(student)(torch.randn(2, 40, 51, device="cuda")).is_cuda


@pytest.mark.parametrize("taught", [False, True])
def test_training(taught: bool) -> None:
    torch.manual_seed(0)
    lengths, labels = torch.full((24,), 25), torch.arange(24) % 4
    recordings = Recordings(torch.randn(24 * 25, 40) - 8, lengths.cumsum(0) - lengths, lengths, labels)
    teacher = small_runs.make_teacher() if taught else None
    card = small_runs.make_teacher().card
    with PretendedCuda():
        training = Training(networks.build("wrn16", 4), recordings, card,
                            Settings(epochs=2, batch_size=8, muon_lr=0.02, hard_weight=0.5), ON_CUDA, teacher)
        assert training.run()(torch.randn(2, 40, 25)).isfinite().all()
