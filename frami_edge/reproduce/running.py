"""Running a cell: one of this program's own commands in a process of its own, then the accuracy of what it made."""

import contextlib
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frami_edge import __version__, checkpoints
from frami_edge.datasets import Dataset
from frami_edge.errors import FramiError
from frami_edge.evaluation import Evaluation, evaluate, torch_model
from frami_edge.files import sha256, write_atomically
from frami_edge.interrupts import INTERRUPTED, interrupt
from frami_edge.reproduce import results
from frami_edge.reproduce.results import Result
from frami_edge.reproduce.tasks import Options, Task
from frami_edge.runtime.fresh import OWN_PACKAGES, own_path
from frami_edge.tables import to_toml
from frami_edge.teacher.opening import OpenedTeacher, open_teacher

DECIMALS = 4  # of the logits that are kept
PATIENCE = 15  # seconds in which an interrupted command saves what it has
Call = Callable[[list[str], Path], int]  # (words after `frami-edge`, file for its results) -> exit code


@dataclass
class Column:
    """What the cells of one data set and one teacher share."""

    data: Dataset  # labelled as the data set does
    folder: Path  # of the data set
    path: Path | None = None  # the teacher's file, once there is one
    opened: OpenedTeacher | None = None
    predicted: tuple[int, ...] = ()  # by the teacher, on the test clips
    _hashes: dict[tuple[str, ...], str] = field(default_factory=dict)

    def clips_sha256(self, test: tuple[str, ...]) -> str:
        """Identifies the split: the names of the test clips, and the number of the others."""
        if test not in self._hashes:
            rest, kept = self.data.split(*test)
            names = [self.name(clip.path) for clip in kept.clips]
            split = json.dumps([self.data.name, len(rest.clips), names])
            self._hashes[test] = hashlib.sha256(split.encode()).hexdigest()
        return self._hashes[test]

    def name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


class Runner:
    """Runs tasks; ``call`` can be replaced in tests."""

    def __init__(self, options: Options, call: "Call | None" = None) -> None:
        self.options, self.call = options, call or run_command

    def key(self, task: Task, column: Column) -> str:
        """Of a task whose column has its teacher, where it needs one."""
        teacher = f"{column.opened.sha256} {column.opened.card.sha256}" if column.opened else ""
        if task.cell.kind == "teacher" and not self.options.teacher:
            teacher = ""  # it is made from nothing
        return task.key(column.clips_sha256(task.cell.test), teacher, self.options.budget)

    def done(self, task: Task, column: Column) -> Result | None:
        key = self.key(task, column)
        return results.read(task.folder(self.options.out, key), key)

    def begun(self, task: Task, column: Column) -> bool:
        return (task.folder(self.options.out, self.key(task, column)) / "student.run" / "checkpoint.pt").is_file()

    def run(self, task: Task, column: Column) -> Result:
        """Make what the cell needs, unless it is there, and take its accuracy.

        Raises:
            FramiError: the command failed; it said why on stderr.
            KeyboardInterrupt: Ctrl-C; what was made so far is kept.
        """
        key = self.key(task, column)
        folder = task.folder(self.options.out, key)
        given = self.options.teacher if task.cell.kind == "teacher" else None
        model = given or folder / ("teacher.pt" if task.cell.kind == "teacher" else "student.pt")
        folder.mkdir(parents=True, exist_ok=True)
        if not given and not whole(model):
            if task.cell.kind == "student" and column.opened:  # whose front-end and labels it takes too
                card = column.opened.card.to_toml()
                write_atomically(card_beside(model), lambda aside: aside.write_text(card, encoding="utf-8"))
            if task.recipe.endswith(".toml"):  # the user's file, which may be edited while other cells run
                recipe = to_toml(task.values)
                write_atomically(recipe_beside(model), lambda aside: aside.write_text(recipe, encoding="utf-8"))
            words = command(task, model, column, self.options)
            code = self.call(words, folder / "output.txt")
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            if code != 0 or not model.is_file():
                raise FramiError(f"{task.recipe}, seed {task.seed}, failed with exit code {code}.",
                                 f"To see why: frami-edge {shlex.join(words)}")
        result = self._evaluated(task, column, key, model)
        result.write(folder)
        return result

    def _evaluated(self, task: Task, column: Column, key: str, path: Path) -> Result:
        """The accuracy on the test clips: that of the last step, as everywhere."""
        options, cell = self.options, task.cell
        if path == options.teacher:
            opened = open_teacher(path, card=options.card, arch=options.arch, trust=options.trust)
            provenance: dict[str, Any] = {}
        else:
            opened, provenance = open_teacher(path), checkpoints.load(path).provenance
        if task.data_free and column.opened and provenance.get("teacher_sha256") != column.opened.sha256:
            raise FramiError(f"{path} is not a student of the teacher of this table.",
                             "The teacher's file was replaced while its students were made; run them again.")
        test = column.data.with_labels(opened.card.labels).split(*cell.test)[1]
        found = evaluate(torch_model(opened.teacher, opened.card), test.clips)
        agreement = None
        if column.predicted and cell.kind != "teacher":
            agreement = found.agreements(column.predicted) / found.n
        return Result(
            key=key, recipe=task.recipe, group=task.group, arm=task.arm, kind=cell.kind, teacher=cell.teacher,
            student=cell.student, dataset=column.data.name, test=list(cell.test), seed=task.seed,
            budget=options.budget if task.data_free else "", values=task.values, labels=list(test.labels),
            clips=[column.name(clip.path) for clip in test.clips], truth=[clip.label for clip in test.clips],
            agreement=agreement, teacher_sha256=column.opened.sha256 if column.opened else "",
            given_teacher=column.opened.source if column.opened and options.teacher else "",
            **outcome(path, found, provenance))

    def adopt_teacher(self, task: Task, column: Column, result: Result) -> None:
        """Let the column's other cells use the teacher that ``task`` made, or that was given."""
        options = self.options
        column.path = options.teacher or task.folder(options.out, result.key) / "teacher.pt"
        column.opened = open_teacher(column.path, card=options.card, arch=options.arch, trust=options.trust)
        column.predicted = tuple(result.predicted)


