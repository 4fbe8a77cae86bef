"""Does it work for networks that are not ours? Ten families are trained, then distilled without and with recordings.

    python benchmarks/zoo.py fsdd --test theo --out zoo                      # all of them, default settings: hours
    python benchmarks/zoo.py fsdd --test theo --out zoo --families crnn vgg  # some; a second call goes on

Each family gets a folder with the teacher as a vendor ships it (state_dict and card), student.pt made by `frami-edge
distill`, kd.pt distilled with the recordings, and result.json. What is there is not made again, and an interrupted
distillation goes on. The table of all results is printed and written to OUT/table.md.
"""

import argparse
import contextlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
import zoo_networks
from torch import Tensor, nn

from frami_edge import checkpoints, networks
from frami_edge.card import TeacherCard
from frami_edge.cli.distilling import run_distill
from frami_edge.compute import Compute, choose
from frami_edge.datasets import open_dataset
from frami_edge.errors import FramiError
from frami_edge.evaluation import evaluate, torch_model
from frami_edge.files import write_atomically
from frami_edge.hidden_states import clip_output
from frami_edge.recordings import Recordings, load
from frami_edge.statistics import spearman
from frami_edge.teacher.opening import OpenedTeacher, open_teacher
from frami_edge.training import Settings, Training, default_card, with_normalisation

CODE = Path(zoo_networks.__file__)
COLUMNS = ("teacher", "pooling", "BatchNorm", "parameters", "teacher's accuracy", "no recordings: agreement",
           "accuracy", "KD with recordings: agreement", "accuracy", "difference", "agreement on fresh samples")


class Logits(nn.Module):
    """A vendor's network as training wants it: (batch, n_mels, frames) -> logits."""

    channels_last = False  # some use view

    def __init__(self, net: nn.Module, card: TeacherCard) -> None:
        super().__init__()
        self.net, self.card = net, card

    def forward(self, log_mel: Tensor) -> Tensor:
        arranged = {"B1FT": log_mel.unsqueeze(1), "BFT": log_mel, "BTF": log_mel.transpose(1, 2)}[self.card.layout]
        values = clip_output(self.net(arranged), len(log_mel), self.card.classes)
        return values.clamp_min(1e-20).log() if self.card.output == "softmax" else values


