"""The whole benchmark on the exported student."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frami_edge.runtime import bench, device, gates, golden, report
from frami_edge.runtime.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_USAGE, FramiError


@pytest.fixture(scope="module")
def measured(exported) -> dict:
    settings = bench.Settings(threads=(1, 2), runs=40, warmup=2, profile=True)
    return json.loads(json.dumps(bench.run([exported.model], settings), allow_nan=False))


def text_of(result: dict) -> str:
    return report.as_text(report.bench_sections(result))


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
        assert warm["n"] == 40
        low, high = warm["p50_interval_ms"]
        assert low <= warm["p50_ms"] <= high
        assert len(warm["over_time_ms"]) == 10
        assert 0 < warm["p50_ms"] <= warm["p90_ms"] <= warm["p95_ms"]
        assert "p99_ms" not in warm
        assert run["real_time_factor"] == pytest.approx(warm["p50_ms"] / 500)
        assert run["clips_per_second"] == pytest.approx(1000 / warm["mean_ms"])
        assert run["load_ms"] > 0
        assert run["cold_ms"] > 0
        assert run["peak_rss_mb"] > run["base_rss_mb"]
        assert 0 < run["frontend_share"] < 0.9
        assert run["frontend_ms"] == pytest.approx(run["frontend_share"] * warm["p50_ms"])
        assert run["share_of_gemm"] == pytest.approx(run["gmacs_per_second"] / run["gemm_gmacs_per_second"])
        assert run["gmacs_per_second"] == pytest.approx(run["macs"] / warm["p50_ms"] / 1e6)
    first, second = model["runs"]
    assert first["times_as_fast_as_first"] == 1
    low, high = second["times_as_fast_interval"]
    assert low <= second["times_as_fast_as_first"] == first["warm"]["p50_ms"] / second["warm"]["p50_ms"] <= high
    assert measured["gates"] == []


def test_the_report_as_text(measured: dict) -> None:
    text = text_of(measured)
    assert "parity PASS: 18 golden vectors" in text
    assert "(100.0 %)" in text
    heading = next(line for line in text.splitlines() if "RTF" in line and "p50" in line)
    assert "p95" in heading
    assert "p99" not in heading
    assert sum(line.split()[:3] == ["student.onnx", "0.5", "s"] for line in text.splitlines()) == 2 * 2  # two tables


def test_a_wrong_model_fails_and_is_not_measured(exported, tmp_path: Path) -> None:
    result = bench.run([exported.model, damaged(exported, tmp_path)], bench.Settings(runs=5))
    assert bench.exit_code(result) == EXIT_CHECK_FAILED
    assert [model["parity"]["passed"] for model in result["models"]] == [True, False]
    assert [model["runs"] for model in result["models"]] == [[], []]
    text = text_of(result)
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
    assert "parity not checked" in text_of(result)


def test_several_models_and_a_profile_as_text_and_markdown(measured: dict) -> None:
    text = text_of(measured)
    assert "student.onnx, 2 threads: kinds of operators" in text
    profile = measured["models"][0]["runs"][0]["profile"]
    # the optimised graph pads channels, and computes BatchNorms as convolutions of one tap
    assert sum(node["macs"] for node in profile) >= measured["models"][0]["runs"][0]["macs"]
    convolutions = [node for node in profile if "Conv" in node["op"]]
    assert sum(node["ms"] for node in convolutions) > sum(node["ms"] for node in profile) / 2
    markdown = report.as_markdown(report.bench_sections(measured))
    tables = [line for line in markdown.splitlines() if line.startswith("|---|")]
    assert len(tables) == 1 + 1 + 1 + 2 * 2  # parity, latency, work, and two of each profile
    for line in markdown.splitlines():
        if line.startswith("|---|"):
            columns = line.count("|")
        elif line.startswith("| student.onnx"):
            assert line.count("|") == columns


def test_a_slower_device_is_said(measured: dict) -> None:
    hot = json.loads(json.dumps(measured))
    first, second = (run["warm"] for run in hot["models"][0]["runs"])
    first["drift"], second["drift"] = 1.4, 1.0  # what this machine really did is no part of the question
    hot["device"]["temperature_c"], hot["device_after"]["temperature_c"] = 41.0, 86.0
    assert "1.40 times as long as the first" in text_of(hot)
    assert "41 to 86 degrees C" in text_of(hot)
    first["drift"] = 1.0
    assert "Slowed down" not in text_of(hot)


def test_gates_decide_the_exit_code(exported, measured: dict) -> None:
    def judged(limits: gates.Limits) -> dict:
        return bench.run([exported.model], bench.Settings(runs=20, warmup=1, parity=False), limits=limits)

    good = judged(gates.Limits(p95_ms=1e4, rss_mb=1e4, baseline=measured, regression=100))
    assert bench.exit_code(good) == EXIT_OK
    assert [verdict["gate"] for verdict in good["gates"]] == ["--max-p95-ms", "--max-rss-mb", "--max-regression"]
    bad = judged(gates.Limits(p95_ms=1e-4, rss_mb=1e4))
    assert bench.exit_code(bad) == EXIT_CHECK_FAILED
    assert [verdict["passed"] for verdict in bad["gates"]] == [False, True]
    assert "FAIL" in text_of(bad)


def test_as_many_calls_as_the_time_allows(exported) -> None:
    settings = bench.settings_of(threads="1", seconds=0.1, runs=None, warmup=1, limit=None, duration=0.5,
                                 no_parity=True, profile=False)
    assert bench.run([exported.model], settings)["models"][0]["runs"][0]["warm"]["n"] > 5
    with pytest.raises(FramiError, match="one or the other"):
        bench.settings_of(threads="1", seconds=None, runs=5, warmup=1, limit=None, duration=1.0, no_parity=True,
                          profile=False)


@pytest.mark.parametrize("wrong", [
    {"threads": (0,)}, {"threads": ()}, {"runs": 0}, {"warmup": -1}, {"seconds": 0.0}, {"limit_seconds": 0.0},
    {"seconds": math.nan}, {"seconds": math.inf}])
def test_impossible_settings_are_usage_errors(wrong: dict) -> None:
    with pytest.raises(FramiError) as caught:
        bench.Settings(**wrong)
    assert caught.value.exit_code == EXIT_USAGE


def test_models_of_one_file_name_are_told_apart() -> None:
    """student.onnx is the name that the tool itself gives; gates and comparisons go by names."""
    assert bench.names_of([Path("a/student.onnx"), Path("b/student.onnx"), Path("c/other.onnx")]) == [
        "a/student.onnx", "b/student.onnx", "other.onnx"]
    with pytest.raises(FramiError, match="named twice"):
        bench.names_of([Path("student.onnx"), Path("./student.onnx")])


def test_thread_counts() -> None:
    assert bench.thread_counts("1,2,4") == (1, 2, 4)
    sweep = bench.thread_counts("sweep")
    assert sweep[0] == 1
    assert sweep[-1] == device.usable_cores()
    with pytest.raises(FramiError, match="--threads many"):
        bench.thread_counts("many")
