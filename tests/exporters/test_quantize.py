"""int8: what is quantized, what it changes, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from frami_edge import checkpoints
from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.errors import FramiError
from frami_edge.exporters.onnx import ExportResult, Int8, export_onnx
from frami_edge.exporters.quantize import calibration_samples
from frami_edge.inversion.bank import Bank, Samples
from frami_edge.runtime import golden, parity
from frami_edge.runtime.golden import Golden
from frami_edge.runtime.report import parity_text
from frami_edge.runtime.session import open_model, open_session, session_options

TEACHER = "ab" * 32  # the one that the fixture's student says it had


def fill(run: Path, card: TeacherCard, teacher: str = TEACHER, count: int = 40) -> Path:
    """A run folder with a bank of sounds that rise and fall."""
    generator = torch.Generator().manual_seed(0)
    log_mel = 3 * torch.randn(count, card.frontend.n_mels, card.frames, generator=generator) - 6
    samples = Samples(log_mel, torch.arange(count) % card.classes, torch.zeros(count, 4))
    Bank(run / "bank", teacher, 1000).add(0, samples)
    return run


@pytest.fixture(scope="module")
def exported(student: Path, card: TeacherCard, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    folder = tmp_path_factory.mktemp("int8")
    return export_onnx(student, folder / "student.int8.onnx", int8=Int8(fill(folder / "run", card), 0.0))


def test_only_the_convolutions_of_the_network_are_int8(exported: ExportResult, student: Path) -> None:
    graph = onnx.load(exported.model).graph
    integers = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    assert len(integers) == sum("weight" in name for name in integers) > 10
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    quantized = [node for node in convolutions if makers.get(node.input[1], node).op_type == "DequantizeLinear"]
    assert len(convolutions) - len(quantized) == 1  # the DFT of the front-end
    gemm = next(node for node in graph.node if node.op_type == "Gemm")
    assert all(makers.get(name, gemm).op_type != "DequantizeLinear" for name in gemm.input)


def test_weights_leave_room_for_processors_that_add_in_int16(exported: ExportResult) -> None:
    """x86 without VNNI adds two products of an activation (255 at most) and a weight there: 2 * 255 * 64 < 2^15."""
    kernels = [numpy_helper.to_array(tensor) for tensor in onnx.load(exported.model).graph.initializer
               if tensor.data_type == onnx.TensorProto.INT8]
    assert all(np.abs(kernel.astype(int)).max() <= 64 for kernel in kernels if kernel.ndim > 1)
    assert max(np.abs(kernel.astype(int)).max() for kernel in kernels) >= 60  # and use it


def test_what_int8_costs_is_measured_without_this_machines_kernels(exported: ExportResult) -> None:
    """Otherwise a kernel that computes something else would be the device's tolerance."""
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact = open_session(exported.model.read_bytes(), "int8", options=options)
    for vector in golden.read(exported.golden).vectors:
        error = np.abs(exact.run(["logits"], {"waveform": vector.wave[None]})[0][0] - vector.stages["logits"]).max()
        assert vector.float32_error["logits"] == pytest.approx(max(error, 1e-12), rel=1e-4, abs=1e-5)


def test_the_file_is_smaller_and_says_what_it_is(exported: ExportResult, student: Path, tmp_path: Path) -> None:
    float32 = export_onnx(student, tmp_path / "student.onnx")
    assert exported.model.stat().st_size < 0.75 * float32.model.stat().st_size
    assert float32.drift is None and exported.drift is not None
    found = open_model(exported.model).session.get_modelmeta().custom_metadata_map
    assert found["frami.precision"] == "int8" and '"agreement"' in found["frami.quantization"]


def test_parity_holds_the_device_to_what_was_measured_here(exported: ExportResult) -> None:
    content, vectors = exported.model.read_bytes(), golden.read(exported.golden)
    verdict = parity.check(content, vectors, "student.int8.onnx")
    assert verdict.passed and verdict.within_error == verdict.top1_n
    errors = {stage.stage: stage.max_abs for stage in verdict.stages}
    assert errors["log_mel"] < 1e-3  # the front-end is not quantized
    assert errors["logits"] > 1e-3  # the reference is still float64


