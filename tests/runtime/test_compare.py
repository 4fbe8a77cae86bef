"""Two reports side by side."""

import copy

import pytest

from frami_edge.runtime import compare
from frami_edge.runtime.errors import FramiError
from frami_edge.runtime.report import as_markdown, as_text


def report(median: float, low: float, high: float, file: str = "student.onnx", **device) -> dict:
    run = {"threads": 1, "clip_seconds": 1.0, "peak_rss_mb": 60.0,
           "warm": {"n": 100, "p50_ms": median, "p50_interval_ms": [low, high]}}
    return {"schema": 2, "device": {"cpu": "Cortex-A72", "usable_cores": 4} | device,
            "models": [{"file": file, "bytes": 900_000, "sha256": "0" * 64, "runs": [run]}]}


@pytest.mark.parametrize(("after", "verdict"), [
    ((12.0, 11.8, 12.2), "slower"), ((8.0, 7.9, 8.1), "faster"), ((10.1, 9.8, 10.4), "no difference")])
def test_the_verdict(after: tuple, verdict: str) -> None:
    (pair,) = compare.pairs(report(10.0, 9.8, 10.2), report(*after))
    assert pair.verdict == verdict
    assert pair.ratio == pytest.approx(after[0] / 10.0)
    low, high = pair.interval
    assert low < pair.ratio < high
    assert verdict in as_text(compare.sections(report(10.0, 9.8, 10.2), report(*after)))


def test_independent_errors_add_up_in_squares() -> None:
    (pair,) = compare.pairs(report(10.0, 9.0, 10.0), report(10.0, 10.0, 11.0))
    low, high = pair.interval
    assert low == pytest.approx(1.0)
    assert high == pytest.approx(1.155, abs=0.005)  # exp(hypot(ln 10/9, ln 11/10)), below 10/9 * 11/10 = 1.22


def test_few_calls_have_no_verdict() -> None:
    few = report(10.0, 9.0, 11.0)
    few["models"][0]["runs"][0]["warm"]["p50_interval_ms"] = None
    (pair,) = compare.pairs(few, report(20.0, 19.0, 21.0))
    assert pair.verdict == "too few calls"


def test_the_only_model_of_each_may_have_another_name() -> None:
    (pair,) = compare.pairs(report(10.0, 9.8, 10.2), report(5.0, 4.9, 5.1, file="student.int8.onnx"))
    assert pair.name == "student.int8.onnx"


def test_nothing_in_common() -> None:
    other = report(10.0, 9.8, 10.2)
    other["models"][0]["runs"][0]["threads"] = 2
    with pytest.raises(FramiError, match="in common"):
        compare.pairs(report(10.0, 9.8, 10.2), other)


def test_a_report_whose_parity_failed_has_nothing_to_compare() -> None:
    failed = report(10.0, 9.8, 10.2)
    failed["models"][0] |= {"runs": [], "parity": {"passed": False}}
    with pytest.raises(FramiError, match="second report has no times: its parity failed"):
        compare.pairs(report(10.0, 9.8, 10.2), failed)


def test_another_device_is_said() -> None:
    before, after = report(10.0, 9.8, 10.2), report(10.0, 9.8, 10.2, cpu="Cortex-A53")
    assert "Not measured on the same device" in as_text(compare.sections(before, after))
    assert "| cpu | Cortex-A72 | Cortex-A53 |" in as_markdown(compare.sections(before, after))
    assert "same device" not in as_text(compare.sections(before, copy.deepcopy(before)))
