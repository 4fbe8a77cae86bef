"""Limits, and what they are read from."""

import json
import math
from pathlib import Path

import pytest

from frami_edge.runtime import gates
from frami_edge.runtime.errors import EXIT_USAGE, FramiError
from frami_edge.runtime.gates import Limits


def model(median: float = 10.0, low: float | None = 9.8, file: str = "a.onnx", **run) -> dict:
    warm = {"n": 100, "p50_ms": median, "p95_ms": 12.0, "p50_interval_ms": None if low is None else [low, median + 1]}
    return {"file": file, "sha256": "ab", "bytes": 3,
            "runs": [{"threads": 1, "clip_seconds": 1.0, "peak_rss_mb": 60.0, "warm": warm, **run}]}


def report(*models: dict) -> dict:
    return {"schema": 2, "device": {}, "models": list(models)}


def passed(limits: Limits, of: dict) -> list[bool]:
    return [verdict["passed"] for verdict in gates.check([of], limits)]


def test_no_limits_no_verdicts() -> None:
    assert gates.check([model()], gates.NO_LIMITS) == []


def test_limits_hold_where_they_are_met() -> None:
    assert passed(Limits(p95_ms=12.0, rss_mb=60.0), model()) == [True, True]
    assert passed(Limits(p95_ms=11.9, rss_mb=59.9), model()) == [False, False]


def test_unknown_memory_passes_no_gate() -> None:
    assert passed(Limits(rss_mb=1e9), model(peak_rss_mb=None)) == [False]


@pytest.mark.parametrize(("median", "low", "holds"), [
    (10.9, 10.7, True), (11.2, 10.9, True),  # noise may explain the latter
    (11.5, 11.1, False), (11.2, None, False), (5.0, 4.9, True)])
def test_a_regression_beyond_noise(median: float, low: float | None, holds: bool) -> None:
    assert passed(Limits(baseline=report(model(10.0)), regression=0.1), model(median, low)) == [holds]


def test_a_percentile_that_was_not_measured_passes_no_gate() -> None:
    """A slow device ends at --limit with few calls; its report is printed all the same."""
    few = model()
    few["runs"][0]["warm"] = {"n": 3, "p50_ms": 1.0, "p50_interval_ms": None}
    (verdict,) = gates.check([few], Limits(p95_ms=1.0))
    assert verdict["passed"] is False and verdict["value"] is None


@pytest.mark.parametrize("other", [model(file="b.onnx"), model(threads=2), model(clip_seconds=5.0)])
def test_a_baseline_of_something_else(other: dict) -> None:
    with pytest.raises(FramiError, match=r"baseline has no a\.onnx"):
        gates.check([model()], Limits(baseline=report(other)))


def test_what_cannot_be_judged_is_told_before_anything_is_measured() -> None:
    with pytest.raises(FramiError, match="19 calls carry no p95"):
        gates.refuse(Limits(p95_ms=1.0), "a.onnx", 1, 1.0, 19)
    with pytest.raises(FramiError, match=r"baseline has no b\.onnx"):
        gates.refuse(Limits(baseline=report(model())), "b.onnx", 1, 1.0, 200)
    gates.refuse(Limits(p95_ms=1.0, baseline=report(model())), "a.onnx", 1, 1.0, 20)


@pytest.mark.parametrize(("text", "value"), [("10%", 0.1), ("0.25", 0.25), ("0", 0.0), ("150%", 1.5)])
def test_shares(text: str, value: float) -> None:
    assert gates.fraction(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["ten", "-5%", "", "%", "nan", "inf"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(FramiError) as caught:
        gates.fraction(text)
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(("content", "said"), [
    (None, "no file"), ("", "not a report"), ("[]", "not a report"), ('{"models": 3}', "not a report"),
    (json.dumps(report({"file": "a.onnx"})), "not a report"), ("[" * 100_000, "not a report"),
    (json.dumps(report() | {"schema": 1}), "schema 1"), (json.dumps(report() | {"device": None}), "not a report")])
def test_files_that_are_no_reports(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FramiError, match=said):
        gates.read_report(path)


WHOLE = model()


@pytest.mark.parametrize("broken", [
    {key: value for key, value in WHOLE.items() if key != "file"},
    WHOLE | {"runs": [{key: value for key, value in WHOLE["runs"][0].items() if key != "warm"}]},
    WHOLE | {"runs": [{key: value for key, value in WHOLE["runs"][0].items() if key != "threads"}]},
    WHOLE | {"runs": [1]}, WHOLE | {"runs": [WHOLE["runs"][0] | {"warm": {"p50_ms": "fast"}}]},
    WHOLE | {"parity": [1]}, WHOLE | {"runs": [WHOLE["runs"][0] | {"peak_rss_mb": "much"}]},
    *(WHOLE | {"runs": [WHOLE["runs"][0] | {"warm": WHOLE["runs"][0]["warm"] | wrong}]}
      for wrong in ({"p50_ms": 0}, {"p50_interval_ms": 5}, {"p50_interval_ms": [0, 1]}, {"p50_interval_ms": [1]})),
])
def test_reports_that_lack_something_are_refused_before_anything_is_measured(tmp_path: Path, broken: dict) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report(WHOLE)))
    assert gates.read_report(path)["models"] == [WHOLE]
    path.write_text(json.dumps(report(broken)))
    with pytest.raises(FramiError, match="lacks a part"):
        gates.read_report(path)


def test_a_baseline_whose_parity_failed_says_so() -> None:
    failed = {"file": "a.onnx", "parity": {"passed": False}, "runs": []}
    with pytest.raises(FramiError, match="its parity failed"):
        gates.refuse(Limits(baseline=report(failed)), "a.onnx", 1, 1.0, 200)


@pytest.mark.parametrize(("p95", "rss"), [(math.nan, None), (0.0, None), (math.inf, None), (None, -1.0)])
def test_limits_that_nothing_could_meet(p95: float | None, rss: float | None) -> None:
    with pytest.raises(FramiError, match="is no limit") as caught:
        gates.limits_of(p95, rss, None, None)
    assert caught.value.exit_code == EXIT_USAGE


def test_a_regression_without_a_baseline() -> None:
    with pytest.raises(FramiError, match="--baseline"):
        gates.limits_of(None, None, None, "5%")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_reports_as_windows_redirects_them(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "before.json").write_text(json.dumps(report(model())), encoding=encoding)
    assert gates.read_report(tmp_path / "before.json") == report(model())
