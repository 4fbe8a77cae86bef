"""The exported file: what it computes, what it says, what it must not hold, and when it is not written."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from frami_edge import checkpoints
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.errors import EXIT_CHECK_FAILED, EXIT_USAGE, FramiError
from frami_edge.exporters import onnx as exporter
from frami_edge.exporters.onnx import ExportResult, export_onnx, without_paths
from frami_edge.files import sha256
from frami_edge.frontend import MelFrontend
from frami_edge.model import WaveformClassifier
from frami_edge.runtime import golden
from frami_edge.runtime.parity import TOLERANCE
from frami_edge.runtime.session import open_model


@pytest.fixture(scope="module")
def result(student: Path) -> ExportResult:
    return export_onnx(student, student.with_suffix(".onnx"))


@pytest.fixture(scope="module")
def session(result: ExportResult) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(result.model)


def classifier(checkpoint: Path) -> WaveformClassifier:
    loaded = checkpoints.load(checkpoint)
    return WaveformClassifier(MelFrontend.from_card(loaded.card), loaded.network).eval()


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
@pytest.mark.parametrize("samples", [0, 1, 200, 399, 400, 513, 16000, 16001, 24999])
def test_every_batch_and_length_gives_what_pytorch_gives(session, student: Path, batch: int, samples: int) -> None:
    wave = np.random.default_rng(samples).uniform(-0.5, 0.5, (batch, samples)).astype(np.float32)
    (logits,) = session.run(None, {"waveform": wave})
    with torch.no_grad():
        expected = classifier(student)(torch.from_numpy(wave)).numpy()
    assert logits.shape == (batch, 3)
    assert np.abs(logits - expected).max() < 1e-4
    assert (logits.argmax(1) == expected.argmax(1)).all()


def test_one_input_one_output_both_dynamic(session) -> None:
    (waveform,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (waveform.name, waveform.type, waveform.shape) == ("waveform", "tensor(float)", ["batch", "samples"])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 3])


def test_metadata(result: ExportResult, student: Path, card: TeacherCard) -> None:
    entries = {entry.key: entry.value for entry in onnx.load(result.model).metadata_props}
    assert entries["model_type"] == "wrn16"
    assert entries["version"] == "1"
    assert entries["sample_rate"] == "16000"
    assert "16000 Hz" in entries["comment"]
    assert entries["frami.schema"] == "1"
    assert entries["frami.labels"] == '["yes", "no", "\u72ac"]'  # readable without a JSON parser
    assert MelSpec.model_validate(json.loads(entries["frami.frontend"])) == card.frontend
    assert Clip.model_validate(json.loads(entries["frami.clip"])) == card.clip
    assert json.loads(entries["frami.parity"]) == result.parity.as_dict()
    provenance = json.loads(entries["frami.provenance"])
    assert provenance["student_sha256"] == sha256(student)
    assert provenance["teacher_sha256"] == "ab" * 32
    assert provenance["seed"] == 3


def test_no_local_paths(result: ExportResult, student: Path) -> None:
    content = result.model.read_bytes() + result.golden.read_bytes()
    places = (student.parent, Path(__file__).parents[2], Path(sys.prefix), Path(torch.__file__).parent, Path.home())
    for private in places:
        assert str(private).encode() not in content
    for word in (b".py", b"someone", b"site-packages", b"stack_trace"):
        assert word not in content


def test_one_file_whose_graph_names_its_stages(result: ExportResult) -> None:
    assert sorted(path.name for path in result.model.parent.iterdir()) == [
        "student.golden.npz", "student.onnx", "student.pt"]
    proto = onnx.load(result.model)
    values = {name for node in proto.graph.node for name in node.output}
    assert {"log_mel", "pooled", "logits"} <= values
    assert not {node.op_type for node in proto.graph.node} & {"STFT", "DFT"}
    assert [opset.version for opset in proto.opset_import] == [18]
    assert proto.ir_version == 8


def test_batch_norms_behind_a_convolution_are_folded_into_it(result: ExportResult, student: Path) -> None:
    graph = onnx.load(result.model).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    left = [node for node in graph.node if node.op_type == "BatchNormalization"]
    network = checkpoints.load(student).network
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()) == 13
    # a pre-activation block begins with one, behind the stem or a sum that the shortcut takes as well
    assert len(left) == 7
    assert sorted(makers[node.input[0]] for node in left) == ["Add"] * 6 + ["Conv"]


def test_the_same_checkpoint_gives_the_same_bytes(result: ExportResult, student: Path, tmp_path: Path) -> None:
    again = export_onnx(student, tmp_path / "student.onnx")
    assert again.model.read_bytes() == result.model.read_bytes()
    assert again.golden.read_bytes() == result.golden.read_bytes()


def test_golden_vectors_are_pytorch_in_float64(result: ExportResult, student: Path) -> None:
    vectors = golden.read(result.golden)
    assert vectors.student_sha256 == sha256(student)
    assert result.golden.stat().st_size < 2e6
    reference = classifier(student).double()
    for vector in vectors.vectors:
        wave = torch.from_numpy(vector.wave)[None].double()
        with torch.no_grad():
            log_mel = reference.frontend(wave)
            frames = torch.nn.Sequential(*reference.network.stages)(log_mel[:, None]).flatten(1, 2)
            pooled = torch.cat([frames.mean(2), (frames.var(2, correction=0) + 1e-5).sqrt()], 1)
            logits = reference.network.classifier(pooled)
        np.testing.assert_allclose(vector.stages["log_mel"], log_mel[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(vector.stages["pooled"], pooled[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(vector.stages["logits"], logits[0], rtol=1e-12, atol=1e-12)
        assert 0 <= vector.float32_error["logits"] < 1e-3


def test_logits_keep_the_plain_promise(result: ExportResult) -> None:
    logits = result.parity.stages[2]
    assert logits.stage == "logits"
    assert logits.max_abs < TOLERANCE["logits"] == 1e-4


@pytest.mark.parametrize(("frontend", "clip", "opset"), [
    (MelSpec(center=False, power=1.0, log="log10", n_mels=24, hop_length=150, frames=60), Clip(level="peak"), 20),
    (MelSpec(n_fft=1024, win_length=1000, hop_length=441, pad_mode="constant", mel_scale="slaney", mel_norm="slaney",
             log="db", log_offset=1e-10, f_max=16000.0,
             normalisation=Normalisation(kind="global", mean=-40.0, std=20.0)),
     Clip(sample_rate=44100, seconds=5.0, preparation="loop"), 18),
    (MelSpec(kind="mfcc", n_mfcc=24, window="hamming", preemphasis=0.97, log="db", log_offset=1e-10,
             log_offset_by="clamping", top_db=80.0, normalisation=Normalisation(kind="cmvn")), Clip(), 18),
])
def test_other_front_ends(make_student, tmp_path: Path, frontend: MelSpec, clip: Clip, opset: int) -> None:
    card = TeacherCard(labels=("a", "b"), time_dependent=False, clip=clip, frontend=frontend)
    path = make_student(tmp_path / "other.pt", card)
    exported = export_onnx(path, tmp_path / "other.onnx", opset=opset)
    assert exported.parity.passed
    model = open_model(exported.model)
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (3, clip.sample_rate)).astype(np.float32)
    with torch.no_grad():
        expected = classifier(path)(torch.from_numpy(wave)).numpy()
    np.testing.assert_allclose(model.logits(wave), expected, atol=1e-4)


def test_nothing_is_written_where_parity_fails(student: Path, tmp_path: Path, result, monkeypatch) -> None:
    def wrong_graph(model: WaveformClassifier, opset: int) -> onnx.ModelProto:
        proto = onnx.load(result.model)
        bias = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith("classifier.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
        return proto

    monkeypatch.setattr(exporter, "build_graph", wrong_graph)
    (tmp_path / "student.onnx").write_bytes(b"the old one")
    with pytest.raises(FramiError) as caught:
        export_onnx(student, tmp_path / "student.onnx", force=True)
    assert caught.value.exit_code == EXIT_CHECK_FAILED
    assert "FAIL" in caught.value.problem
    assert [path.name for path in tmp_path.iterdir()] == ["student.onnx"]
    assert (tmp_path / "student.onnx").read_bytes() == b"the old one"


@pytest.mark.parametrize("existing", ["student.onnx", "student.golden.npz"])
def test_existing_files_are_kept(student: Path, tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_bytes(b"mine")
    with pytest.raises(FramiError, match="exists already") as caught:
        export_onnx(student, tmp_path / "student.onnx")
    assert caught.value.exit_code == EXIT_USAGE
    assert (tmp_path / existing).read_bytes() == b"mine"


@pytest.mark.parametrize("opset", [17, 24])
def test_opsets_that_the_exporter_would_silently_change(student: Path, tmp_path: Path, opset: int) -> None:
    with pytest.raises(FramiError, match=f"Opset {opset}"):
        export_onnx(student, tmp_path / "student.onnx", opset=opset)


def test_weights_that_are_nan_are_refused(student: Path, tmp_path: Path) -> None:
    loaded = checkpoints.load(student)
    loaded.network.classifier.bias.data[0] = torch.nan
    checkpoints.save(tmp_path / "broken.pt", loaded.network, loaded.card, {})
    with pytest.raises(FramiError, match="NaN or infinity"):
        export_onnx(tmp_path / "broken.pt", tmp_path / "broken.onnx")
    assert not (tmp_path / "broken.onnx").exists()


def test_only_absolute_paths_are_cut() -> None:
    assert without_paths({"a": "/x/y.pt", "b": ["KL/T", r"D:\x\y.pt", 1, None], "c": {"d": "runs/a"}}) == {
        "a": "y.pt", "b": ["KL/T", "y.pt", 1, None], "c": {"d": "runs/a"}}
