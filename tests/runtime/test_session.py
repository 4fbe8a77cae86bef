"""Opening files: the good one, and every kind of bad one."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from frami_edge.runtime.errors import EXIT_CANNOT_RUN, FramiError
from frami_edge.runtime.graphs import with_outputs
from frami_edge.runtime.session import Model, open_model, open_session


def altered(model: Path, folder: Path, key: str, value: str | None) -> Path:
    """A copy of the model with one metadata entry replaced or removed."""
    proto = onnx.load(model)
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    entries.pop(key)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, entries if value is None else {**entries, key: value})
    onnx.save(proto, folder / "altered.onnx")
    return folder / "altered.onnx"


def test_metadata(exported) -> None:
    metadata = open_model(exported.model).metadata
    assert metadata.model_type == "wrn16"
    assert metadata.sample_rate == 16000
    assert metadata.labels == ("dog", "rain, light", "sea", "clock")
    assert metadata.clip == {"sample_rate": 16000, "seconds": 0.5, "preparation": "end-pad", "level": "peak"}
    assert metadata.frontend["n_fft"] == 512
    normalisation = metadata.frontend["normalisation"]
    assert (normalisation["kind"], normalisation["mean"], normalisation["std"]) == ("global", -6.0, 4.0)
    assert metadata.parity["passed"] is True
    assert len(metadata.provenance["student_sha256"]) == 64


def test_more_outputs_without_the_onnx_package(exported) -> None:
    content = exported.model.read_bytes()
    wave = {"waveform": np.random.default_rng(0).uniform(-1, 1, (2, 4000)).astype(np.float32)}
    session = open_session(with_outputs(content, ["log_mel", "pooled"]), "student.onnx")
    assert [output.name for output in session.get_outputs()] == ["logits", "log_mel", "pooled"]
    logits, log_mel, pooled = session.run(None, wave)
    assert log_mel.shape == (2, 40, 26)
    assert pooled.shape == (2, 1280)
    initializers = onnx.load(exported.model).graph.initializer
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in initializers}
    expected = pooled @ weights["model.network.classifier.weight"].T + weights["model.network.classifier.bias"]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(logits, open_session(content, "student.onnx").run(None, wave)[0], atol=1e-4)


@pytest.mark.parametrize(("content", "said"), [
    (None, "no file"),
    (b"", "is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
    (b"PK\x03\x04student.pt", "a checkpoint of PyTorch"),
    (b"RIFF\x00\x00\x00\x00WAVEfmt ", "cannot be opened as an ONNX model"),
])
def test_files_that_are_no_models(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FramiError) as caught:
        open_model(path)
    assert said in caught.value.problem
    assert str(path) in caught.value.problem
    assert caught.value.hint
    assert caught.value.exit_code == EXIT_CANNOT_RUN


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FramiError, match="no file"):
        open_model(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_model(exported, tmp_path: Path, share: float) -> None:
    content = exported.model.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FramiError, match=r"cannot be opened|metadata"):
        open_model(path)


@pytest.mark.parametrize(("key", "value", "said"), [
    ("frami.schema", None, "no frami-edge metadata"),
    ("frami.schema", "99", "schema 99"),
    ("frami.labels", None, "lacks the metadata frami.labels"),
    ("frami.clip", "{", "cannot be read"),
    ("sample_rate", "fast", "cannot be read"),
    ("frami.clip", "{}", "frami.clip lacks one of sample_rate"),
    ("frami.clip", "3", "frami.clip lacks"),
    ("frami.labels", '["dog"]', "1 names, and the model 4 classes"),
    ("frami.labels", '"dogs"', "no list of names"),
    ("frami.labels", "[" * 100_000, "cannot be read"),
    ("sample_rate", "0", "sample rates of 0 and 16000 Hz"),
    ("sample_rate", "44100", "sample rates of 44100 and 16000 Hz"),
    *(("frami.clip", json.dumps({"sample_rate": 16000, "seconds": seconds, "preparation": "crop"}), "clips of")
      for seconds in (0, -1, 1e18, math.nan)),
    ("frami.clip", '{"sample_rate": 16000, "seconds": 1, "preparation": "stretch"}', "preparation 'stretch'"),
    ("frami.provenance", "null", "frami.provenance is no table"),
    ("frami.parity", "[]", "is no table"),
])
def test_metadata_that_is_not_ours(exported, tmp_path: Path, key: str, value: str | None, said: str) -> None:
    with pytest.raises(FramiError, match=said):
        open_model(altered(exported.model, tmp_path, key, value))


def test_a_damaged_model_leaves_stdout_alone(exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of an operator whose name is no text ONNX Runtime would tell twice, and print."""
    (tmp_path / "damaged.onnx").write_bytes(exported.model.read_bytes().replace(b"Conv", b"\xa4onv"))
    with pytest.raises(FramiError, match="cannot be opened"):
        open_model(tmp_path / "damaged.onnx")
    assert capfd.readouterr().out == ""


def test_metadata_that_is_no_text(exported, tmp_path: Path) -> None:
    content = exported.model.read_bytes().replace(b"student_sha256", b"s\xd5udent_sha256")
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(FramiError, match="metadata that cannot be read"):
        open_model(tmp_path / "damaged.onnx")


def test_another_signature_is_refused(exported, tmp_path: Path) -> None:
    proto = onnx.load(exported.model)
    proto.graph.input[0].name = "audio"
    for node in proto.graph.node:
        node.input[:] = ["audio" if name == "waveform" else name for name in node.input]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(FramiError, match=r"takes \['audio'\]"):
        open_model(tmp_path / "other.onnx")


def test_a_model_gives_logits(exported) -> None:
    model = open_model(exported.model)
    assert isinstance(model, Model)
    assert model.logits(np.zeros((3, 100), np.float32)).shape == (3, 4)