def test_another_class_than_pytorchs_is_counted_as_one(exported: ExportResult) -> None:
    """Where int8's own error may put it first it is no failure of the device, but no agreement either."""
    content, vectors = exported.model.read_bytes(), golden.read(exported.golden)
    session = open_model(exported.model)
    strict = [int(session.logits(each.wave[None])[0].argmax()) == int(each.stages["logits"].argmax())
              for each in vectors.vectors]
    turned = replace(vectors.vectors[0], stages=vectors.vectors[0].stages | {
        "logits": session.logits(vectors.vectors[0].wave[None])[0][[1, 2, 0]].astype(np.float64)},
        float32_error=vectors.vectors[0].float32_error | {"logits": 1e3})
    assert strict[0]  # of the vector that is told another class now
    verdict = parity.check(content, Golden(vectors.student_sha256, (turned,)), "student.int8.onnx")
    assert verdict.passed and (verdict.top1_agree, verdict.within_error, verdict.top1_n) == (0, 1, 1)
    assert "top-1 agreement 0 of 1 (0.0 %), 1 more within what its own precision" in parity_text(verdict.as_dict())


@pytest.mark.parametrize("center", [True, False])
def test_a_crop_of_fewer_frames_than_its_clip_calibrates(center: bool, make_student, tmp_path: Path) -> None:
    card = TeacherCard(labels=("a", "b", "c"), time_dependent=False, clip=Clip(seconds=1.0, preparation="crop"),
                       frontend=MelSpec(n_mels=32, frames=50, center=center))
    student, run = make_student(tmp_path / "student.pt", card), fill(tmp_path / "run", card)
    made = export_onnx(student, tmp_path / "student.int8.onnx", int8=Int8(run, 0.0))
    assert made.parity.passed and made.drift is not None and made.drift.samples == 20


def test_a_damaged_scale_is_noticed(exported: ExportResult) -> None:
    model = onnx.load(exported.model)
    scale = next(tensor for tensor in model.graph.initializer if "weight_scale" in tensor.name)
    values = onnx.numpy_helper.to_array(scale) * 20
    scale.CopyFrom(onnx.numpy_helper.from_array(values, scale.name))
    assert not parity.check(model.SerializeToString(), golden.read(exported.golden), "damaged").passed


def test_batches_and_lengths_are_free(exported: ExportResult) -> None:
    model = open_model(exported.model)
    waves = 0.1 * np.random.default_rng(0).standard_normal((3, 7321)).astype(np.float32)
    together = model.logits(waves)
    alone = np.concatenate([model.logits(wave[None]) for wave in waves])
    assert together.shape == (3, 3)
    np.testing.assert_allclose(together, alone, atol=1e-3 * np.abs(alone).max())


def test_samples_are_normalised_as_the_card_says(student: Path, card: TeacherCard, tmp_path: Path) -> None:
    read = checkpoints.load(student)
    samples = calibration_samples(read, fill(tmp_path / "run", card))
    assert samples.shape == (40, card.frontend.n_mels, card.frames)
    normalisation = card.frontend.normalisation
    assert samples.mean() == pytest.approx((-6 - normalisation.mean) / normalisation.std, abs=0.05)


def test_what_is_refused(student: Path, card: TeacherCard, tmp_path: Path) -> None:
    out, told = tmp_path / "student.int8.onnx", list[str]()
    with pytest.raises(FramiError, match="no synthesized samples") as raised:
        export_onnx(student, out, int8=Int8(tmp_path / "nothing"), told=told.append)
    assert "--calibration" in raised.value.hint
    with pytest.raises(FramiError, match="another teacher"):
        export_onnx(student, out, int8=Int8(fill(tmp_path / "theirs", card, "cd" * 32)), told=told.append)
    with pytest.raises(FramiError, match="too few"):
        export_onnx(student, out, int8=Int8(fill(tmp_path / "one", card, count=1)), told=told.append)
    assert not told  # at once, not after the golden vectors and the graph
    with pytest.raises(FramiError, match="names another class") as raised:
        export_onnx(student, out, int8=Int8(fill(tmp_path / "run", card), least_agreement=1.01))
    assert raised.value.exit_code == 1
    assert not out.exists() and not golden.path_beside(out).exists()
