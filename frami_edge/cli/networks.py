"""``frami-edge networks``: what ``--student`` and ``--network`` take, and what each costs."""

from typing import Annotated, NamedTuple

import typer

from frami_edge.cli import console


class Row(NamedTuple):
    name: str
    summary: str
    parameters: int
    macs: int  # multiply-accumulates of convolutions and linear layers, one clip of 1 s


def register(app: typer.Typer) -> None:
    app.command(name="networks")(networks)


def networks(
    classes: Annotated[int, typer.Option(min=2, max=1_000_000, help="Classes of the linear classifier.")] = 10,
    n_mels: Annotated[int, typer.Option(min=4, max=10_000, help="Mel bands of the front-end.")] = 40,
    student: Annotated[str | None, typer.Option(
        help="A network of your own beside them: my.py:build.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List the networks with their parameters and multiply-accumulates for one second of sound."""
    import json

    from frami_edge.networks import build, build_student, describe, macs, names, parameters

    rows = []
    for name in names():
        network = build(name, classes, n_mels)
        rows.append(Row(name, describe(name), parameters(network), macs(network, n_mels)))
    if student:
        network = build_student(student, classes, n_mels)
        rows.append(Row(student, "your own", parameters(network), macs(network, n_mels)))
    rows.sort(key=lambda row: row.parameters)
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        _print_table(rows)


def _print_table(rows: list[Row]) -> None:
    from rich.table import Table

    table = Table("name", "network", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("MACs, 1 s", justify="right")
    for row in rows:
        table.add_row(row.name, row.summary, _short(row.parameters), _short(row.macs))
    console.out.print(table)


def _short(count: int) -> str:
    """9.5 k, 0.19 M, 2.5 M, 105 M."""
    if count < 1e5:
        return f"{count / 1e3:.1f} k"
    return f"{count / 1e6:.2f} M" if count < 1e6 else f"{count / 1e6:.1f} M" if count < 1e7 else f"{count / 1e6:.0f} M"
