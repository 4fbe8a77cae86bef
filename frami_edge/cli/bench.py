"""``frami-edge bench``: parity and speed of exported models on this device. Needs no torch."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(name="bench")(bench)


def bench(
    models: Annotated[list[Path] | None, typer.Argument(
        metavar="[MODEL]...",
        help="Exported .onnx files, each with its .golden.npz beside it; by default student.onnx.",
        show_default=False)] = None,
    threads: Annotated[str, typer.Option(help="Threads of ONNX Runtime; a list such as 1,2,4 measures each.")] = "1",
    seconds: Annotated[float | None, typer.Option(
        help="Length of the clip; by default that of the training clips.", show_default=False)] = None,
    runs: Annotated[int, typer.Option(help="Warm calls of each model.")] = 200,
    warmup: Annotated[int, typer.Option(help="Calls before them that do not count.")] = 10,
    limit: Annotated[float, typer.Option(help="Stop the warm calls after so many seconds.")] = 60.0,
    no_parity: Annotated[bool, typer.Option("--no-parity", help="Measure without golden vectors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Prove that exported models compute what PyTorch computed, then measure them on this device.

    Several models, or several numbers of threads, are measured in turn. Exit code 1: a model failed parity.
    Where only numpy and onnxruntime are installed, 'python -m frami_edge.runtime' does the same.
    """
    import json

    from frami_edge.runtime import bench as benchmark
    from frami_edge.runtime import report

    settings = benchmark.Settings(benchmark.thread_counts(threads), seconds, runs, warmup, limit, not no_parity)
    result = benchmark.run(models or [benchmark.DEFAULT_MODEL], settings, lambda line: typer.echo(line, err=True))
    typer.echo(json.dumps(result, indent=2) if as_json else report.bench_text(result))
    raise typer.Exit(benchmark.exit_code(result))
