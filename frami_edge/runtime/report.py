"""A benchmark or a verdict as plain text for a terminal."""

from collections.abc import Sequence
from typing import Any

from frami_edge.runtime.latency import PERCENTILES


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first one the heading; the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) if column else cell.ljust(width)
                       for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def parity_text(parity: dict[str, Any]) -> str:
    """The verdict of :meth:`frami_edge.runtime.parity.Parity.as_dict`."""
    rows = [["stage", "max abs error", "max rel error", "nearest to its tolerance", "error", "tolerance", ""]]
    for stage in parity["stages"]:
        rows.append([stage["stage"], _error(stage["max_abs"]), _error(stage["max_rel"]), stage["worst"],
                     _error(stage["worst_abs"]), _error(stage["tolerance"]), "pass" if stage["passed"] else "FAIL"])
    agreed, n = parity["top1_agree"], parity["top1_n"]
    verdict = "PASS" if parity["passed"] else "FAIL"
    return (f"{table(rows)}\n"
            f"parity {verdict}: {parity['vectors']} golden vectors, alone and in batches; "
            f"top-1 agreement {agreed} of {n} ({100 * agreed / n:.1f} %)")


def device_text(card: dict[str, Any]) -> str:
    """The device card in a few lines, without what is not known."""
    known = {key: value for key, value in card.items() if value not in (None, [])}
    cores = f"{known.get('usable_cores')} of {known.get('cores')} cores"
    parts = [f"{known.get('cpu', 'unknown CPU')} ({known['architecture']}), {cores}"]
    if "instruction_sets" in known:
        parts.append(" ".join(known["instruction_sets"]))
    state = {"governor": "governor {}", "mhz": "{:.0f} MHz", "temperature_c": "{:.0f} degrees C",
             "memory_mb": "{:.0f} MB memory", "load_1min": "load {:.2f}"}
    parts.append(", ".join(form.format(known[key]) for key, form in state.items() if key in known))
    parts.append(f"{known['system']}, Python {known['python']}, numpy {known['numpy']}, "
                 f"onnxruntime {known['onnxruntime']}")
    return "\n".join(part for part in parts if part)


def bench_text(report: dict[str, Any]) -> str:
    """The report of :func:`frami_edge.runtime.bench.run`."""
    parts = [device_text(report["device"])]
    for model in report["models"]:
        parts.append(f"{model['file']}: {model['model_type']}, {model['classes']} classes, "
                     f"{model['bytes'] / 1e6:.2f} MB, sha256 {model['sha256'][:12]}")
        parts.append(parity_text(model["parity"]) if model["parity"] else "parity not checked (--no-parity)")
    if not report["passed"]:
        return "\n\n".join([*parts, "Not measured: a model that fails parity has no speed worth knowing."])
    parts.append(latency_text(report))
    return "\n\n".join(parts)


def latency_text(report: dict[str, Any]) -> str:
    """One row for each model and number of threads."""
    figures = [(model["file"], run) for model in report["models"] for run in model["runs"]]
    shown = [f"p{p}" for p in PERCENTILES if any(f"p{p}_ms" in run["warm"] for _, run in figures)]
    rows = [["milliseconds", "clip", "threads", "load", "cold", *shown, "n", "RTF", "clips/s", "peak RSS", "drift"]]
    for name, run in figures:
        warm = run["warm"]
        rows.append([
            name, f"{run['clip_seconds']:g} s", str(run["threads"]), f"{run['load_ms']:.1f}", f"{run['cold_ms']:.2f}",
            *(f"{warm[f'{p}_ms']:.2f}" if f"{p}_ms" in warm else "" for p in shown), str(warm["n"]),
            f"{run['real_time_factor']:.4f}", f"{run['clips_per_second']:.0f}",
            "" if run["peak_rss_mb"] is None else f"{run['peak_rss_mb']:.0f} MB",
            "" if warm["drift"] is None else f"{warm['drift']:.2f}",
        ])
    return (f"{table(rows)}\nRTF: median time over clip length, below 1 is faster than real time. drift: last quarter "
            "over first.\npeak RSS: a process with Python, numpy and onnxruntime that runs this model alone.")


def _error(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"
