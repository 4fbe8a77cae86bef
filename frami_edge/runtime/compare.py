"""Two reports of the benchmark, side by side: what became faster, slower, larger, or cannot be told apart."""

import math
from typing import Any, NamedTuple

from frami_edge.runtime.errors import FramiError
from frami_edge.runtime.report import Section, interval

Report = dict[str, Any]
SAME_DEVICE = ("cpu", "architecture", "usable_cores", "onnxruntime", "governor")  # must agree for times to compare


class Pair(NamedTuple):
    """The same model, clip and number of threads in both reports."""

    name: str
    threads: int
    clip_seconds: float
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def ratio(self) -> float:
        """How many times as long the second report's median is."""
        return float(self.after["warm"]["p50_ms"] / self.before["warm"]["p50_ms"])

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % of the ratio. The two were not measured in turn, so their errors are independent and add up in squares
        (of logarithms); a machine that was slower on one of the days is not in it."""
        bounds = [run["warm"]["p50_interval_ms"] for run in (self.before, self.after)]
        if None in bounds:
            return None
        medians = [run["warm"]["p50_ms"] for run in (self.before, self.after)]
        below = math.hypot(math.log(bounds[0][1] / medians[0]), math.log(medians[1] / bounds[1][0]))
        above = math.hypot(math.log(medians[0] / bounds[0][0]), math.log(bounds[1][1] / medians[1]))
        return self.ratio * math.exp(-below), self.ratio * math.exp(above)

    @property
    def verdict(self) -> str:
        bounds = self.interval
        if bounds is None:
            return "too few calls"
        return "faster" if bounds[1] < 1 else "slower" if bounds[0] > 1 else "no difference"


def pairs(before: Report, after: Report) -> list[Pair]:
    """What both reports measured: the same file name, threads and clip; or the only model of each, whatever its name.

    Raises:
        FramiError: they share nothing.
    """
    first, second = _runs(before), _runs(after)
    for name, report, found in (("first", before, first), ("second", after, second)):
        if not found:
            failed = any((model.get("parity") or {}).get("passed") is False for model in report["models"])
            raise FramiError(f"The {name} report has no times{': its parity failed' if failed else ''}.",
                             "Measure that model again.")
    if len(before["models"]) == len(after["models"]) == 1:
        renamed = after["models"][0]["file"]
        first = {(renamed, *key[1:]): run for key, run in first.items()}
    shared = [Pair(*key, run, second[key]) for key, run in first.items() if key in second]
    if not shared:
        raise FramiError("The two reports have no model with the same number of threads and the same clip in common.",
                         "Measure both with the same --threads and --seconds.")
    return shared


def sections(before: Report, after: Report) -> list[Section]:
    """The comparison as tables."""
    rows = [["", "clip", "threads", "p50 before", "after", "times as long", "95 %", "", "peak RSS before", "after"]]
    for pair in pairs(before, after):
        rows.append([
            pair.name, f"{pair.clip_seconds:g} s", str(pair.threads), f"{pair.before['warm']['p50_ms']:.2f} ms",
            f"{pair.after['warm']['p50_ms']:.2f} ms", f"{pair.ratio:.2f}", interval(pair.interval), pair.verdict,
            *("" if run["peak_rss_mb"] is None else f"{run['peak_rss_mb']:.0f} MB"
              for run in (pair.before, pair.after)),
        ])
    note = "The reports were not measured in turn: a machine that was busier for one of them shows as a difference. " \
           "'frami-edge bench A.onnx B.onnx' measures two models in turn."
    return [Section(_files(before, after), rows, note), *other_device(before, after)]


def _runs(report: Report) -> dict[tuple[str, int, float], dict[str, Any]]:
    return {(model["file"], run["threads"], run["clip_seconds"]): run
            for model in report["models"] for run in model["runs"]}


def _files(before: Report, after: Report) -> str:
    """A line for each model: is it the same file, and how large are they?"""
    def line(report: Report) -> str:
        return ", ".join(f"{model['file']} {model['bytes'] / 1e6:.2f} MB ({model['sha256'][:12]})"
                         for model in report["models"])
    return f"before: {line(before)}\nafter:  {line(after)}"


def other_device(before: Report, after: Report) -> list[Section]:
    """What differs between two devices, where something does."""
    rows = [["device", "before", "after"]]
    for key in SAME_DEVICE:
        values = before["device"].get(key), after["device"].get(key)
        if values[0] != values[1]:
            rows.append([key, *map(str, values)])
    return [Section("Not measured on the same device:", rows)] if len(rows) > 1 else []
