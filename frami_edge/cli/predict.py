"""`frami-edge predict`: what a model hears in recordings."""

from pathlib import Path
from typing import Annotated

import typer

from frami_edge.cli import console, options

HELP = """
The likeliest labels of each recording, with their probabilities.

\b
  frami-edge predict student.onnx dog.wav street.flac
  frami-edge predict student.pt *.ogg --top 1 --json

Recordings may have any format that libsndfile reads, any sample rate and any number of channels. An exported .onnx
needs no torch. A file that cannot be read is reported, the others are still done; the exit code is 3 then.
"""


def register(app: typer.Typer) -> None:
    @app.command("predict", help=HELP)
    def predict(
        model: options.ModelFile,
        audio: Annotated[list[Path], typer.Argument(help="Recordings.")],
        top: Annotated[int, typer.Option(min=1, help="How many labels of each.")] = 3,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
        card: options.Card = None,
        arch: options.Arch = None,
        trust: options.Trust = False,
        threads: options.Threads = 1,
    ) -> None:
        import json

        from frami_edge import evaluation
        from frami_edge.errors import FramiError

        opened = evaluation.open_model(model, card=card, arch=arch, trust=trust, threads=threads)
        worst = 0
        for path in audio:
            try:
                labels = evaluation.predict(opened, path, top)
            except FramiError as error:
                console.err.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
                worst = max(worst, error.exit_code)
                continue
            if as_json:
                scores = [{"label": label, "probability": probability} for label, probability in labels]
                typer.echo(json.dumps({"file": str(path), "labels": scores}))
            else:
                typer.echo(f"{path}: " + ", ".join(f"{label} {100 * share:.1f} %" for label, share in labels))
        if worst:
            raise typer.Exit(worst)