def outcome(model: Path, found: Evaluation, provenance: dict[str, Any]) -> dict[str, Any]:
    """The fields of :class:`Result` that say what a model did on the test clips, and how it was made."""
    seconds = provenance.get("seconds", 0.0)
    return {
        "predicted": list(found.predicted), "logits": found.logits.astype(float).round(DECIMALS).tolist(),
        "seconds": sum(seconds.values()) if isinstance(seconds, dict) else seconds,
        "samples": provenance.get("samples"), "verdict": provenance.get("verdict", {}), "model_sha256": sha256(model),
        "version": __version__, "compute": provenance.get("compute", ""),
    }


def card_beside(model: Path) -> Path:
    """The teacher's card in the folder of a student that learns without it."""
    return model.with_name("teacher.toml")


def recipe_beside(model: Path) -> Path:
    """The user's recipe as it was when the table was begun, in the folder of a cell."""
    return model.with_name("row.toml")


def command(task: Task, model: Path, column: Column, options: Options) -> list[str]:
    """The words after ``frami-edge`` that make ``model``."""
    cell = task.cell
    recipe = str(recipe_beside(model)) if task.recipe.endswith(".toml") else task.recipe
    common = ["--recipe", recipe, *(word for each in task.overrides for word in ("--set", each)), "--seed",
              str(task.seed), "--out", str(model), "--device", options.device, "--precision", options.precision]
    teacher = [str(column.path), *_opening(options)]
    if task.data_free:
        budget = ["--budget", options.budget] if options.budget else []
        believe = ["--believe-card"] if options.believe_card else []
        return ["distill", *teacher, "--student", cell.network, *common, *budget, *believe, "--resume"]
    words = ["train", str(column.folder), "--dataset", cell.dataset, *(w for g in cell.test for w in ("--test", g)),
             "--network", cell.network, *common, "--force"]
    if cell.kind == "kd":
        words += ["--teacher", *teacher]
    if cell.kind == "student":
        words += ["--card", str(card_beside(model))]
    return words


def _opening(options: Options) -> list[str]:
    """How a vendor's teacher is opened; one that was trained here needs none of it."""
    words = ["--card", str(options.card)] if options.card else []
    words += ["--arch", options.arch] if options.arch else []
    return words + (["--trust"] if options.trust else [])


def whole(model: Path) -> bool:
    """Whether ``model`` was made to its end; an interrupted training leaves its last epoch."""
    return model.is_file() and not checkpoints.load(model).provenance.get("interrupted")


def run_command(words: list[str], output: Path) -> int:
    """``frami-edge WORDS`` in a process of its own; its results go to ``output``, its progress to our stderr.

    The process has its own group, so Ctrl-C in a terminal reaches us alone; it is then passed on, and we wait until
    the process has saved what it has.
    """
    group = 0 if os.name == "posix" else None
    with open(output, "a", encoding="utf-8") as results_file, subprocess.Popen(
            [sys.executable, *OWN_PACKAGES, "frami_edge", *words], stdout=results_file, process_group=group,
            env={**os.environ, "PYTHONPATH": own_path()}) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            _interrupt(process)
            raise


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """Pass Ctrl-C on and wait; again after a while, for while a library is imported it may be swallowed.

    On Windows the console has told the process already, and there is no sending that to it.
    """
    while process.poll() is None:
        if os.name == "posix":
            process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:  # a second Ctrl-C
            process.kill()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end a run as Ctrl-C does, and SIGINT is not ignored, wherever we were started from.

    A shell starts what runs in its background with SIGINT ignored, and the processes started here would inherit that.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
