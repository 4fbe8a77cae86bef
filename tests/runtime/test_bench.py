"""The whole benchmark on the exported student."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frami_edge.runtime import bench, golden, report
from frami_edge.runtime.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_USAGE, FramiError


@pytest.fixture(scope="module")
def measured(exported) -> dict:
    settings = bench.Settings(threads=(1, 2), runs=25, warmup=2)
    return json.loads(json.dumps(bench.run([exported.model], settings), allow_nan=False))


def damaged(exported, folder: Path) -> Path:
    """The export with one bias moved by 0.1, beside its right golden vectors."""
    proto = onnx.load(exported.model)
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith("classifier.bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
    onnx.save(proto, folder / "student.onnx")
    shutil.copy(exported.golden, folder / "student.golden.npz")
    return folder / "student.onnx"


def test_the_report(measured: dict, exported) -> None:
    assert measured["passed"] is True
    assert bench.exit_code(measured) == EXIT_OK
    (model,) = measured["models"]
    assert model["file"] == "student.onnx"
    assert model["bytes"] == exported.model.stat().st_size
    assert model["parity"]["passed"] is True
    assert [run["threads"] for run in model["runs"]] == [1, 2]
    for run in model["runs"]:
        warm = run["warm"]
        assert run["clip_seconds"] == 0.5  # that of the training clips
        assert warm["n"] == 25
        assert 0 < warm["p50_ms"] <= warm["p90_ms"] <= warm["p95_ms"]
        assert "p99_ms" not in warm
        assert run["real_time_factor"] == pytest.approx(warm["p50_ms"] / 500)
        assert run["clips_per_second"] == pytest.approx(1000 / warm["mean_ms"])
        assert run["load_ms"] > 0
        assert run["cold_ms"] > 0
        assert run["peak_rss_mb"] > run["base_rss_mb"]


def test_the_report_as_text(measured: dict) -> None:
    text = report.bench_text(measured)
    assert "parity PASS: 18 golden vectors" in text
    assert "(100.0 %)" in text
    heading = next(line for line in text.splitlines() if "RTF" in line and "p50" in line)
    assert "p95" in heading
    assert "p99" not in heading
    assert sum(line.split()[:3] == ["student.onnx", "0.5", "s"] for line in text.splitlines()) == 2


def test_a_wrong_model_fails_and_is_not_measured(exported, tmp_path: Path) -> None:
    result = bench.run([exported.model, damaged(exported, tmp_path)], bench.Settings(runs=5))
    assert bench.exit_code(result) == EXIT_CHECK_FAILED
    assert [model["parity"]["passed"] for model in result["models"]] == [True, False]
    assert [model["runs"] for model in result["models"]] == [[], []]
    text = report.bench_text(result)
    assert "parity FAIL" in text
    assert "Not measured" in text


def test_golden_vectors_of_another_student(exported, tmp_path: Path) -> None:
    shutil.copy(exported.model, tmp_path / "student.onnx")
    other = golden.Golden("0" * 64, golden.read(exported.golden).vectors)
    (tmp_path / "student.golden.npz").write_bytes(other.to_bytes())
    with pytest.raises(FramiError, match="belongs to another student"):
        bench.run([tmp_path / "student.onnx"], bench.Settings())


def test_without_golden_vectors(exported, tmp_path: Path) -> None:
    shutil.copy(exported.model, tmp_path / "lonely.onnx")
    with pytest.raises(FramiError, match="no golden vectors"):
        bench.run([tmp_path / "lonely.onnx"], bench.Settings())
    result = bench.run([tmp_path / "lonely.onnx"], bench.Settings(parity=False, runs=3, warmup=0, seconds=0.1))
    assert result["models"][0]["parity"] is None
    assert result["models"][0]["runs"][0]["warm"]["n"] == 3
    assert "parity not checked" in report.bench_text(result)


@pytest.mark.parametrize("wrong", [
    {"threads": (0,)}, {"threads": ()}, {"runs": 0}, {"warmup": -1}, {"seconds": 0.0}, {"limit_seconds": 0.0}])
def test_impossible_settings_are_usage_errors(wrong: dict) -> None:
    with pytest.raises(FramiError) as caught:
        bench.Settings(**wrong)
    assert caught.value.exit_code == EXIT_USAGE


def test_thread_counts() -> None:
    assert bench.thread_counts("1,2,4") == (1, 2, 4)
    with pytest.raises(FramiError, match="--threads many"):
        bench.thread_counts("many")
