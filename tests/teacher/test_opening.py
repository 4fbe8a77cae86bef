"""A teacher is opened from what a vendor ships, and its code runs only when the user says so."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.errors import FramiError
from frami_edge.teacher.opening import open_teacher

CARD = TeacherCard(architecture="model.py:build", labels=("cat", "dog", "rain"), time_dependent=False)
MODEL = """
from pathlib import Path
from torch import nn
from layers import CLASSES

Path(__file__).with_name("ran").touch()

class Pooled(nn.Module):
    def forward(self, x):
        return x.mean(-1).flatten(1)

def build():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Pooled(),
                         nn.Linear(4 * 40, CLASSES))

def build_nothing():
    return {"layers": 5}

def build_sized(classes):
    return nn.Linear(1, classes)
"""


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A folder as a vendor ships it: teacher.pt, teacher.toml, model.py and what that imports."""
    folder = tmp_path / "vendor"
    folder.mkdir()
    (folder / "layers.py").write_text("CLASSES = 3\n")
    (folder / "model.py").write_text(MODEL)
    (folder / "teacher.toml").write_text(CARD.to_toml())
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Identity(), nn.Linear(4 * 40, 3)
    torch.save(nn.Sequential(*layers).state_dict(), folder / "teacher.pt")
    return folder


def test_code_that_the_card_names_is_refused_with_its_checksum(vendor: Path) -> None:
    with pytest.raises(FramiError, match="model.py:build") as raised:
        open_teacher(vendor / "teacher.pt")
    assert hashlib.sha256(MODEL.encode()).hexdigest() in raised.value.problem
    assert "--trust" in raised.value.hint and not (vendor / "ran").exists()


@pytest.mark.parametrize("options", [{"trust": True}, {"arch": "model.py:build"}])
def test_code_runs_when_the_user_says_so(vendor: Path, options: dict) -> None:
    opened = open_teacher(vendor / "teacher.pt", **options)
    weights = torch.load(vendor / "teacher.pt", weights_only=True)
    assert (vendor / "ran").exists() and opened.card == CARD
    assert torch.equal(opened.teacher.net[4].weight, weights["4.weight"])  # type: ignore[index, union-attr]
    assert opened.sha256 == hashlib.sha256((vendor / "teacher.pt").read_bytes()).hexdigest()
    assert opened.teacher(torch.zeros(2, 40, 50)).shape == (2, 3)
    assert opened.source == "state_dict in model.py:build"  # results keep it, and no folder of anyone's with it


@pytest.mark.parametrize("arch,message", [
    ("absent.py:build", "There is no file .*absent.py"),
    ("model.py:create", "defines no 'create'"),
    ("model.py:build_nothing", "returned dict, not a torch.nn.Module"),
    ("model.py:build_sized", "failed: TypeError: .*classes"),
    ("model:build", "names no network"),
    ("wrn-16", "no network 'wrn-16'"),
])
def test_architectures_that_cannot_be_built(vendor: Path, arch: str, message: str) -> None:
    with pytest.raises(FramiError, match=message):
        open_teacher(vendor / "teacher.pt", arch=arch)


def test_the_nearest_network_is_named(vendor: Path) -> None:
    with pytest.raises(FramiError) as raised:
        open_teacher(vendor / "teacher.pt", arch="wrn61")
    assert "'wrn16'" in raised.value.hint


def test_weights_of_a_registered_network_run_no_code(tmp_path: Path) -> None:
    network = networks.build("wrn16", 3)
    torch.save({"epoch": 7, "model": {f"module.{key}": value for key, value in network.state_dict().items()}},
               tmp_path / "teacher.pt")
    (tmp_path / "teacher.toml").write_text(CARD.model_copy(update={"architecture": "wrn16"}).to_toml())
    opened = open_teacher(tmp_path / "teacher.pt")
    x = torch.randn(2, 40, 60)
    torch.testing.assert_close(opened.teacher(x), network.eval()(x))
    assert opened.source == "state_dict 'model' in wrn16"


def test_a_frami_edge_checkpoint_needs_nothing_beside_it(tmp_path: Path) -> None:
    network = networks.build("wrn16", 3).eval()
    checkpoints.save(tmp_path / "a.pt", network, CARD, {})
    opened = open_teacher(tmp_path / "a.pt")
    x = torch.randn(2, 40, 60)
    torch.testing.assert_close(opened.teacher(x), network(x))
    assert opened.card.labels == CARD.labels and opened.card.architecture == "wrn16"


def test_the_card_is_found_beside_the_file_or_where_the_user_says(vendor: Path, tmp_path: Path) -> None:
    (vendor / "teacher.toml").rename(tmp_path / "card.toml")
    with pytest.raises(FramiError, match="teacher.pt has no card: neither .*teacher.toml exists") as raised:
        open_teacher(vendor / "teacher.pt", trust=True)
    assert "--card" in raised.value.hint
    assert open_teacher(vendor / "teacher.pt", card=tmp_path / "card.toml", trust=True).card == CARD


def test_a_card_with_other_labels_is_told(vendor: Path) -> None:
    (vendor / "teacher.toml").write_text(CARD.model_copy(update={"labels": ("cat", "dog")}).to_toml())
    with pytest.raises(FramiError, match="2 labels"):
        open_teacher(vendor / "teacher.pt", trust=True)


def test_a_whole_network_is_taken_with_trust(tmp_path: Path) -> None:
    network = networks.build("wrn16", 3).eval()
    torch.save(network, tmp_path / "teacher.pt")
    (tmp_path / "teacher.toml").write_text(CARD.to_toml())
    with pytest.raises(FramiError, match="without running code"):
        open_teacher(tmp_path / "teacher.pt")
    x = torch.randn(2, 40, 60)
    torch.testing.assert_close(open_teacher(tmp_path / "teacher.pt", trust=True).teacher(x), network(x))


def test_the_documented_card_shows_the_defaults() -> None:
    page = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
    documented = TeacherCard.parse(tomllib.loads(page.split("```toml")[1].split("```")[0]), "docs/teachers.md")
    assert documented == CARD
    assert documented.model_fields_set == TeacherCard.model_fields.keys()
    assert documented.frontend.model_fields_set == MelSpec.model_fields.keys()
    assert documented.frontend.normalisation.model_fields_set == Normalisation.model_fields.keys()
    assert documented.clip.model_fields_set == Clip.model_fields.keys()


@pytest.mark.parametrize("name,labels", [("digits", 10), ("esc10", 10)])
def test_the_vendors_teachers(vendor_teachers: Path, name: str, labels: int) -> None:
    opened = open_teacher(vendor_teachers / name / "teacher.pt", trust=True)
    assert opened.card.classes == labels and len(opened.teacher.batch_norms()) == 37
    assert opened.teacher(torch.zeros(1, 40, 100)).shape == (1, labels)
