"""The networks for devices: as many parameters as their papers give, and what the rest of the program asks of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from frami_edge import checkpoints, networks
from frami_edge.card import TeacherCard
from frami_edge.compute import choose
from frami_edge.distillation.distiller import Distiller
from frami_edge.exporters.onnx import export_onnx
from frami_edge.networks.bcresnet import SubSpectralNorm
from frami_edge.networks.mobilenet import mobilenet, rounded
from frami_edge.recipe import load
from frami_edge.teacher.taps import Teacher

CARD = TeacherCard(labels=("yes", "no", "neither"), time_dependent=True)


@pytest.mark.parametrize("name,thousands", [("bcresnet1", 9.2), ("bcresnet2", 27.3), ("bcresnet3", 54.2),
                                            ("bcresnet8", 321)])
def test_bcresnet_has_the_papers_parameters(name: str, thousands: float) -> None:
    """Kim et al. 2021, Table 2; without the weights for the deviation over time, which is ours."""
    network = networks.build(name, 12)
    deviation = 12 * network.features
    assert networks.parameters(network) - deviation == pytest.approx(1000 * thousands, rel=0.005)


@pytest.mark.parametrize("name,kilobytes,activations", [
    ("dscnn_s", 38.6, 2 * 25 * 5 * 64), ("dscnn_m", 189.2, (25 * 10 + 13 * 5) * 172),
    ("dscnn_l", 497.6, (25 * 10 + 13 * 5) * 276),
])
def test_dscnn_has_the_papers_memory(name: str, kilobytes: float, activations: int) -> None:
    """Zhang et al. 2017, Table 5: 8-bit weights, BatchNorm folded, and the two largest maps in a row."""
    network = networks.build(name, 12)
    kernels = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Conv2d))
    biases = sum(layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    classifier = 12 * network.features + 12
    assert (kernels + biases + classifier + activations) / 1000 == pytest.approx(kilobytes, abs=0.05)


@pytest.mark.parametrize("width,hidden,millions,giga", [(0.4, 512, 0.98, 0.11), (0.5, 640, 1.43, 0.16),
                                                        (1.0, 1280, 4.88, 0.54)])
def test_mobilenet_has_the_parameters_and_macs_of_efficientat(width: float, hidden: int, millions: float,
                                                              giga: float) -> None:
    """Schmid et al. 2022: 527 classes behind a hidden layer, strides of 2 throughout, 128 bands of 1000 frames."""
    network = mobilenet(width, 527, 128, time_strides=(2, 2, 2, 2, 2))
    blocks = networks.parameters(network) - networks.parameters(network.classifier)
    classifier = network.features * hidden + hidden + hidden * 527 + 527
    assert (blocks + classifier) / 1e6 == pytest.approx(millions, abs=0.005)
    assert networks.macs(network, 128, 1000) / 1e9 == pytest.approx(giga, abs=0.005)


@pytest.mark.parametrize("channels,expected", [(16, 16), (7.9, 8), (3, 8), (36, 40), (11, 16), (18.9, 24)])
def test_channels_are_rounded_to_eight_and_never_far_down(channels: float, expected: int) -> None:
    assert rounded(channels) == expected
    assert rounded(channels) >= 0.9 * channels


def test_macs_of_bcresnet_are_within_the_papers() -> None:
    assert networks.macs(networks.build("bcresnet8", 12)) / 1e6 == pytest.approx(89.1, rel=0.05)
    assert networks.macs(networks.build("bcresnet1", 12)) / 1e6 < 3.6


def test_sub_bands_have_their_own_statistics() -> None:
    """Each of five groups of bands, far apart in level, comes out with mean 0 and variance 1."""
    x = torch.randn(16, 3, 10, 50) + 100 * torch.arange(10).div(2, rounding_mode="floor")[:, None]
    y = SubSpectralNorm(3, 10).train()(x)
    groups = y.unflatten(2, (5, 2))
    torch.testing.assert_close(groups.mean((0, 3, 4)), torch.zeros(3, 5), rtol=0, atol=1e-4)
    torch.testing.assert_close(groups.var((0, 3, 4), correction=0), torch.ones(3, 5), rtol=0, atol=1e-3)
    plain = nn.BatchNorm2d(3)(x).unflatten(2, (5, 2))
    assert plain.mean((0, 3, 4)).abs().max() > 1  # one BatchNorm for all bands leaves them apart


@pytest.mark.parametrize("mels,groups", [(40, 5), (32, 4), (6, 3), (7, 1), (1, 1)])
def test_bands_that_do_not_divide_by_five(mels: int, groups: int) -> None:
    norm = SubSpectralNorm(2, mels)
    assert norm.groups == groups and norm(torch.randn(2, 2, mels, 3)).shape == (2, 2, mels, 3)


def test_bcresnet_keeps_every_frame() -> None:
    assert networks.build("bcresnet1", 3).eval().forward_hidden(torch.randn(2, 40, 77)).frames.shape == (2, 32, 77)


@pytest.mark.parametrize("name", ["bcresnet1", "dscnn_s", "mn02"])
def test_both_reuse_losses_teach(name: str) -> None:
    """A few steps on one batch lower every loss."""
    torch.manual_seed(0)
    teacher = Teacher(networks.build("wrn16", 3), CARD)
    settings = load("quick").distillation
    phase = settings.alternate.model_copy(update={"lr": 0.02})
    distiller = Distiller(teacher, networks.build(name, 3), settings, phase, 20, choose("cpu", "float32"))
    lesson = distiller.ask(torch.randn(8, 40, 101))
    told = [distiller.learn(lesson) for _ in range(20)]
    assert set(told[0]) == {"kd", "frame_reuse", "utterance_reuse", "agreement"}
    for loss in ("kd", "frame_reuse", "utterance_reuse"):
        early, late = (sum(losses[loss] for losses in part) for part in (told[:4], told[-4:]))
        assert late < early


@pytest.mark.parametrize("name", ["bcresnet1", "dscnn_s", "mn02"])
def test_export_with_parity(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = networks.build(name, 3)
    for _ in range(8):  # running statistics that are not those of a fresh network
        network.train()(3 * torch.randn(8, 40, 50) - 5)
    checkpoints.save(tmp_path / "student.pt", network, CARD, {})
    result = export_onnx(tmp_path / "student.pt", tmp_path / "student.onnx")
    assert result.parity.passed and result.model.stat().st_size < 1.5e6


def test_the_documented_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network is in docs/networks.md with its size and frames, and the example there is a student."""
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): [cell.strip() for cell in cells] for cells in
            (line.split("|") for line in page.splitlines() if line.startswith("| `"))}
    assert rows.keys() == set(networks.names())
    units = {"k": 1e3, "M": 1e6}
    for name, (_, _, _, parameters, macs, frames, *_) in rows.items():
        network = networks.build(name, 10).eval()
        for shown, counted in ((parameters, networks.parameters(network)), (macs, networks.macs(network))):
            number, unit = shown.split()
            assert float(number) * units[unit] == pytest.approx(counted, rel=0.05)
        assert network.forward_hidden(torch.zeros(1, 40, 101)).frames.shape[2] == int(frames)
    (tmp_path / "my.py").write_text(page.split("```python")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    assert networks.build_student("my.py:build", 3, 40).features == 64
