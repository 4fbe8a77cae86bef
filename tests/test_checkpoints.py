"""frami-edge checkpoints."""

from pathlib import Path

import pytest
import torch

from frami_edge import checkpoints, networks
from frami_edge.card import TeacherCard
from frami_edge.errors import FramiError

CARD = TeacherCard(architecture="model.py:build", labels=("a", "b", "c"), time_dependent=True, layout="BTF",
                   output="softmax")


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "student.pt"
    net = networks.build("wrn16", 3).eval()
    checkpoints.save(path, net, CARD, {"seed": 3, "verdict": {"agreement": 0.5}})
    opened = checkpoints.load(path)
    x = torch.randn(2, 40, 30)
    with torch.no_grad():
        torch.testing.assert_close(opened.network(x), net(x))
    assert not opened.network.training and opened.network.name == "wrn16"
    assert opened.provenance == {"seed": 3, "verdict": {"agreement": 0.5}}
    # the card now describes the student: our own layout and logits
    assert (opened.card.architecture, opened.card.layout, opened.card.output) == ("wrn16", "B1FT", "logits")
    assert opened.card.labels == CARD.labels


def test_half_precision_is_upcast(tmp_path: Path) -> None:
    path = tmp_path / "student.pt"
    checkpoints.save(path, networks.build("wrn16", 3), CARD, {})
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {key: value.half() if value.dim() > 1 else value
                             for key, value in content["state_dict"].items()}
    torch.save(content, path)
    assert all(parameter.dtype == torch.float32 for parameter in checkpoints.load(path).network.parameters())


@pytest.mark.parametrize("damage,message", [
    (lambda content: content.update(format="frami-edge/9"), "newer"),
    (lambda content: content.update(architecture="wrn61"), "no network"),
    (lambda content: content.update(classes=4), "damaged"),
    (lambda content: content.pop("card"), "damaged"),
    (lambda content: content["state_dict"].popitem(), "damaged"),
    (lambda content: content.pop("format"), "not a frami-edge checkpoint"),
])
def test_damage_is_told(tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "student.pt"
    checkpoints.save(path, networks.build("wrn16", 3), CARD, {})
    content = torch.load(path, weights_only=True)
    damage(content)
    torch.save(content, path)
    with pytest.raises(FramiError, match=message):
        checkpoints.load(path)


@pytest.mark.parametrize("size", [0, 10, 1000, 100_000])
def test_truncation_is_told(tmp_path: Path, size: int) -> None:
    path = tmp_path / "student.pt"
    checkpoints.save(path, networks.build("wrn16", 3), CARD, {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FramiError, match="cannot be read"):
        checkpoints.load(path)


def test_missing_file() -> None:
    with pytest.raises(FramiError, match="no file"):
        checkpoints.load(Path("nowhere.pt"))


def test_an_impossible_number_is_told_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoints.save(path, networks.build("dscnn_s", 3), CARD, {})
    content = torch.load(path, weights_only=True)
    for changed in ({"classes": 10**13}, {"n_mels": 0}):
        with pytest.raises(FramiError, match="damaged frami-edge checkpoint") as raised:
            checkpoints.restore(content | changed, path)
        assert "allocate" not in raised.value.problem
