"""One exported student for all tests of the device side."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.exporters.onnx import export_onnx

LABELS = ("dog", "rain, light", "sea", "clock")  # a comma on purpose: lists in metadata must be JSON


class Exported(NamedTuple):
    checkpoint: Path
    model: Path
    golden: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A wrn16 with random weights, whose BatchNorms have seen a batch, and its ONNX file."""
    folder = tmp_path_factory.mktemp("exported")
    card = TeacherCard(
        labels=LABELS, time_dependent=False, clip=Clip(seconds=0.5, preparation="end-pad", level="peak"),
        frontend=MelSpec(n_fft=512, normalisation=Normalisation(kind="global", mean=-6.0, std=4.0)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.build("wrn16", len(LABELS), 40)
        network.train()(torch.randn(8, 40, 50))
        network.classifier.weight.data *= 20  # logits of the order of 10, as a trained student has
    checkpoints.save(folder / "student.pt", network, card, {"method": "none"})
    result = export_onnx(folder / "student.pt", folder / "student.onnx")
    return Exported(folder / "student.pt", result.model, result.golden)
