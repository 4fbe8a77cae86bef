"""``frami-edge demo``: all that a student takes, one after another, on the teacher that ships with the package."""

import hashlib
import json
import shlex
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from frami_edge.cli import console, options
from frami_edge.errors import FramiError

if TYPE_CHECKING:
    from frami_edge.teacher.opening import OpenedTeacher

STUDENT = "wrn16"
# what makes `quick` quick enough for two cores that multiply float32 alone
OVERRIDES = [
    "inversion.batches=10", "inversion.warmup_batches=6", "inversion.first_steps=40", "distillation.finish.steps=300",
]

RUNS = 200  # warm calls of the benchmark


def register(app: typer.Typer) -> None:
    app.command(name="demo")(demo)


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where everything goes.")] = Path("frami-edge-demo"),
    force: options.Force = False,
) -> None:
    """Distil, show, export and measure a student of a small teacher of spoken digits, in a few minutes.

    Each command is shown as it could be typed. An interrupted demo goes on where it was.
    """
    from frami_edge.files import refuse_overwrite
    from frami_edge.teacher.opening import open_teacher

    started = time.monotonic()
    teacher, student = folder / "teacher.pt", folder / "student.pt"
    # interrupted after that, while it was exported or measured
    distilled = student.is_file() and not force and _is_the_demos(student)
    there_already = [] if distilled else [student, student.with_suffix(".html")]
    if not distilled or student.with_suffix(".bench.json").exists():
        there_already.append(student.with_suffix(".onnx"))
    if packed := not (teacher.is_file() and teacher.read_bytes() == packaged_teacher()):
        there_already.append(teacher)
    for path in there_already:
        refuse_overwrite(path, force, "Say --force to start anew, or --dir to go elsewhere.")
    if packed:
        unpack_teacher(teacher)
    if not distilled:
        _distill(open_teacher(teacher), teacher, student, force)
    page = _report(student)
    model = _export(student)
    measured = _bench(model)
    console.out.print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes.\n"
                      f"student  {student}\nsamples  {page}   (to see and hear, in a browser)\nONNX     {model}\n"
                      f"bench    {measured}", highlight=False, markup=False, soft_wrap=True)


def unpack_teacher(path: Path) -> None:
    """Write the packaged teacher to ``path``."""
    from frami_edge.files import write_atomically

    write_atomically(path, lambda aside: aside.write_bytes(packaged_teacher()))


def packaged_teacher() -> bytes:
    return resources.files("frami_edge.demo").joinpath("teacher.pt").read_bytes()


def _is_the_demos(student: Path) -> bool:
    """Whether it was distilled from the packaged teacher."""
    from frami_edge import checkpoints

    teacher = hashlib.sha256(packaged_teacher()).hexdigest()
    try:
        return checkpoints.load(student).provenance.get("teacher_sha256") == teacher
    except FramiError:
        return False


def _distill(opened: "OpenedTeacher", teacher: Path, student: Path, force: bool) -> None:
    from frami_edge.cli.distilling import run_distill

    _show(["distill", teacher, "--student", STUDENT, "--out", student,
           *(word for each in OVERRIDES for word in ("--set", each))])
    begun = student.with_suffix(".run").is_dir() and not force
    run_distill(opened, teacher, STUDENT, student, overrides=OVERRIDES, resume=begun, force=force)


def _report(student: Path) -> Path:
    from frami_edge.cli.report import write_report

    _show(["report", student])
    return write_report(student, student.with_suffix(".run"), student.with_suffix(".html"), force=True)


def _export(student: Path) -> Path:
    from frami_edge.cli.export import export

    _show(["export", student, "--onnx"])
    model = student.with_suffix(".onnx")
    export(student, out=model, opset=None, force=True)
    return model


def _bench(model: Path) -> Path:
    """Measure ``model``; the report is printed and also written, as JSON."""
    from frami_edge.files import write_atomically
    from frami_edge.runtime import bench
    from frami_edge.runtime.report import as_text, bench_sections

    _show(["bench", model])
    report = bench.run([model], bench.Settings(runs=RUNS), lambda line: typer.echo(line, err=True))
    path = model.with_suffix(".bench.json")
    write_atomically(path, lambda aside: aside.write_text(json.dumps(report, indent=2), encoding="utf-8"))
    typer.echo(as_text(bench_sections(report)))
    if code := bench.exit_code(report):
        raise typer.Exit(code)
    return path


def _show(words: Sequence[str | Path]) -> None:
    line = shlex.join(map(str, words))
    console.out.print(f"\n[bold]$ frami-edge {escape(line)}[/]", markup=True, soft_wrap=True)
