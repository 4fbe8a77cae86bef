"""ORT format: the same results, its operators, and the rest of the package taking it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from frami_edge.errors import EXIT_CHECK_FAILED, FramiError
from frami_edge.exporters import ort
from frami_edge.exporters.onnx import export_onnx
from frami_edge.runtime import Classifier, bench, report
from frami_edge.runtime.session import open_model


@pytest.fixture(scope="module")
def exported(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ort")
    export_onnx(student, folder / "student.onnx")
    ort.export_ort(folder / "student.onnx")
    return folder / "student.onnx"


def test_it_computes_the_same_with_the_same_metadata(exported: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 9001)
    first, second = (Classifier(exported.with_suffix(suffix)) for suffix in (".onnx", ".ort"))
    rate = open_model(exported).metadata.sample_rate
    assert open_model(exported).metadata == open_model(exported.with_suffix(".ort")).metadata
    for one, other in zip(first.predict(wave, rate), second.predict(wave, rate), strict=True):
        assert one[0] == other[0]
        assert one[1] == pytest.approx(other[1], abs=1e-4)


def test_the_operators_a_minimal_build_needs(exported: Path) -> None:
    lines = exported.with_suffix(ort.CONFIG_SUFFIX).read_text().splitlines()
    assert lines[0] == "# operators that student.ort needs"
    assert any(line.startswith("ai.onnx;") and "Conv" in line for line in lines)
    assert not any(str(exported.parent) in line for line in lines)


def test_the_benchmark_takes_it(exported: Path) -> None:
    result = bench.run([exported, exported.with_suffix(".ort")], bench.Settings(runs=12, warmup=1))
    assert result["passed"]
    checked = [[stage["stage"] for stage in model["parity"]["stages"]] for model in result["models"]]
    assert checked == [["log_mel", "pooled", "logits", "probabilities"], ["logits", "probabilities"]]
    assert result["models"][1]["runs"][0]["frontend_share"] is None
    assert "student.ort" in report.as_text(report.bench_sections(result))


def test_existing_files_are_kept(exported: Path) -> None:
    before = exported.with_suffix(".ort").read_bytes()
    with pytest.raises(FramiError, match="exists already"):
        ort.export_ort(exported)
    assert exported.with_suffix(".ort").read_bytes() == before
    ort.export_ort(exported, force=True)


def test_other_logits_write_nothing(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "student.onnx"
    copy.write_bytes(exported.read_bytes())
    (tmp_path / "student.golden.npz").write_bytes(exported.with_suffix(".golden.npz").read_bytes())
    monkeypatch.setattr(ort, "TOLERANCE", -1.0)
    with pytest.raises(FramiError, match="its logits differ") as caught:
        ort.export_ort(copy)
    assert caught.value.exit_code == EXIT_CHECK_FAILED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student.golden.npz", "student.onnx"]


def test_neither_do_logits_that_are_no_numbers(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = onnx.load(exported)
    weight = next(node for node in proto.graph.node if node.op_type == "Gemm").input[1]
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == weight)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), weight))
    onnx.save(proto, tmp_path / "broken.onnx")
    monkeypatch.setattr(ort, "_convert", lambda source, output, convert=ort._convert:
                        convert(tmp_path / "broken.onnx", output))
    copy = tmp_path / "student.onnx"
    copy.write_bytes(exported.read_bytes())
    (tmp_path / "student.golden.npz").write_bytes(exported.with_suffix(".golden.npz").read_bytes())
    with pytest.raises(FramiError, match="its logits differ"):
        ort.export_ort(copy)
    assert not (tmp_path / "student.ort").exists()
