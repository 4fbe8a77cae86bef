"""Options that several commands share, worded once."""

from pathlib import Path
from typing import Annotated

import typer

ModelFile = Annotated[Path, typer.Argument(help="An exported .onnx, a student or a teacher.")]
DataFolder = Annotated[Path, typer.Argument(help="The data set.")]
Layout = Annotated[str, typer.Option(
    help="auto, esc50, esc10, urbansound8k, audiomnist, fsdd, or folders (one for each class).")]
TestGroups = Annotated[list[str] | None, typer.Option(
    help="A speaker or fold; may be repeated. official: those usual for the data set.", show_default=False)]
Card = Annotated[Path | None, typer.Option(
    help="A teacher's card, where it is not NAME.toml or teacher.toml beside it.", show_default=False)]
Arch = Annotated[str | None, typer.Option(
    help="What builds the network: one that `frami-edge networks` lists, or model.py:build.", show_default=False)]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code that the card or checkpoint names.")]
BelieveCard = Annotated[bool, typer.Option(
    "--believe-card", help="Go on where what BatchNorm remembers contradicts the card's front-end.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override one value: table.key=value.",
                                               show_default=False)]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of everything random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bf16.")]
