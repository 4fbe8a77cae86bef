"""Students to export."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, MelSpec, TeacherCard

MakeStudent = Callable[[Path, TeacherCard], Path]


@pytest.fixture(scope="session")
def card() -> TeacherCard:
    return TeacherCard(labels=("yes", "no", "\u72ac"), time_dependent=True, clip=Clip(preparation="center-pad"),
                       frontend=MelSpec(n_fft=512, n_mels=32))


@pytest.fixture(scope="session")
def make_student() -> MakeStudent:
    """Write a wrn16 with random weights, whose BatchNorms have seen a batch, and a provenance with local paths."""

    def make(path: Path, card: TeacherCard) -> Path:
        bands = card.frontend.rows
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = networks.build("wrn16", card.classes, bands)
            network.train()(3 * torch.randn(8, bands, 50))
        provenance = {"method": "frami", "teacher": "/home/someone/secret/teacher.pt", "teacher_sha256": "ab" * 32,
                      "seed": 3, "losses": [1.5, r"C:\Users\someone\run"]}
        checkpoints.save(path, network, card, provenance)
        return path

    return make


@pytest.fixture(scope="session")
def student(make_student: MakeStudent, card: TeacherCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_student(tmp_path_factory.mktemp("student") / "student.pt", card)
