"""`frami-edge inspect`: what a teacher's file holds, whether its card can be right, and a card to complete."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frami_edge.cli import console, options
from frami_edge.errors import EXIT_CHECK_FAILED

if TYPE_CHECKING:
    from frami_edge.teacher.inspecting import Inspection, NetworkFound

HELP = """
Say what is in FILE, check its card, or draft one.

\b
  frami-edge inspect teacher.pt                      # what it holds; without a card, writes teacher.toml to complete
  frami-edge inspect teacher.pt --arch model.py:build   # run the vendor's code that builds the network
  frami-edge inspect vendor/teacher.pt --trust       # run the model.py that its card names, or a whole pickled module
  frami-edge inspect teacher.pt --card other.toml    # can this card be right?
  frami-edge inspect teacher.pt --json               # for machines

The network is probed, not read: layouts, lengths, pooling over time, kind of output. With a card, synthetic sounds go
through its front-end, and what arrives at the first BatchNorm layers is compared with what these remember of the
training data. Exit code 1 says that the card is wrong or not complete.
"""


def register(app: typer.Typer) -> None:
    @app.command("inspect", help=HELP)
    def inspect(
        file: Annotated[Path, typer.Argument(help="A teacher's checkpoint, with or without its card.")],
        card: options.Card = None,
        arch: Annotated[str | None, typer.Option(help="One that `frami-edge networks` lists, or model.py:build.",
                                                 show_default=False)] = None,
        trust: options.Trust = False,
        write: Annotated[bool | None, typer.Option(
            "--write/--no-write", show_default=False,
            help="Write the card beside FILE, teacher.toml; by default where there is none and the network could be "
                 "built.")] = None,
        force: options.Force = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    ) -> None:
        from frami_edge.card import CARD_NAME
        from frami_edge.files import refuse_overwrite
        from frami_edge.teacher.inspecting import beside, inspect

        target = beside(file) or file.with_name(CARD_NAME)  # where the next command looks
        if write:
            refuse_overwrite(target, force)  # before the work
        found = inspect(file, card, arch, trust)
        if as_json:
            _print_json(found)
        else:
            console.out.print("\n".join(_lines(found)), highlight=False, markup=False, soft_wrap=True)
        if write or (write is None and not found.card_at and not target.exists() and not found.not_built):
            _write(found, target)
        elif write is None and not found.card_at and found.not_built:
            console.err.print(_next(found), highlight=False, markup=False, soft_wrap=True)
        if found.card_is_wrong:
            raise typer.Exit(EXIT_CHECK_FAILED)


def _write(found: "Inspection", target: Path) -> None:
    from frami_edge.files import write_atomically
    from frami_edge.teacher.drafting import draft

    text = found.card.to_toml() if found.card else draft(found)
    write_atomically(target, lambda aside: aside.write_text(text, encoding="utf-8"))
    todo = "complete" if found.card else "replace each \"FILL IN\" in it, check each GUESS, and inspect again"
    console.err.print(f"Wrote {target}: {todo}.", highlight=False, markup=False, soft_wrap=True)


def _next(found: "Inspection") -> str:
    """What to type where nothing says what builds the network: a draft would lack what probing finds."""
    first, *others = dict.fromkeys(match.architecture for match in found.matches) or ["model.py:build"]
    return (f"No card was drafted. Next: frami-edge inspect {shlex.quote(str(found.path))} --arch {first}"
            + "".join(f", or {other}" for other in others))


def _print_json(found: "Inspection") -> None:
    import json

    table: dict[str, Any] = asdict(found) | {"path": str(found.path), "card_is_wrong": found.card_is_wrong,
                                             "warning": found.check.warning if found.check else ""}
    table["card"] = found.card.model_dump(mode="json") if found.card else None
    table["weights"] = [each._asdict() for each in found.weights]
    table["matches"] = [each._asdict() for each in found.matches]
    if found.network:
        network = table["network"]
        network["batch_norms"] = [each._asdict() for each in found.network.batch_norms]
        network["layouts"] = [each._asdict() for each in found.network.layouts]
        network["lengths"] = found.network.lengths._asdict() if found.network.lengths else None
    if found.check:
        fit = found.check.fit
        table["check"] = {
            "gap": fit.gap if fit else None, "layers": [each._asdict() for each in fit.layers] if fit else [],
            "better": [each._asdict() for each in found.check.better], "sure": found.check.sure}
    typer.echo(json.dumps(table, indent=2))


def _lines(found: "Inspection") -> list[str]:
    lines = [f"{found.path}: {found.kind}", f"  sha256          {found.sha256}"]
    for each in found.weights:
        place = f"'{each.place}': " if each.place else ""
        guess = f", {each.classes} classes (rows of the last matrix)" if each.classes else ""
        lines.append(f"  state_dict      {place}{each.tensors} tensors, {_count(each.parameters)} parameters, "
                     f"{each.dtype}{guess}")
    for match in found.matches:
        bands = f"{_bands(match.n_mels)} Mel bands"
        lines.append(f"  fits            {match.architecture} ({match.classes} classes, {bands})")
    if found.network:
        lines += _network_lines(found.network, found.architecture)
    elif found.not_built:
        lines.append(f"  network         not built: {found.not_built}")
    return lines + _card_lines(found)


def _network_lines(net: "NetworkFound", architecture: str) -> list[str]:
    macs = f", {_count(net.macs)} MACs for {net.layouts[0].frames} frames" if net.macs else ""
    lines = [f"  network         {net.name}{f' of {architecture}' if architecture else ''}: {net.layers} layers, "
             f"{_count(net.parameters)} parameters{macs}"]
    dead = [f"{each.name} ({each.dead} of {each.channels})" for each in net.batch_norms if each.dead]
    lines.append(f"  BatchNorm       {len(net.batch_norms) or 'no'} layers"
                 + (f"; dead channels in {', '.join(dead)}" if dead else ", no dead channels" if net.batch_norms else
                    ": inversion has little to go by (--without-bn)"))
    for layout in net.layouts:
        bands = f", {_bands(layout.n_mels)} Mel bands" if layout.n_mels else ""
        lines.append(f"  takes           {layout.name}{bands}")
    if net.lengths:
        lines.append("  lengths         " + (f"{net.lengths.shortest} frames alone" if net.lengths.fixed else
                                              f"any of at least {net.lengths.shortest} frames"))
    if net.classes:
        alike = "" if net.outputs_differ else "; the SAME for different clips: untrained or damaged?"
        lines.append(f"  output          {net.classes} classes, {net.output}{alike}")
    if net.frames_at:
        behind = f", seen by {net.pooled_at}" if net.pooled_at else ""
        lines += [f"  pooling         {net.pooling} over time of {net.frames_at} (frame-level state){behind}",
                  f"  stages          {', '.join(net.stages)}"]
    return lines + [f"  quirk           {each}" for each in net.quirks] + (
        [f"  problem         {net.problem}"] if net.problem else [])


def _card_lines(found: "Inspection") -> list[str]:
    if not found.card_at:
        return ["  card            none"]
    where = "inside the file" if found.card_at == "inside" else found.card_at
    if found.card_problem:
        return [f"  card            {where}: WRONG. {found.card_problem}"]
    if found.check is None:
        return [f"  card            {where}: not checked against the network"]
    fit, warning = found.check.fit, found.check.warning
    if warning:
        return [f"  card            {where}: {'WRONG' if found.check.sure else 'DOUBTFUL'}: {warning}"]
    if fit is None:
        return [f"  card            {where}: no BatchNorm to check its front-end by"]
    lines = [f"  card            {where}: plausible (gap {fit.gap:.2f})"]
    for layer in fit.layers:
        lines.append(f"                  at {layer.name} the sounds reach a mean {layer.mean_offset:.2f} running "
                     f"deviations off and {layer.variance_ratio:.2f} of the variance")
    return lines


def _bands(n_mels: tuple[int, ...]) -> str:
    return "any number of" if len(n_mels) > 8 else " or ".join(map(str, n_mels))


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e5 else f"{number / 1e3:.1f} k"
