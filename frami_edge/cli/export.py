"""``frami-edge export``: a checkpoint becomes one ONNX file, proven to compute the same."""

from pathlib import Path
from typing import Annotated

import typer

from frami_edge.cli import options
from frami_edge.errors import EXIT_USAGE, FramiError

DEFAULT_CHECKPOINT = Path("student.pt")


def register(app: typer.Typer) -> None:
    app.command(name="export")(export)


def export(
    checkpoint: Annotated[Path, typer.Argument(
        help="Checkpoint that 'frami-edge distill' or 'frami-edge train' wrote.")] = DEFAULT_CHECKPOINT,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX, which is what is written anyway.")] = True,
    int8: Annotated[bool, typer.Option("--int8", help="Quantize the convolutions, without recordings.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store weights in half precision; computed in float32.")] = False,
    ort: Annotated[bool, typer.Option(
        "--ort", help="Also write it in ORT format, with the operators that a minimal build needs.")] = False,
    calibration: Annotated[Path | None, typer.Option(
        help="Run folder whose samples calibrate; by default NAME.run beside the checkpoint.",
        show_default=False)] = None,
    min_agreement: Annotated[float | None, typer.Option(
        min=0, max=1, help="Least share of samples on which int8 must decide as float32 does; by default 0.98.",
        show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", help="File to write; by default the checkpoint's name with .onnx, .fp16.onnx or "
                               ".int8.onnx.",
        show_default=False)] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX opset, 18 to 23; by default 18.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    arch: Annotated[str | None, typer.Option(
        help="Code that builds a student of your own: my.py:build.", show_default=False)] = None,
    trust: options.Trust = False,
) -> None:
    """Write a checkpoint as one ONNX file, waveform in, logits out, once it is proven to compute the same.

    \b
      frami-edge export student.pt --onnx
      frami-edge export student.pt --int8     # student.int8.onnx, calibrated by the samples in student.run/
      frami-edge export student.pt --fp16     # student.fp16.onnx: half the size, the same speed
      frami-edge export student.pt --int8 --fp16 --ort    # the smallest; student.int8.ort beside it
      frami-edge bench student.onnx student.int8.onnx

    Golden vectors for 'frami-edge bench' are written beside it. Exit code 1: parity failed, or int8 decides otherwise
    too often, and nothing was written.
    """
    from frami_edge.exporters.onnx import DEFAULT_OPSET, Int8, export_onnx
    from frami_edge.exporters.ort import export_ort, paths_beside
    from frami_edge.files import refuse_overwrite, renamed
    from frami_edge.runtime.report import parity_text

    for option, value in (("--calibration", calibration), ("--min-agreement", min_agreement)):
        if value is not None and not int8:
            raise FramiError(f"{option} belongs to --int8.", exit_code=EXIT_USAGE)
    least = Int8.least_agreement if min_agreement is None else min_agreement
    wanted = Int8(calibration or renamed(checkpoint, ".run"), least) if int8 else None
    out = out or renamed(checkpoint, ".int8.onnx" if int8 else ".fp16.onnx" if fp16 else ".onnx")
    for path in paths_beside(out) if ort else ():
        refuse_overwrite(path, force)  # now, not after the work
    result = export_onnx(checkpoint, out, opset=DEFAULT_OPSET if opset is None else opset, force=force, arch=arch,
                         trust=trust, int8=wanted, half=fp16, told=lambda line: typer.echo(line, err=True))
    typer.echo(parity_text(result.parity.as_dict()))
    if result.drift:
        drift = result.drift
        typer.echo(f"int8 against float32 on {drift.samples} synthesized samples that calibration did not see (it saw "
                   f"{drift.calibrated_on}): same class {drift.agreement:.1%}, largest change of a probability "
                   f"{drift.max_probability_change:.3f}, of a logit {drift.max_logit_error:.2f}")
    files = [result.model, result.golden]
    if ort:
        converted = export_ort(result.model, force)
        files += [converted.model, converted.operators]
        typer.echo(f"{converted.model}: logits as those of {result.model} to {converted.max_error:.1e}")
    for path in files:
        typer.echo(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