class Zoo:
    """What is the same for all families. The recordings are read when the first training wants them."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.out = given, Path(given.out)
        self.compute: Compute = choose(given.device, given.precision)
        self.training_part, self.test_part = open_dataset(given.folder).split(*given.test)
        self.settings = Settings(epochs=given.epochs, lr=given.lr, seed=given.seed)
        self._recordings: Recordings | None = None
        self.test_clips = self.test_part.clips[:: given.every]

    @property
    def recordings(self) -> Recordings:
        if self._recordings is None:
            tell(f"reading {self.training_part.name}")
            self._recordings = load(self.training_part.clips[:: self.given.every], default_card(self.training_part))
        return self._recordings

    def family(self, name: str) -> dict[str, Any]:
        """One row of the table; made step by step where it is not there."""
        folder = self.out / name
        folder.mkdir(parents=True, exist_ok=True)
        result = folder / "result.json"
        if not result.exists():
            opened = self._teacher(name, folder)
            student = self._student(opened, folder)
            kd = self._kd(opened, folder)
            row = self._judge(opened, student.network, kd) | {"teacher": name, "verdict": student.provenance["verdict"]}
            write_atomically(result, lambda aside: aside.write_text(json.dumps(row, indent=2), encoding="utf-8"))
        return json.loads(result.read_text(encoding="utf-8"))

    def _teacher(self, name: str, folder: Path) -> OpenedTeacher:
        """Train it as a vendor would and ship it; then open what was shipped."""
        path = folder / "teacher.pt"
        if not path.exists():
            tell(f"{name}: training the teacher")
            card = with_normalisation(default_card(self.training_part), self.recordings).model_copy(
                update={"architecture": f"{CODE.name}:{name}", **zoo_networks.FAMILIES[name]})
            torch.manual_seed(self.given.seed)
            net = getattr(zoo_networks, name)()
            Training(Logits(net, card), self.recordings, card, self.settings, self.compute).run(progress)
            (folder / "teacher.toml").write_text(card.to_toml(), encoding="utf-8")
            write_atomically(path, lambda aside: torch.save(net.state_dict(), aside))
        return open_teacher(path, arch=f"{CODE}:{name}")

    def _student(self, opened: OpenedTeacher, folder: Path) -> checkpoints.Checkpoint:
        path = folder / "student.pt"
        if not path.exists():
            overrides = list(self.given.set) + ([] if opened.teacher.batch_norms() else ["inversion.bn_weight=0"])
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for the table
                run_distill(opened, folder / "teacher.pt", self.given.student, path, recipe=self.given.recipe,
                            overrides=overrides, seed=self.given.seed, resume=True, device=self.given.device,
                            precision=self.given.precision)
        return checkpoints.load(path)

    def _kd(self, opened: OpenedTeacher, folder: Path) -> nn.Module:
        path = folder / "kd.pt"
        if not path.exists():
            tell(f"{folder.name}: distilling with the recordings")
            torch.manual_seed(self.given.seed)
            network = networks.build(self.given.student, opened.card.classes, opened.card.frontend.rows)
            Training(network, self.recordings, opened.card, self.settings, self.compute,
                     opened.teacher).run(progress)
            checkpoints.save(path, network, opened.card, {"teacher_sha256": opened.sha256, "seed": self.given.seed})
        return checkpoints.load(path).network

    def _judge(self, opened: OpenedTeacher, student: nn.Module, kd: nn.Module) -> dict[str, Any]:
        teacher = opened.teacher.cpu()
        clips = self.test_clips
        theirs = evaluate(torch_model(teacher, opened.card), clips)
        row: dict[str, Any] = {
            "n": len(clips), "seed": self.given.seed, "pooling": teacher.taps.form.pooling,
            "batch_norms": len(teacher.batch_norms()), "parameters": networks.parameters(teacher.net),
            "accuracy": theirs.accuracy,
        }
        for name, network in (("student", student), ("kd", kd)):
            ours = evaluate(torch_model(network, opened.card), clips)
            row[name] = {"agreement": ours.agreements(theirs.predicted) / ours.n, "accuracy": ours.accuracy}
        return row


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; the difference is that of the agreements, in points."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        student, kd = row["student"], row["kd"]
        lines.append(
            f"| {row['teacher']} | {row['pooling']} | {row['batch_norms'] or 'none'} | {row['parameters'] / 1e3:.0f} k "
            f"| {row['accuracy']:.1%} | {student['agreement']:.1%} | {student['accuracy']:.1%} "
            f"| {kd['agreement']:.1%} | {kd['accuracy']:.1%} "
            f"| {100 * (student['agreement'] - kd['agreement']):+.1f} | {row['verdict']['agreement']:.1%} |")
    return "\n".join([*lines, *follows(rows)])


def follows(rows: list[dict[str, Any]]) -> list[str]:
    """Which figures of the verdict, given without recordings, rank the teachers as their students' agreement does."""
    real = [row["student"]["agreement"] for row in rows]
    names = [name for name, value in rows[0]["verdict"].items() if isinstance(value, float)]
    found = {name: spearman([row["verdict"][name] for row in rows], real) for name in names} if len(rows) > 4 else {}
    listed = ", ".join(f"{name.replace('_', ' ')} {rho:+.2f}" for name, rho in found.items() if not math.isnan(rho))
    return ["", f"Rank correlation of the verdict with the agreement on the test clips, over the teachers: {listed}."
            ] if listed else []


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def progress(state: Any) -> None:
    if state.step % 200 == 0:
        tell(f"  step {state.step}/{state.steps}: loss {state.loss:.3f}, accuracy {state.accuracy:.1%}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="labelled recordings of ten classes")
    parser.add_argument("--test", nargs="+", required=True, help="speakers or folds kept for the test")
    parser.add_argument("--out", type=Path, default=Path("zoo"))
    families = list(zoo_networks.FAMILIES)
    parser.add_argument("--families", nargs="+", choices=families, default=families)
    parser.add_argument("--student", default="wrn16")
    parser.add_argument("--recipe", help="by default the one that `frami-edge distill` takes for each teacher")
    parser.add_argument("--set", action="append", default=[], help="as in frami-edge distill")
    parser.add_argument("--epochs", type=int, default=0, help="of teachers and of KD with recordings; 0: as train's")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--every", type=int, default=1, help="take every Nth recording alone, to try it out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    return parser


def main(words: list[str] | None = None) -> int:
    try:
        zoo = Zoo(arguments().parse_args(words))
        for name in zoo.given.families:
            zoo.family(name)
    except FramiError as error:
        tell(f"error: {error}")
        return error.exit_code
    results = (zoo.out / name / "result.json" for name in zoo_networks.FAMILIES)
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in results if path.exists()]
    text = (f"Student {zoo.given.student}, {zoo.given.recipe or 'default'} recipe, "
            f"test on {' and '.join(zoo.given.test)} (n = {rows[0]['n']}), seed {zoo.given.seed}.\n\n{table(rows)}\n")
    (zoo.out / "table.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
