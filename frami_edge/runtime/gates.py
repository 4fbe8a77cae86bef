"""Gates: limits that a benchmark must keep, for the exit code of a script. A verdict each; nothing is averaged away."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frami_edge.runtime.errors import EXIT_USAGE, FramiError
from frami_edge.runtime.latency import fewest_calls
from frami_edge.runtime.text import decoded

Report = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What the figures must not exceed; None is no limit."""

    p95_ms: float | None = None
    rss_mb: float | None = None
    baseline: Report | None = None  # an earlier report
    regression: float = 0.1  # of the median, as a fraction of the baseline's


NO_LIMITS = Limits()


@dataclass
class _Verdicts:
    """Collects one verdict after another."""

    model: str
    threads: int
    found: list[dict[str, Any]] = field(default_factory=list)

    def add(self, gate: str, value: float | None, limit: float) -> None:
        self.found.append({"gate": gate, "model": self.model, "threads": self.threads, "value": value, "limit": limit,
                           "passed": value is not None and value <= limit})


def check(models: list[dict[str, Any]], limits: Limits) -> list[dict[str, Any]]:
    """A verdict for each limit, model and number of threads: gate, model, threads, value, limit, passed.

    A median is compared with the baseline's by the lower end of its 95 % interval: a gate fails where even that lies
    beyond the limit, so that noise alone seldom does it.

    Raises:
        FramiError: a limit is about what was not measured.
    """
    verdicts = []
    for model in models:
        for run in model["runs"]:
            mine = _Verdicts(model["file"], run["threads"])
            if limits.p95_ms is not None:
                mine.add("--max-p95-ms", run["warm"].get("p95_ms"), limits.p95_ms)  # too few calls carry none
            if limits.rss_mb is not None:
                mine.add("--max-rss-mb", run["peak_rss_mb"], limits.rss_mb)
            if limits.baseline is not None:
                before = _same_run(limits.baseline, model["file"], run["threads"], run["clip_seconds"])
                interval = run["warm"]["p50_interval_ms"]
                value = interval[0] if interval else run["warm"]["p50_ms"]
                mine.add("--max-regression", value, before["warm"]["p50_ms"] * (1 + limits.regression))
            verdicts += mine.found
    return verdicts


def refuse(limits: Limits, name: str, threads: int, clip_seconds: float, runs: int | None) -> None:
    """Raise :class:`FramiError` where a limit is about what is not going to be measured."""
    if limits.p95_ms is not None and runs is not None and runs < fewest_calls(95):
        raise FramiError(f"{runs} calls carry no p95.", f"Give {fewest_calls(95)} --runs at least.",
                         exit_code=EXIT_USAGE)
    if limits.baseline is not None:
        _same_run(limits.baseline, name, threads, clip_seconds)


def read_report(path: Path) -> Report:
    """What ``frami-edge bench --json`` wrote."""
    try:
        report = json.loads(decoded(Path(path).read_bytes()))
    except FileNotFoundError as error:
        raise FramiError(f"There is no file {path}.", "'frami-edge bench --json > FILE' writes a report.") from error
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FramiError(f"{path} is not a report of 'frami-edge bench --json': {error}") from error
    if (not isinstance(report, dict) or not isinstance(report.get("models"), list)
            or not isinstance(report.get("device"), dict)
            or not all(isinstance(model, dict) and isinstance(model.get("runs"), list) for model in report["models"])):
        raise FramiError(f"{path} is not a report of 'frami-edge bench --json'.")
    if not all(_is_whole(model) for model in report["models"]):
        raise FramiError(f"{path} lacks a part of what 'frami-edge bench --json' writes.", "Measure it again.")
    if report.get("schema") != 2:
        raise FramiError(f"{path} has schema {report.get('schema')}; this version reads 2.", "Measure it again.")
    return report


def _is_whole(model: dict[str, Any]) -> bool:
    """Whether what gates and comparisons look at is there."""
    if not (isinstance(model.get("file"), str) and isinstance(model.get("sha256"), str)
            and isinstance(model.get("bytes"), int) and isinstance(model.get("parity"), dict | None)):
        return False
    for run in model["runs"]:
        if not (isinstance(run, dict) and isinstance(run.get("threads"), int) and "peak_rss_mb" in run
                and isinstance(run["peak_rss_mb"], int | float | None)
                and isinstance(run.get("clip_seconds"), int | float) and isinstance(run.get("warm"), dict)
                and _is_time(run["warm"].get("p50_ms")) and "p50_interval_ms" in run["warm"]
                and _is_interval(run["warm"]["p50_interval_ms"])):
            return False
    return True


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _is_interval(value: Any) -> bool:
    """None where there were too few calls."""
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_time, value)))


def limits_of(p95_ms: float | None, rss_mb: float | None, baseline: Path | None, regression: str | None) -> Limits:
    """Limits from what was typed."""
    if regression is not None and baseline is None:
        raise FramiError("--max-regression needs --baseline FILE to compare with.", exit_code=EXIT_USAGE)
    for option, limit in (("--max-p95-ms", p95_ms), ("--max-rss-mb", rss_mb)):
        if limit is not None and not _is_time(limit):
            raise FramiError(f"{option} {limit:g} is no limit that anything could meet.", exit_code=EXIT_USAGE)
    return Limits(p95_ms, rss_mb, read_report(baseline) if baseline else None,
                  Limits.regression if regression is None else fraction(regression))


def fraction(text: str) -> float:
    """``"10%"`` or ``"0.1"`` as 0.1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise FramiError(f"{text} is not a share such as 10%.", exit_code=EXIT_USAGE) from error
    if not 0 <= value < float("inf"):
        raise FramiError(f"{text} is not a share of 0 or more.", exit_code=EXIT_USAGE)
    return value


def _same_run(baseline: Report, name: str, threads: int, clip_seconds: float) -> dict[str, Any]:
    for model in baseline["models"]:
        for before in model["runs"]:
            same = before["threads"], before["clip_seconds"]
            if model["file"] == name and same == (threads, clip_seconds):
                found: dict[str, Any] = before
                return found
    if any(model["file"] == name and (model.get("parity") or {}).get("passed") is False
           for model in baseline["models"]):
        raise FramiError(f"The baseline has no times of {name}: its parity failed.", "Measure that model again.",
                         exit_code=EXIT_USAGE)
    raise FramiError(f"The baseline has no {name} with {threads} threads and clips of {clip_seconds:g} s.",
                     "Measure the baseline with the same models, --threads and --seconds.", exit_code=EXIT_USAGE)
