"""``frami-edge report``: what a distillation made, to be seen and heard."""

from pathlib import Path
from typing import Annotated

import typer

from frami_edge.cli import console, options

HELP = """
Write one HTML page: samples to see and hear, the verdict, the losses, the recipe.

\b
  frami-edge report student.pt                # student.html, from student.run/ beside it
  frami-edge report small.pt --run student.run --per-class 6

The page needs nothing beside it and nothing from the network, so it can be sent to somebody. The samples are drawn at
random, always the same ones. The sounds are made up from log-Mels for people to hear; nothing learned from them.
"""


def register(app: typer.Typer) -> None:
    @app.command("report", help=HELP)
    def report(
        student: Annotated[Path, typer.Argument(help="Student that 'frami-edge distill' wrote.")] = Path("student.pt"),
        run: Annotated[Path | None, typer.Option(
            help="Folder of its run; by default NAME.run beside it.", show_default=False)] = None,
        per_class: Annotated[int, typer.Option(min=1, max=100, help="Samples shown of each class.")] = 4,
        classes: Annotated[int, typer.Option(min=1, help="Classes shown, at most.")] = 20,
        out: Annotated[Path | None, typer.Option(
            "--out", "-o", help="File to write; by default NAME.html.", show_default=False)] = None,
        force: options.Force = False,
        arch: Annotated[str | None, typer.Option(
            help="Code that builds a student of your own: my.py:build.", show_default=False)] = None,
        trust: options.Trust = False,
    ) -> None:
        from frami_edge.files import renamed

        written = write_report(student, run or renamed(student, ".run"), out or renamed(student, ".html"),
                               per_class, classes, force, arch, trust)
        console.out.print(f"{written}  {written.stat().st_size / 1e6:.2f} MB", soft_wrap=True)


def write_report(student: Path, run: Path, out: Path, per_class: int = 4, classes: int = 20, force: bool = False,
                 arch: str | None = None, trust: bool = False) -> Path:
    """Write the page; returns its path."""
    from frami_edge import checkpoints
    from frami_edge.files import refuse_overwrite, refuse_own_source, write_atomically
    from frami_edge.report.contents import gather
    from frami_edge.report.page import render
    from frami_edge.runs import RunDirectory

    refuse_own_source(out, student)
    refuse_overwrite(out, force)
    contents = gather(student.name, checkpoints.load(student, arch, trust), RunDirectory(run), per_class, classes)
    text = render(contents)
    write_atomically(out, lambda aside: aside.write_text(text, encoding="utf-8", errors="backslashreplace"))
    return out
