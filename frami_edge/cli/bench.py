"""``frami-edge bench``: parity and speed of exported models on this device. Needs no torch."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """
Prove that exported models compute what PyTorch computed, then measure them on this device.

\b
  frami-edge bench                                        # student.onnx: parity, latency, memory
  frami-edge bench student.onnx student.int8.onnx         # in turn, so that their ratio means something
  frami-edge bench --threads sweep --profile              # 1, 2, 4, ... threads; where the time goes
  frami-edge bench --duration 300                         # five minutes: does the device grow slower?
  frami-edge bench --json > before.json                   # and after a change:
  frami-edge bench --baseline before.json --max-regression 10% --max-p95-ms 20 --max-rss-mb 80

Exit code 1: a model failed parity, or a gate. 'frami-edge compare' shows two reports side by side. Where only numpy
and onnxruntime are installed, 'python -m frami_edge.runtime' does the same.
"""
GATES = "Gates, for the exit code"


def register(app: typer.Typer) -> None:
    app.command(name="bench", help=HELP)(bench)


def bench(
    models: Annotated[list[Path] | None, typer.Argument(
        metavar="[MODEL]...",
        help="Exported .onnx files, each with its .golden.npz beside it; by default student.onnx.",
        show_default=False)] = None,
    threads: Annotated[str, typer.Option(
        help="Threads of ONNX Runtime; a list such as 1,2,4 measures each, 'sweep' up to all cores.")] = "1",
    seconds: Annotated[float | None, typer.Option(
        help="Length of the clip; by default that of the training clips.", show_default=False)] = None,
    runs: Annotated[int | None, typer.Option(help="Warm calls of each model.", show_default="200")] = None,
    warmup: Annotated[int, typer.Option(help="Calls before them that do not count.")] = 10,
    limit: Annotated[float | None, typer.Option(
        help="Stop the warm calls after so many seconds.", show_default="60")] = None,
    duration: Annotated[float | None, typer.Option(
        help="Instead: as many warm calls as fit into so many seconds.", show_default=False)] = None,
    no_parity: Annotated[bool, typer.Option("--no-parity", help="Measure without golden vectors.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="What each operator takes.")] = False,
    max_p95_ms: Annotated[float | None, typer.Option(
        help="95 % of the calls must take no longer than this.", show_default=False, rich_help_panel=GATES)] = None,
    max_rss_mb: Annotated[float | None, typer.Option(
        help="Largest peak memory, in 10^6 bytes.", show_default=False, rich_help_panel=GATES)] = None,
    baseline: Annotated[Path | None, typer.Option(
        help="An earlier report (--json) of the same models.", show_default=False, rich_help_panel=GATES)] = None,
    max_regression: Annotated[str | None, typer.Option(
        help="Largest slowdown of the median against the baseline.", show_default="10%",
        rich_help_panel=GATES)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
) -> None:
    from frami_edge.runtime import bench as benchmark
    from frami_edge.runtime import gates, report

    settings = benchmark.settings_of(threads=threads, seconds=seconds, runs=runs, warmup=warmup, limit=limit,
                                     duration=duration, no_parity=no_parity, profile=profile)
    limits = gates.limits_of(max_p95_ms, max_rss_mb, baseline, max_regression)
    result = benchmark.run(models or [benchmark.DEFAULT_MODEL], settings, lambda line: typer.echo(line, err=True),
                           limits)
    typer.echo(report.rendered(report.bench_sections(result), result, as_json, as_markdown))
    raise typer.Exit(benchmark.exit_code(result))
