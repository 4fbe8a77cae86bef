"""Weights in half precision: what is stored, what is computed, what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frami_edge.errors import FramiError
from frami_edge.exporters.half import halve
from frami_edge.exporters.onnx import ExportResult, export_onnx
from frami_edge.runtime import golden, parity
from frami_edge.runtime.session import open_model, open_session


@pytest.fixture(scope="module")
def pair(student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportResult, ExportResult]:
    """The student in float32 and with its weights in half."""
    folder = tmp_path_factory.mktemp("half")
    return export_onnx(student, folder / "full.onnx"), export_onnx(student, folder / "half.onnx", half=True)


def test_weights_are_half_and_the_front_end_is_not(pair: tuple[ExportResult, ExportResult]) -> None:
    full, half = (onnx.load(result.model).graph for result in pair)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in full.initializer}
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.initializer}
    convolutions = [name for name in before if name.endswith("conv1.weight")]
    assert len(convolutions) > 3
    for name in convolutions:
        np.testing.assert_array_equal(after[f"{name}.half"], before[name].astype(np.float16))
    assert {name for name in before if name.startswith("dft.")} <= after.keys()
    assert pair[1].model.stat().st_size < 0.75 * pair[0].model.stat().st_size


def test_it_says_what_it_is_and_holds_parity(pair: tuple[ExportResult, ExportResult]) -> None:
    half = pair[1]
    assert open_model(half.model).session.get_modelmeta().custom_metadata_map["frami.precision"] == "float16"
    verdict = parity.check(half.model.read_bytes(), golden.read(half.golden), "half.onnx")
    assert verdict.passed and verdict.top1_agree == verdict.top1_n
    log_mel = next(stage for stage in verdict.stages if stage.stage == "log_mel")
    assert log_mel.max_abs < parity.TOLERANCE["log_mel"]


def test_the_logits_are_those_of_rounded_weights(pair: tuple[ExportResult, ExportResult]) -> None:
    wave = {"waveform": np.random.default_rng(0).uniform(-0.5, 0.5, (2, 9001)).astype(np.float32)}
    rounded = onnx.load(pair[0].model)
    stored = {tensor.name.removesuffix(".half") for tensor in onnx.load(pair[1].model).graph.initializer
              if tensor.name.endswith(".half")}
    for tensor in rounded.graph.initializer:
        if tensor.name in stored:
            value = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    expected = open_session(rounded.SerializeToString(), "rounded").run(None, wave)[0]
    found = open_session(pair[1].model.read_bytes(), "half").run(None, wave)[0]
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_a_weight_beyond_half_is_refused(pair: tuple[ExportResult, ExportResult]) -> None:
    graph = onnx.load(pair[0].model)
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("classifier.weight"))
    tensor.CopyFrom(numpy_helper.from_array(1e6 * np.ones_like(numpy_helper.to_array(tensor)), tensor.name))
    with pytest.raises(FramiError, match=r"classifier\.weight reaches 1e\+06"):
        halve(graph)


@pytest.mark.parametrize("damage", [np.zeros_like, lambda weights: np.roll(weights, 1, axis=0)])
def test_weights_that_change_the_answers_are_refused(student: Path, tmp_path: Path, damage,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Parity holds a smaller file to its own error, so what that error costs is bounded before."""
    from frami_edge.exporters import onnx as exporting

    def damaged(graph: onnx.ModelProto) -> onnx.ModelProto:
        halved = halve(graph)
        tensor = next(each for each in halved.graph.initializer if each.name == "model.network.classifier.weight.half")
        tensor.CopyFrom(numpy_helper.from_array(damage(numpy_helper.to_array(tensor)), tensor.name))
        return halved

    monkeypatch.setattr(exporting, "halve", damaged)
    with pytest.raises(FramiError, match="float16 weights change a probability by") as caught:
        export_onnx(student, tmp_path / "half.onnx", half=True)
    assert caught.value.exit_code == 1 and not list(tmp_path.iterdir())
