"""``frami-edge export``: a checkpoint becomes one ONNX file, proven to compute the same."""

from pathlib import Path
from typing import Annotated

import typer

from frami_edge.cli import options

DEFAULT_CHECKPOINT = Path("student.pt")


def register(app: typer.Typer) -> None:
    app.command(name="export")(export)


def export(
    checkpoint: Annotated[Path, typer.Argument(
        help="Checkpoint that 'frami-edge distill' or 'frami-edge train' wrote.")] = DEFAULT_CHECKPOINT,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX, float32; the only format so far.")] = True,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", help="File to write; by default the checkpoint's name with .onnx.", show_default=False)] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX opset, 18 to 23; by default 18.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    arch: Annotated[str | None, typer.Option(
        help="Code that builds a student of your own: my.py:build.", show_default=False)] = None,
    trust: options.Trust = False,
) -> None:
    """Write a checkpoint as one ONNX file, waveform in, logits out, once it is proven to compute the same.

    Golden vectors for 'frami-edge bench' are written beside it. Exit code 1: parity failed, and nothing was written.
    """
    from frami_edge.exporters.onnx import DEFAULT_OPSET, export_onnx
    from frami_edge.runtime.report import parity_text

    result = export_onnx(checkpoint, out or checkpoint.with_suffix(".onnx"), opset=opset or DEFAULT_OPSET, force=force,
                         arch=arch, trust=trust, told=lambda line: typer.echo(line, err=True))
    typer.echo(parity_text(result.parity.as_dict()))
    for path in (result.model, result.golden):
        typer.echo(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
