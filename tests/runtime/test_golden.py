"""Golden vectors to bytes and back."""

from pathlib import Path

import numpy as np
import pytest

from frami_edge.runtime import golden
from frami_edge.runtime.errors import FramiError
from frami_edge.runtime.golden import STAGES, Golden, Vector


def vector(name: str, samples: int, frames: int) -> Vector:
    random = np.random.default_rng(samples)
    wave = (random.integers(-32768, 32768, samples) / np.float32(32768)).astype(np.float32)
    stages = {"log_mel": random.standard_normal((3, frames)), "pooled": random.standard_normal(8),
              "logits": random.standard_normal(2)}
    return Vector(name, wave, stages, {stage: float(index) for index, stage in enumerate(STAGES)})


VECTORS = Golden("a" * 64, (vector("short", 1, 1), vector("two, with comma", 500, 4), vector("long", 70000, 438)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.golden.npz"
    path.write_bytes(VECTORS.to_bytes())
    read = golden.read(path)
    assert read.student_sha256 == "a" * 64
    assert [vector.name for vector in read.vectors] == ["short", "two, with comma", "long"]
    for mine, other in zip(VECTORS.vectors, read.vectors, strict=True):
        assert other.wave.dtype == np.float32
        np.testing.assert_array_equal(mine.wave, other.wave)
        np.testing.assert_array_equal(mine.stages["logits"], other.stages["logits"])
        for stage in ("log_mel", "pooled"):  # kept as float32
            np.testing.assert_allclose(mine.stages[stage], other.stages[stage], rtol=1e-7, atol=0)
        assert mine.float32_error == other.float32_error


def test_the_same_vectors_give_the_same_bytes() -> None:
    assert VECTORS.to_bytes() == VECTORS.to_bytes()


def test_beside_the_model() -> None:
    assert golden.path_beside(Path("a/student.onnx")) == Path("a/student.golden.npz")


def test_missing_vectors_say_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(FramiError) as caught:
        golden.read(tmp_path / "model.golden.npz")
    assert "frami-edge export" in caught.value.hint


def in_directory(content: bytes, offset: int, value: int) -> bytes:
    """A byte of the first entry of the archive's directory becomes another."""
    changed = bytearray(content)
    changed[content.index(b"PK\x01\x02") + offset] = value
    return bytes(changed)


@pytest.mark.parametrize("damage", [
    lambda content: b"",
    lambda content: b"not a zip archive",
    lambda content: content[: len(content) // 2],
    lambda content: content[:200] + bytes(300) + content[500:],
    lambda content: in_directory(content, 8, 1),  # "encrypted"
    lambda content: in_directory(content, 8, 32),  # "patched data"
    lambda content: in_directory(content, 10, 97),  # an unknown method of compression
    lambda content: in_directory(content, 6, 255),  # of a version that is not there yet
])
def test_damaged_vectors(tmp_path: Path, damage) -> None:
    path = tmp_path / "model.golden.npz"
    path.write_bytes(damage(VECTORS.to_bytes()))
    with pytest.raises(FramiError, match="cannot be read as golden vectors"):
        golden.read(path)


def test_an_array_or_nothing_at_all_is_no_golden_file(tmp_path: Path) -> None:
    """Without vectors every model would pass."""
    path = tmp_path / "model.golden.npz"
    with open(path, "wb") as handle:
        np.save(handle, np.zeros(3))
    with pytest.raises(FramiError, match="cannot be read as golden vectors"):
        golden.read(path)
    path.write_bytes(VECTORS.to_bytes())
    with np.load(path) as content:
        entries = dict(content)
    np.savez(path, **{**entries, "names": entries["names"][:0]})
    with pytest.raises(FramiError, match="holds none"):
        golden.read(path)
    np.savez(path, **{**entries, "logits": entries["logits"][:1]})
    with pytest.raises(FramiError, match="cannot be read as golden vectors"):
        golden.read(path)


@pytest.mark.parametrize(("change", "said"), [({"schema": np.int64(7)}, "schema 7"), ({"logits": None}, "logits")])
def test_another_schema(tmp_path: Path, change: dict, said: str) -> None:
    path = tmp_path / "model.golden.npz"
    path.write_bytes(VECTORS.to_bytes())
    with np.load(path) as content:
        entries = {**content, **change}
    np.savez(path, **{key: value for key, value in entries.items() if value is not None})
    with pytest.raises(FramiError, match=said):
        golden.read(path)
