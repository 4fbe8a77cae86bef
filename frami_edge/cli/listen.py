"""`frami-edge listen`: what a model hears, as it goes on."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frami_edge.cli import console, options

if TYPE_CHECKING:
    from rich.table import Table

    from frami_edge.runtime.classifier import Classifier
    from frami_edge.runtime.stream import Heard, Stream
    from frami_edge.sources import Source

HELP = """
What an exported model hears, window by window: in the microphone, in a file, or in raw samples from another program.

\b
  frami-edge listen student.onnx                          # the microphone; Ctrl-C ends it
  frami-edge listen student.onnx street.flac --hop 0.25   # a recording of any length, in constant memory
  arecord -t raw -f S16_LE -r 16000 | frami-edge listen student.onnx - --rate 16000 --json

The microphone needs pip install 'frami-edge\\[listen]'. Windows have the length of the training clips and begin every
half of it, unless --window and --hop say otherwise. Probabilities are smoothed over the windows: 'exponential' with
--over as its time constant, 'mean' over the windows of the last --over seconds, or 'none'.
"""
BAR_WIDTH = 30

Show = Callable[["Heard"], None]


def register(app: typer.Typer) -> None:
    @app.command("listen", help=HELP)
    def listen(
        model: Annotated[Path, typer.Argument(help="An exported .onnx.")],
        source: Annotated[str | None, typer.Argument(help="A recording, or - for raw samples on standard input; "
                                                          "without it, the microphone.")] = None,
        window: Annotated[float | None, typer.Option(help="Seconds heard at once.", show_default="a clip")] = None,
        hop: Annotated[float | None, typer.Option(help="Seconds between windows.", show_default="half of it")] = None,
        smooth: Annotated[str, typer.Option(help="exponential, mean or none.")] = "exponential",
        over: Annotated[float | None, typer.Option(help="Seconds to smooth over.", show_default="a window")] = None,
        top: Annotated[int, typer.Option(min=1, help="How many labels.")] = 3,
        rate: Annotated[int | None, typer.Option(min=1, help="Of the samples on standard input, in Hz.",
                                                 show_default="the model's")] = None,
        sample_format: Annotated[str | None, typer.Option("--format", help="Of those samples: s16le, s32le, f32le, u8.",
                                                          show_default="s16le")] = None,
        channels: Annotated[int | None, typer.Option(min=1, help="Of those samples, interleaved.",
                                                     show_default="1")] = None,
        device: Annotated[str | None, typer.Option(help="Microphone: number or part of its name.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
        threads: options.Threads = 1,
    ) -> None:
        from frami_edge.runtime.classifier import Classifier
        from frami_edge.runtime.smoothing import smoother
        from frami_edge.runtime.stream import Stream, window_and_hop

        classifier = Classifier(model, threads)
        window, hop = window_and_hop(classifier, window, hop)
        smoothing = smoother(smooth, window if over is None else over, hop)
        sound = _source(source, classifier, rate, sample_format, channels, device)
        stream = Stream(classifier, window, hop, sound.sample_rate, smoothing)
        console.err.print(f"{sound.name}: {sound.sample_rate} Hz, windows of {window:g} s every {hop:g} s"
                          + "; Ctrl-C ends it" * sound.live, highlight=False, markup=False, soft_wrap=True)
        _hear(sound, stream, top, as_json)


def _source(name: str | None, classifier: "Classifier", rate: int | None, sample_format: str | None,
            channels: int | None, device: str | None) -> "Source":
    from frami_edge import sources
    from frami_edge.errors import EXIT_USAGE, FramiError

    if name is not None and device is not None:
        raise FramiError("--device chooses a microphone, and another source is named.", exit_code=EXIT_USAGE)
    if name != "-" and (sample_format is not None or channels is not None or (name is not None and rate is not None)):
        raise FramiError("--rate, --format and --channels describe raw samples on standard input.",
                         "Its own header describes a recording." if name else "The model says what a microphone gives.",
                         exit_code=EXIT_USAGE)
    if name is None:
        return sources.from_microphone(rate or classifier.sample_rate, device)
    if name == "-" and sys.stdin is None:
        raise FramiError("Standard input is closed.", "Pipe raw samples in, or name a recording.")
    if name == "-":
        return sources.from_stdin(sys.stdin.buffer, rate or classifier.sample_rate, sample_format or "s16le",
                                  channels or 1)
    return sources.from_file(Path(name))


def _hear(sound: "Source", stream: "Stream", top: int, as_json: bool) -> None:
    """Until the sound ends, or Ctrl-C does it, which is the usual end of a microphone and no failure."""
    try:
        if as_json or not console.out.is_terminal:
            _follow(sound, stream, lambda heard: _print(heard, top, as_json))
        else:
            from rich.live import Live

            with Live(console=console.out, auto_refresh=False) as live:
                _follow(sound, stream, lambda heard: live.update(_bars(heard, top), refresh=True))
    except KeyboardInterrupt:
        console.err.print("Ended.")


def _follow(sound: "Source", stream: "Stream", show: Show) -> None:
    from frami_edge.errors import FramiError

    windows = told = 0
    for block in sound.blocks:
        for heard in stream.feed(block):
            show(heard)
            windows += 1
        told = _tell_lost(sound.lost, told)
    for heard in stream.flush():
        show(heard)
        windows += 1
    _tell_lost(sound.lost, told)
    if not windows:
        raise FramiError(f"{sound.name} is empty.", "Give at least one sample.")


def _tell_lost(lost: list[str], told: int) -> int:
    """Print what is new in ``lost``, each sentence once; returns how many were told."""
    for index in range(told, len(lost)):
        if lost[index] not in lost[:index]:
            console.err.print(lost[index], highlight=False, markup=False, soft_wrap=True)
    return len(lost)


def _print(heard: "Heard", top: int, as_json: bool) -> None:
    best = heard.best(top)
    if as_json:
        labels = [{"label": label, "probability": probability} for label, probability in best]
        line = json.dumps({"begin": heard.begin, "end": heard.end, "labels": labels})
    else:
        line = f"{heard.begin:8.2f} s  " + ", ".join(f"{label} {100 * share:.1f} %" for label, share in best)
    print(line, flush=True)  # whoever reads a pipe wants each window at once


def _bars(heard: "Heard", top: int) -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_row(Text(f"{heard.end:.1f} s", style="dim"))
    for label, share in heard.best(top):
        table.add_row(Text(label), ProgressBar(total=1, completed=share, width=BAR_WIDTH), f"{100 * share:5.1f} %")
    return table
