"""``frami-edge compare``: two reports of the benchmark side by side. Needs no torch."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """
Compare two reports of 'frami-edge bench --json': before and after a change, or two devices.

\b
  frami-edge bench --json > before.json
  frami-edge bench --json > after.json
  frami-edge compare before.json after.json

Says for each model, clip and number of threads how many times as long the second takes, with a 95 % interval.
"""


def register(app: typer.Typer) -> None:
    @app.command("compare", help=HELP)
    def compare(
        before: Annotated[Path, typer.Argument(help="A report of 'frami-edge bench --json'.")],
        after: Annotated[Path, typer.Argument(help="Another one.")],
        as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    ) -> None:
        from frami_edge.runtime import compare as comparing
        from frami_edge.runtime import gates, report

        sections = comparing.sections(gates.read_report(before), gates.read_report(after))
        typer.echo(report.as_markdown(sections) if as_markdown else report.as_text(sections))
