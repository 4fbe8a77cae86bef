"""A benchmark, a comparison or a verdict as tables: plain text for a terminal, Markdown for a document."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from frami_edge.runtime.latency import PERCENTILES

NODES_SHOWN = 12  # of a profile: the slowest
SMALL_KIND = 0.01  # of the whole: kinds of operators below it share a row
THROTTLED = 1.1  # drift from which on a device is said to have slowed down


class Section(NamedTuple):
    """A table and what is said around it; any part may be empty."""

    before: str
    rows: Sequence[Sequence[str]]  # the first one is the heading
    after: str = ""


def rendered(sections: Sequence[Section], report: dict[str, Any], as_json: bool, markdown: bool) -> str:
    """What a command prints: the report itself as JSON, or its tables."""
    if as_json:
        return json.dumps(report, indent=2)
    return as_markdown(sections) if markdown else as_text(sections)


def as_text(sections: Sequence[Section]) -> str:
    parts = ("\n".join(part for part in (section.before, table(section.rows), section.after) if part)
             for section in sections)
    return "\n\n".join(parts)


def as_markdown(sections: Sequence[Section]) -> str:
    return "\n\n".join(part for section in sections
                       for part in (_lines(section.before), _markdown(section.rows), _lines(section.after)) if part)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first one the heading; the first column to the left, the others to the right."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) if column else cell.ljust(width)
                       for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def parity_text(parity: dict[str, Any]) -> str:
    """The verdict of :meth:`frami_edge.runtime.parity.Parity.as_dict`."""
    return as_text([parity_section(parity)])


def parity_section(parity: dict[str, Any], before: str = "") -> Section:
    rows = [["stage", "max abs error", "max rel error", "nearest to its tolerance", "error", "tolerance", ""]]
    for stage in parity["stages"]:
        rows.append([stage["stage"], _error(stage["max_abs"]), _error(stage["max_rel"]), stage["worst"],
                     _error(stage["worst_abs"]), _error(stage["tolerance"]), "pass" if stage["passed"] else "FAIL"])
    agreed, n = parity["top1_agree"], parity["top1_n"]
    verdict = "PASS" if parity["passed"] else "FAIL"
    others = parity.get("within_error", agreed) - agreed  # reports of before had no such count
    forgiven = f", {others} more within what its own precision was measured to cost" if others > 0 else ""
    return Section(before, rows, f"parity {verdict}: {parity['vectors']} golden vectors, alone and in batches; "
                                 f"top-1 agreement {agreed} of {n} ({100 * agreed / n:.1f} %){forgiven}")


def bench_sections(report: dict[str, Any]) -> list[Section]:
    """The report of :func:`frami_edge.runtime.bench.run`."""
    sections = [Section(device_text(report["device"]), [])]
    for model in report["models"]:
        name = (f"{model['file']}: {model['model_type']}, {model['classes']} classes, {model['bytes'] / 1e6:.2f} MB, "
                f"sha256 {model['sha256'][:12]}")
        sections.append(parity_section(model["parity"], name) if model["parity"]
                        else Section(name, [], "parity not checked (--no-parity)"))
    runs = [(model["file"], run) for model in report["models"] for run in model["runs"]]
    if not runs:
        return [*sections, Section("Not measured: a model that fails parity has no speed worth knowing.", [])]
    sections += [_latency(runs), _work(runs), *_profiles(runs)]
    if slowed := _slowed(runs, report["device"], report["device_after"]):
        sections.append(Section(slowed, []))
    if report["gates"]:
        sections.append(_gates(report["gates"]))
    return sections


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


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    return "" if bounds is None else f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def _latency(runs: list[tuple[str, dict[str, Any]]]) -> Section:
    shown = [f"p{p}" for p in PERCENTILES if any(f"p{p}_ms" in run["warm"] for _, run in runs)]
    rows = [["milliseconds", "clip", "threads", "import", "load", "cold", *shown, "95 % of p50", "n", "RTF", "clips/s",
             "peak RSS", "drift"]]
    for name, run in runs:
        warm = run["warm"]
        rows.append([
            name, f"{run['clip_seconds']:g} s", str(run["threads"]), f"{run['import_ms']:.0f}", f"{run['load_ms']:.1f}",
            f"{run['cold_ms']:.2f}", *(f"{warm[f'{p}_ms']:.2f}" if f"{p}_ms" in warm else "" for p in shown),
            interval(warm["p50_interval_ms"]), str(warm["n"]), f"{run['real_time_factor']:.4f}",
            f"{run['clips_per_second']:.0f}", "" if run["peak_rss_mb"] is None else f"{run['peak_rss_mb']:.0f} MB",
            "" if warm["drift"] is None else f"{warm['drift']:.2f}",
        ])
    return Section("", rows, "RTF: median time over clip length, below 1 is faster than real time. drift: last quarter "
                             "over first.\nimport, load, cold, peak RSS: a process with Python, numpy and onnxruntime "
                             "that runs this model alone.")


def _work(runs: list[tuple[str, dict[str, Any]]]) -> Section:
    rows = [["", "clip", "threads", "times as fast as the first", "95 %", "front-end", "MMACs", "GMAC/s",
             "of GEMM's"]]
    for number, (name, run) in enumerate(runs):
        rows.append([
            name, f"{run['clip_seconds']:g} s", str(run["threads"]), f"{run['times_as_fast_as_first']:.2f}",
            interval(run["times_as_fast_interval"]) if number else "",
            "" if run["frontend_share"] is None else f"{100 * run['frontend_share']:.0f} %",
            *(["", "", ""] if run["macs"] is None else
              [f"{run['macs'] / 1e6:.1f}", f"{run['gmacs_per_second']:.1f}", f"{100 * run['share_of_gemm']:.0f} %"]),
        ])
    return Section("", rows, "front-end: waveform to log-Mel alone, over the whole. of GEMM's: rate over that of a "
                             "float32 matrix product in\nthis runtime, with as many threads, called in turn with the "
                             "models.")


def _profiles(runs: list[tuple[str, dict[str, Any]]]) -> Iterator[Section]:
    for name, run in runs:
        if "profile" not in run:
            continue
        nodes, total = run["profile"], sum(node["ms"] for node in run["profile"])
        threads = f"{run['threads']} thread{'s' * (run['threads'] > 1)}"
        yield _operators(f"{name}, {threads}: kinds of operators", _kinds(nodes, total), total)
        slowest = sorted(nodes, key=lambda node: -node["ms"])[:NODES_SHOWN]
        yield _operators(f"{name}: slowest nodes",
                         [(f"{node['name']} ({node['op']})", [node]) for node in slowest], total)


def _kinds(nodes: list[dict[str, Any]], total: float) -> list[tuple[str, list[dict[str, Any]]]]:
    """Nodes by their operator, the slowest kind first; what takes next to nothing in one row."""
    kinds = defaultdict[str, list[dict[str, Any]]](list)
    for node in nodes:
        kinds[node["op"]].append(node)
    small = [kind for kind, mine in kinds.items() if sum(node["ms"] for node in mine) < SMALL_KIND * total]
    others = [node for kind in small for node in kinds.pop(kind)]
    rows = sorted(kinds.items(), key=lambda item: -sum(node["ms"] for node in item[1]))
    return [(f"{len(mine)} {kind}", mine) for kind, mine in rows] + [(f"{len(others)} others", others)] * bool(others)


def _operators(title: str, groups: list[tuple[str, list[dict[str, Any]]]], total: float) -> Section:
    rows = [["", "ms", "share", "MMACs", "GMAC/s"]]
    for name, nodes in groups:
        ms, macs = sum(node["ms"] for node in nodes), sum(node["macs"] for node in nodes)
        rows.append([name, f"{ms:.3f}", f"{100 * ms / total:.1f} %", f"{macs / 1e6:.1f}" if macs else "",
                     f"{macs / ms / 1e6:.1f}" if macs and ms else ""])
    return Section(title, rows)


def _slowed(runs: list[tuple[str, dict[str, Any]]], before: dict[str, Any], after: dict[str, Any]) -> str:
    """A sentence where the device grew slower while it was measured: hot, or busy with something else."""
    worst = max((run["warm"]["drift"] or 0 for _, run in runs), default=0)
    if worst < THROTTLED:
        return ""
    changes = [f"{form.format(before[key])} to {form.format(after[key])} {unit}" for key, form, unit in (
        ("mhz", "{:.0f}", "MHz"), ("temperature_c", "{:.0f}", "degrees C"), ("load_1min", "{:.2f}", "load"))
        if before.get(key) is not None and after.get(key) is not None]
    return (f"Slowed down while it was measured: the last quarter of the calls took {worst:.2f} times as long as the "
            f"first{' (' + ', '.join(changes) + ')' if changes else ''}. Throttling, or other work.")


def _gates(verdicts: list[dict[str, Any]]) -> Section:
    rows = [["gate", "model", "threads", "value", "limit", ""]]
    for verdict in verdicts:
        value = "unknown" if verdict["value"] is None else f"{verdict['value']:.2f}"
        rows.append([verdict["gate"], verdict["model"], str(verdict["threads"]), value, f"{verdict['limit']:.2f}",
                     "pass" if verdict["passed"] else "FAIL"])
    return Section("", rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


def _lines(text: str) -> str:
    """Lines that stay lines: two blanks at the end of each but the last."""
    return text.replace("\n", "  \n")


def _error(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"
