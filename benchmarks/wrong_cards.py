"""What is said about right and about wrong cards: each teacher under its own dialect and under others.

    python benchmarks/wrong_cards.py TEACHER.pt ... [--train FOLDER --out DIR --network dscnn_s]

TEACHER is anything that `frami-edge inspect` opens; code beside it is run (as with --trust). With --train, small
teachers are first trained on the recordings in FOLDER with cards of several dialects, about half a minute each.
Prints a Markdown table: the gap under each card, and whether nothing, a warning or an error is said. A diagnosis is
right where it names the change that was made to the card.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from frami_edge import recordings
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.cli.main import app
from frami_edge.datasets import open_dataset
from frami_edge.teacher.dialects import CardCheck, check_card
from frami_edge.teacher.opening import open_teacher
from frami_edge.training import with_normalisation

TRAINED = {  # name -> dialect; "global" takes mean and deviation from the recordings
    "ln": {"log": "ln"},
    "db": {"log": "db", "log_offset": 1e-10},
    "log10": {"log": "log10", "log_offset": 1e-10},
    "ln, magnitude": {"log": "ln", "power": 1.0},
    "ln, global": {"log": "ln", "normalisation": "global"},
}
COLUMNS = ("teacher", "its dialect", "right card", "says ln", "says log10", "says dB", "other power",
           "normalisation left out or invented")
INVENTED = Normalisation(kind="global", mean=-6.0, std=4.0)


def wrong_cards(card: TeacherCard) -> Iterator[tuple[str, TeacherCard | None]]:
    """The card itself, then each wrong one; None where it would be the right one."""
    spec = card.frontend

    def changed(**values: object) -> TeacherCard:
        return card.model_copy(update={"frontend": spec.model_copy(update=values)})

    yield "right", card
    for log, offset in (("ln", 1e-6), ("log10", 1e-10), ("db", 1e-10)):
        yield log, None if log == spec.log else changed(log=log, log_offset=offset)
    yield "power", changed(power=3.0 - spec.power)
    yield "normalisation", changed(normalisation=INVENTED if spec.normalisation.kind == "none" else Normalisation())


def cell(found: CardCheck) -> str:
    if found.fit is None:
        return "no BatchNorm"
    said = "**error**" if found.sure else "warning" if found.warning else "-"
    looks = f": {'; '.join(each.words for each in found.better)}" if found.better else ""
    return f"{found.fit.gap:.2f} {said}{looks}"


def row(path: Path, name: str) -> str:
    opened = open_teacher(path, trust=True)
    spec, cells = opened.card.frontend, []
    for what, card in wrong_cards(opened.card):
        if card is not None:
            opened.teacher.card = card
        cells.append("" if card is None else cell(check_card(opened.teacher)))
        print(f"{name}, {what}: {cells[-1]}", file=sys.stderr, flush=True)
    dialect = f"{spec.log}, {spec.log_offset:g}, power {spec.power:g}, {spec.normalisation.kind}"
    return f"| {' | '.join([name, dialect, *cells])} |"


def train(folder: Path, out: Path, network: str, dialects: list[str], epochs: int) -> list[Path]:
    """A checkpoint for each dialect; those that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    data, made = open_dataset(folder), []
    for name in dialects:
        path = out / f"{network} {name}.pt"
        made.append(path)
        if path.exists():
            continue
        values = dict(TRAINED[name])
        normalised = values.pop("normalisation", "")
        spec = MelSpec(n_fft=256, win_length=200, hop_length=80, f_max=4000.0, **values)
        card = TeacherCard(labels=data.labels, time_dependent=True, frontend=spec,
                           clip=Clip(sample_rate=8000, preparation="center-pad"))
        if normalised:
            card = with_normalisation(card, recordings.load(data.clips, card))
        path.with_suffix(".toml").write_text(card.to_toml(), encoding="utf-8")
        words = ["train", str(folder), "--network", network, "--card", str(path.with_suffix(".toml")), "--out",
                 str(path), "--epochs", str(epochs), "--batch-size", "32", "--lr", "0.05"]
        done = CliRunner().invoke(app, words)
        if done.exit_code:
            raise SystemExit(f"{' '.join(words)}\n{done.output}")
        print(f"trained {path}", file=sys.stderr, flush=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teachers", type=Path, nargs="*")
    parser.add_argument("--train", type=Path, help="labelled recordings")
    parser.add_argument("--out", type=Path, default=Path("wrong-cards"), help="where trained teachers go")
    parser.add_argument("--network", default="dscnn_s")
    parser.add_argument("--dialects", nargs="+", choices=list(TRAINED), default=list(TRAINED))
    parser.add_argument("--epochs", type=int, default=14)
    given = parser.parse_args()
    paths = list(given.teachers)
    if given.train:
        paths += train(given.train, given.out, given.network, given.dialects, given.epochs)
    rows = [row(path, path.stem if path.stem != "teacher" else path.parent.name) for path in paths]
    print("\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows]))


if __name__ == "__main__":
    main()
