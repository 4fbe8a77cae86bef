"""A student of the user's own: built by a file, distilled like any other, opened again only with that file."""

import hashlib
import json
from importlib import resources
from pathlib import Path

import pytest
import small
import torch
from torch import nn
from typer.testing import CliRunner

from frami_edge import checkpoints, networks
from frami_edge.card import TeacherCard
from frami_edge.cli.main import app
from frami_edge.compute import choose
from frami_edge.errors import FramiError
from frami_edge.exporters.onnx import export_onnx
from frami_edge.runtime import Classifier
from frami_edge.teacher.opening import open_teacher

CARD = TeacherCard(labels=("yes", "no", "neither"), time_dependent=True)
CODE = '''
from pathlib import Path
import torch.nn.functional as F
from torch import nn

Path(__file__).with_name("ran").touch()

class Mine(nn.Module):
    """A 1-D network: Mel bands are channels; the last activation and the pooling are functions."""

    def __init__(self, classes, n_mels):
        super().__init__()
        self.conv1 = nn.Conv1d(n_mels, 24, 5, padding=2)
        self.bn1 = nn.BatchNorm1d(24)
        self.conv2 = nn.Conv1d(24, 32, 5, 2, padding=2)
        self.bn2 = nn.BatchNorm1d(32)
        self.fc = nn.Linear(32, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x.squeeze(1))))
        return self.fc(F.relu(self.bn2(self.conv2(x))).mean(2))

def build(classes, n_mels):
    return Mine(classes, n_mels)

def flat(classes, n_mels):
    return nn.Sequential(nn.Flatten(1, 2), nn.Conv1d(n_mels, 4, 3), nn.Flatten(), nn.Linear(4 * 99, classes))

def strict(classes, n_mels):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

def ours(classes, n_mels):
    from frami_edge.networks.wrn import wide_resnet
    return wide_resnet(10, 1, classes, n_mels)

def viewed(classes, n_mels):
    class Viewed(nn.Module):
        """Works on contiguous tensors alone."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, 2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                                      nn.Conv2d(8, 8, 3, padding=1))
            self.fc = nn.Linear(8 * n_mels // 2, classes)

        def forward(self, x):
            x = self.conv(x)
            return self.fc(x.view(x.shape[0], -1, x.shape[3]).mean(2))

    return Viewed()

def many(classes, n_mels):
    return Mine(classes + 1, n_mels)

def squeezing(classes, n_mels):
    class Squeezing(Mine):
        def forward(self, x):
            return super().forward(x).squeeze()

    return Squeezing(classes, n_mels)

def picky(classes, n_mels):
    class Picky(Mine):
        def forward(self, x):
            if x.shape[-1] < 3:
                raise ValueError("at least 3 frames")
            return super().forward(x)

    return Picky(classes, n_mels)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(folder: Path) -> networks.Network:
    """student.pt beside my.py, whose BatchNorms have seen a batch."""
    torch.manual_seed(0)
    network = networks.build_student("my.py:build", 3, 40)
    network.train()(2 * torch.randn(16, 40, 60))
    checkpoints.save(folder / "student.pt", network, CARD, {})
    (folder / "ran").unlink()
    return network.eval()


def test_hidden_states_are_found(folder: Path) -> None:
    network = networks.build_student("my.py:build", 3, 40)
    assert network.training and network.features == 32 and network.name == "my.py:build"
    hidden = network.eval().forward_hidden(torch.randn(2, 40, 64))
    assert hidden.frames.shape == (2, 32, 32) and hidden.frames.min() == 0
    torch.testing.assert_close(hidden.frames.mean(2), hidden.pooled)
    torch.testing.assert_close(network.model.fc(hidden.pooled), hidden.logits)  # type: ignore[operator, union-attr]


def test_one_of_our_kind_is_taken_as_it_is(folder: Path) -> None:
    network = networks.build_student("my.py:ours", 3, 40)
    assert type(network) is networks.Network and network.name == "my.py:ours" and len(network.stages) == 4


def test_a_network_that_needs_contiguous_tensors(folder: Path) -> None:
    """The usual memory format is channels_last, in which ``view`` fails."""
    network = choose("cpu", "float32").place(networks.build_student("my.py:viewed", 3, 40))
    assert network(torch.randn(2, 40, 50)).shape == (2, 3)


def test_parameters_and_macs_by_hand(folder: Path) -> None:
    done = CliRunner().invoke(app, ["networks", "--student", "my.py:build", "--json"])
    row = next(row for row in json.loads(done.stdout) if row["name"] == "my.py:build")
    assert row["parameters"] == 40 * 24 * 5 + 24 + 48 + 24 * 32 * 5 + 32 + 64 + 32 * 10 + 10
    assert row["macs"] == 101 * 40 * 24 * 5 + 51 * 24 * 32 * 5 + 32 * 10


@pytest.mark.parametrize("kind,gates", [(nn.GRU, 3), (nn.LSTM, 4), (nn.RNN, 1)])
def test_macs_of_a_recurrent_layer(kind: type[nn.RNNBase], gates: int) -> None:
    """Each step multiplies with all weights of all gates once."""
    layers = nn.Sequential(nn.Flatten(1, 1), kind(50, 8, batch_first=True, bidirectional=True))
    assert networks.macs(layers, 7, 50) == 2 * 7 * gates * 8 * (50 + 8)


def test_macs_of_attention() -> None:
    """Projections, scores and sums over 7 x 7 pairs of frames, projection, two linear layers."""
    layer = nn.TransformerEncoderLayer(50, 2, 32, batch_first=True)
    assert networks.macs(layer, 7, 50) == 7 * 50 * 150 + 2 * 7 * 7 * 50 + 7 * 50 * 50 + 2 * 7 * 50 * 32


@pytest.mark.parametrize("wanted,message", [
    ("my.py:flat", "frames alone"), ("my.py:strict", "one frame"), ("my.py:picky", "one frame: at least 3 frames"),
    ("my.py:squeezing", "for one clip alone, which is what a device hears"),
    ("my.py:many", "4.* has 3 labels"), ("my.py:absent", "defines no 'absent'"),
    ("absent.py:build", "no file"), ("my:build", "names no network"),
])
def test_students_that_cannot_be(folder: Path, wanted: str, message: str) -> None:
    with pytest.raises(FramiError, match=message):
        networks.build_student(wanted, 3, 40)


def test_a_checkpoint_holds_no_code_and_runs_none(folder: Path) -> None:
    saved(folder)
    with pytest.raises(FramiError, match="not in the file, and was not run") as raised:
        checkpoints.load(folder / "student.pt")
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert digest in raised.value.problem and "--arch my.py:build" in raised.value.hint
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("options", [{"trust": True}, {"arch": "my.py:build"}])
def test_it_opens_when_the_user_says_so(folder: Path, options: dict) -> None:
    network, x = saved(folder), torch.randn(2, 40, 50)
    opened = checkpoints.load(folder / "student.pt", **options)
    torch.testing.assert_close(opened.network(x), network(x))
    assert opened.provenance["student_code"] == {"name": "my.py:build",
                                                 "sha256": hashlib.sha256(CODE.encode()).hexdigest()}
    torch.testing.assert_close(open_teacher(folder / "student.pt", **options).teacher(x), network(x))


def test_code_that_has_changed(folder: Path) -> None:
    """Not by --trust; by --arch where it still computes the same."""
    network, x = saved(folder), torch.randn(2, 40, 50)
    (folder / "my.py").write_text(CODE + "# a note\n")
    with pytest.raises(FramiError, match="has changed since") as raised:
        checkpoints.load(folder / "student.pt", trust=True)
    assert "--arch" in raised.value.hint and not (folder / "ran").exists()
    torch.testing.assert_close(checkpoints.load(folder / "student.pt", arch="my.py:build").network(x), network(x))
    (folder / "my.py").write_text(CODE.replace(".mean(2)", ".amax(2)"))
    with pytest.raises(FramiError, match="computes something else"):
        checkpoints.load(folder / "student.pt", arch="my.py:build")
    (folder / "my.py").write_text(CODE.replace("24, 32, 5, 2, padding=2", "24, 32, 7, 2, padding=3"))
    with pytest.raises(FramiError, match="do not fit"):
        checkpoints.load(folder / "student.pt", arch="my.py:build")


def test_export_with_parity(folder: Path) -> None:
    saved(folder)
    result = export_onnx(folder / "student.pt", folder / "student.onnx", arch="my.py:build")
    assert result.parity.passed
    assert Classifier(result.model).labels == CARD.labels


def test_distilled_as_a_user_types_it(folder: Path) -> None:
    (folder / "teacher.pt").write_bytes(resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes())
    done = CliRunner().invoke(app, ["distill", "teacher.pt", "--student", f"{folder / 'my.py'}:build", *small.OPTIONS])
    assert done.exit_code == 0, done.output
    made = checkpoints.load(folder / "student.pt", trust=True)
    assert made.provenance["student"] == "my.py:build" and made.network.classes == 10
    assert made.provenance["student_sha256"] == hashlib.sha256(CODE.encode()).hexdigest()
    assert str(folder) not in json.dumps(made.provenance)  # where files lie is nobody's business
