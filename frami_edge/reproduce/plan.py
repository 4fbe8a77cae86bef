"""The plan of a table: which tasks are done, how long the others will take, and running them one after another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from frami_edge import checkpoints
from frami_edge.compute import choose as choose_compute
from frami_edge.datasets import Dataset, locate, open_dataset
from frami_edge.durations import seconds_of
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.recipe import Inversion
from frami_edge.reproduce import results, timing, writing
from frami_edge.reproduce.results import Result
from frami_edge.reproduce.running import Column, Runner
from frami_edge.reproduce.tasks import Options, Task, choose, known_row
from frami_edge.teacher.opening import open_teacher

DONE, BEGUN, TO_DO = "done", "begun", "to do"
Tell = Callable[[str], object]


@dataclass
class Entry:
    task: Task
    state: str
    seconds: float  # that it will take; 0 where it is done


class Outcome(NamedTuple):
    results: list[Result]
    failures: list[FramiError]


class Plan:
    """All tasks of a table.

    Args:
        against: the arm that every other one is compared with, or a recipe file among the arms.

    Raises:
        FramiError: a data set is missing or not what was expected, no such arm, or the teacher cannot be opened.
    """

    def __init__(self, name: str, options: Options, against: str = "frami", runner: Runner | None = None) -> None:
        self.name, self.options = name, options
        self.tasks = choose(name, options)
        self.everything = choose(name, replace(options, first_seed=0, seeds=1), everything=True)
        self.against = known_row(against, self.everything)
        self.runner = runner or Runner(options)
        self.columns = _open_columns(self.tasks, options)
        for task in self.tasks:
            found = self._done(task)
            if found and task.cell.kind == "teacher":
                self.runner.adopt_teacher(task, self._column(task), found)

    def shortfalls(self) -> list[str]:
        """A sentence for each data set that is not whole."""
        return sorted({column.data.shortfall for column in self.columns.values()} - {""})

    def without_effect(self) -> list[str]:
        """A sentence for each arm that leaves out what the teachers at hand do not have, and is `frami` once more."""
        cropped = {task.recipe for task in self.tasks if task.arm == "frami-no-prepare"
                   and (opened := self._column(task).opened) and opened.card.clip.preparation == "crop"}
        short = {task.recipe for task in self.tasks if task.arm == "frami-no-finv"
                 and (opened := self._column(task).opened)
                 and not Inversion(**task.values["inversion"]).most_chunks(opened.card.frames)}
        frami = {(task.group, task.cell.teacher, task.cell.student): task.values for task in self.everything
                 if task.arm == "frami"}
        overridden = {task.recipe for task in self.tasks if task.arm != "frami" and task.data_free
                      and task.values == frami.get((task.group, task.cell.teacher, task.cell.student))}
        nothing = dict.fromkeys(sorted(overridden), "with these --set it has the values of frami")
        nothing |= dict.fromkeys(sorted(cropped - overridden), "the teacher's clips are cropped, so there is no clip "
                                 "preparation to leave out")
        nothing |= dict.fromkeys(sorted(short - overridden), "the teacher's clips are too short to be cut into chunks, "
                                 "so there is no T_finv to leave out")
        return [f"{recipe}: {why}; it is FRAMI once more." for recipe, why in nothing.items()]

    def entries(self, tell: Tell = lambda line: None) -> list[Entry]:
        """The state of each task, with the time it will take; times a few steps where no cell like it is done."""
        compute = choose_compute(self.options.device, self.options.precision)
        done, known = results.below(self.options.out), dict[str, float]()
        entries = []
        for task in self.tasks:
            state = self._state(task)
            if state != DONE and task.recipe not in known:
                column, seconds = self._column(task), timing.from_results(task, self.options.budget, done)
                if self.options.teacher and task.cell.kind == "teacher":
                    seconds = 0.0  # only its accuracy is taken
                if seconds is None:
                    tell(f"timing a few steps of {task.recipe}")
                    budget = seconds_of(self.options.budget) if self.options.budget else 0.0
                    seconds = timing.measured(task, column, compute, budget)
                known[task.recipe] = seconds
            entries.append(Entry(task, state, 0.0 if state == DONE else known[task.recipe]))
        return entries

    def run(self, entries: list[Entry], tell: Tell) -> Outcome:
        """Run what is not done. The table is written anew after each cell, so an interruption leaves one too.

        A cell that fails is told and left out; a teacher that fails ends the run, for nothing can go on without it.
        """
        outcome = Outcome([], [])
        for number, entry in enumerate(entries):
            task, column = entry.task, self._column(entry.task)
            left = sum(other.seconds for other in entries[number:])
            found = self._done(task)
            if found is None:
                tell(f"[{number + 1}/{len(entries)}] {task.recipe}, seed {task.seed}: {duration(entry.seconds)}; "
                     f"{duration(left)} in all")
                try:
                    found = self.runner.run(task, column)
                except FramiError as error:
                    if task.cell.kind == "teacher":
                        raise
                    tell(f"{error.problem} {error.hint}")
                    outcome.failures.append(error)
                    continue
                tell(f"    {100 * found.accuracy:.1f} % of {len(found.truth)} clips, {duration(found.seconds)}")
            if task.cell.kind == "teacher" and not column.predicted:
                self.runner.adopt_teacher(task, column, found)
            outcome.results.append(found)
            later = [result for each in entries[number + 1 :] if (result := self._done(each.task))]
            writing.write(self.options.out, self.name, [*outcome.results, *later, *self._beside()], self.against)
        return outcome

    def _beside(self) -> list[Result]:
        """What earlier runs with the same settings did beyond the tasks of this one: it belongs in the table too."""
        seeds = {found.seed for found in results.below(self.options.out)}
        chosen = {(task.recipe, task.seed) for task in self.tasks}
        found = (self._done(replace(task, seed=seed)) for task in self.everything
                 if (task.group, task.cell.teacher) in self.columns
                 for seed in (seeds if task.cell.kind != "teacher" else {0}) if (task.recipe, seed) not in chosen)
        return [result for result in found if result]

    def _column(self, task: Task) -> Column:
        return self.columns[task.group, task.cell.teacher]

    def _done(self, task: Task) -> Result | None:
        column = self._column(task)
        if column.opened is None and task.cell.kind != "teacher":
            return None  # what it depends on is not there
        return self.runner.done(task, column)

    def _state(self, task: Task) -> str:
        if self._done(task):
            return DONE
        column = self._column(task)
        return BEGUN if column.opened and self.runner.begun(task, column) else TO_DO


def _open_columns(tasks: list[Task], options: Options) -> dict[tuple[str, str], Column]:
    """The data of each column, split as its cells want it, and the teacher where one was given."""
    opened: dict[str, tuple[Dataset, Column]] = {}
    columns: dict[tuple[str, str], Column] = {}
    tests: dict[tuple[str, str], tuple[str, ...]] = {}
    given = open_teacher(options.teacher, card=options.card, arch=options.arch, trust=options.trust) \
        if options.teacher else None
    for task in tasks:
        cell, key = task.cell, (task.group, task.cell.teacher)
        if cell.test != tests.setdefault(key, cell.test):
            raise FramiError(f"{task.recipe} is tested on {', '.join(cell.test)}, and the others of its column on "
                             f"{', '.join(tests[key])}.", "Leave 'test' out of its [cell], or choose the groups of all "
                             "rows with --test.", exit_code=EXIT_USAGE)
        if key in columns:
            continue
        if cell.dataset not in opened:
            folder = locate(options.data, cell.dataset)
            data = open_dataset(folder, cell.dataset)
            opened[cell.dataset] = data, Column(data, folder)
        data, column = opened[cell.dataset]
        rest, _ = data.split(*cell.test)
        if not rest.clips:
            raise FramiError(f"{column.folder}: all clips are in the test, and none is left to train on.")
        if given and options.teacher:
            data.with_labels(given.card.labels)  # a class that the teacher lacks is told now
            _refuse_seen(options, cell.test)
        columns[key] = Column(data, column.folder, options.teacher, given)
    return columns


def _refuse_seen(options: Options, test: tuple[str, ...]) -> None:
    """A teacher whose own record says that it was trained on test clips is no teacher for this table."""
    assert options.teacher is not None
    try:
        record = checkpoints.load(options.teacher, options.arch, options.trust).provenance.get("recordings", {})
    except FramiError:  # a vendor's file, which has no record
        return
    seen = sorted(set(test) & set(record.get("groups", [])))
    if seen:
        raise FramiError(f"{options.teacher} was trained on {', '.join(seen)}, which this table keeps for the test.",
                         "Leave out --teacher to train one, or choose other --test groups.", exit_code=EXIT_USAGE)


def lines(entries: list[Entry]) -> Iterator[str]:
    """The plan for people: a line for each cell, its seeds together."""
    for recipe in dict.fromkeys(entry.task.recipe for entry in entries):
        mine = [entry for entry in entries if entry.task.recipe == recipe]
        states = [f"{sum(entry.state == state for entry in mine)} {state}" for state in (DONE, BEGUN, TO_DO)
                  if any(entry.state == state for entry in mine)]
        waiting = [entry.seconds for entry in mine if entry.state != DONE]
        each = f", {duration(waiting[0])} each" if waiting else ""
        yield f"{recipe:34} {', '.join(states)}{each}"
    total = sum(entry.seconds for entry in entries)
    waiting_cells = sum(entry.state != DONE for entry in entries)
    yield f"{waiting_cells} of {len(entries)} cells to run: {duration(total)} in all" if waiting_cells \
        else f"All {len(entries)} cells are done."


def duration(seconds: float) -> str:
    """About how long, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
