"""What is to be run for a table: its cells, times the seeds, each with the values it resolves to. No torch."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from frami_edge import recipe
from frami_edge.datasets import OFFICIAL, official_groups
from frami_edge.errors import EXIT_USAGE, FramiError, nearest
from frami_edge.recipe import Cell

TABLES = ("table1", "table2")  # of the paper
# in the order of a table's rows; an arm that is not here comes last
ARMS = {
    "teacher": "teacher",
    "student": "student, labels of the recordings",
    "kd": "student, KD with the recordings",
    "noise": "noise",
    "adi": "ADI",
    "fastdfkd": "Fast-DFKD",
    "cmi": "CMI",
    "frami": "FRAMI",
    "frami-consensus": "FRAMI, consensus of 4 views",
    "frami-no-refine": "FRAMI without refinement",
    "frami-no-adversary": "FRAMI without L_adv",
    "frami-no-prepare": "FRAMI without clip preparation",
    "frami-no-finv": "FRAMI without T_finv",
    "frami-no-reuse": "FRAMI without reuse",
    "frami-no-finv-no-reuse": "FRAMI without T_finv and reuse",
    "frami-paper": "FRAMI, preset paper",
}
ROOTS = {True: ("inversion.", "distillation."), False: ("training.",)}  # data-free or not: what --set may change


@dataclass(frozen=True)
class Options:
    """What the user asked for, whatever the cell."""

    data: Path
    out: Path
    seeds: int = 3
    arms: tuple[str, ...] = ()  # all, where empty
    students: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    test: tuple[str, ...] = ()  # instead of the cells' own test groups
    budget: str = ""  # wall-clock time of each data-free cell, such as 10m
    teacher: Path | None = None  # a vendor's, instead of training one
    card: Path | None = None
    arch: str | None = None
    trust: bool = False
    device: str = "auto"
    precision: str = "auto"
    believe_card: bool = False  # also where the teacher's BatchNorms contradict it
    first_seed: int = 0


@dataclass(frozen=True)
class Task:
    """One cell with one seed."""

    recipe: str  # such as "digits/wrn16-frami", or a file
    group: str  # such as "digits": cells of one group share data and teachers
    arm: str  # such as "frami"
    cell: Cell
    seed: int
    overrides: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)  # that the recipe resolves to

    @property
    def data_free(self) -> bool:
        return self.cell.kind == "data-free"

    def key(self, clips_sha256: str, teacher_sha256: str, budget: str) -> str:
        """The SHA-256 of everything that the result depends on but the machine and the version."""
        cell = self.cell
        identity = {"values": self.values, "kind": cell.kind, "network": cell.network, "seed": self.seed,
                    "clips": clips_sha256, "teacher": teacher_sha256, "budget": budget if self.data_free else ""}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def folder(self, out: Path, key: str) -> Path:
        """Where its files go: other settings go elsewhere, so nothing is ever overwritten by another cell."""
        return out / self.group / f"{self.cell.network}-{self.arm}-{self.seed}-{key[:8]}"


def arm_of(name: str) -> str:
    """``frami`` of ``digits/wrn16-frami``; of a user's own recipe the name of the file."""
    return Path(name).stem if name.endswith(".toml") else name.rpartition("/")[2].partition("-")[2]


def place(arm: str) -> tuple[int, str]:
    """Sorts arms as :data:`ARMS` does."""
    order = list(ARMS)
    return order.index(arm) if arm in order else len(order), arm


def choose(table: str, options: Options, everything: bool = False) -> list[Task]:
    """The tasks of a table: of each data set and teacher first the teacher, then seed by seed all arms.

    Args:
        table: table1 or table2 of the paper, or a folder of recipes, such as digits.
        everything: also what the user did not choose, or what is optional; without what the overrides do not fit.

    Raises:
        FramiError: no such table, arm or student, nothing that has all of them, or overrides that no cell takes.
    """
    cells = _cells(table)
    cells |= _own_cells(table, options.arms, {arm_of(name) for name in cells})
    arms = {arm_of(name): None for name in cells}
    _known([arm_of(arm) if arm.endswith(".toml") else arm for arm in options.arms], list(arms), "arm")
    _known(options.students, sorted({cell.student for cell in cells.values()} - {""}), "student")
    _known_overrides(options)
    taught = {cell.teacher for cell in cells.values() if not options.students or cell.student in options.students}
    wanted = {name: cell for name, cell in cells.items() if everything or _wanted(name, cell, options, taught)}
    missing = [arm for arm in options.arms if not any(arm in (name, arm_of(name)) for name in wanted)]
    if not wanted or (missing and not everything):
        raise FramiError(f"{table} has no row {', '.join(missing or options.arms)} of the student "
                         f"{', '.join(options.students)}.", "'frami-edge recipes' lists what there is.",
                         exit_code=EXIT_USAGE)
    teachers = {(_group(name, table), cell.teacher) for name, cell in wanted.items()}
    wanted |= {name: cell for name, cell in cells.items()
               if cell.kind == "teacher" and (_group(name, table), cell.teacher) in teachers}
    untaught = teachers - {(_group(name, table), cell.teacher) for name, cell in wanted.items()
                           if cell.kind == "teacher"}
    if untaught and not everything:
        group, network = min(untaught)
        raise FramiError(f"{group} has no teacher {network}.", "The recipe's [cell] says teacher = ...; take one that "
                         "the table trains.", exit_code=EXIT_USAGE)
    if options.teacher and len(teachers) > 1 and not everything:
        raise FramiError(f"{options.teacher} cannot be the teacher of {len(teachers)} columns: "
                         + ", ".join(f"{group} {network}" for group, network in sorted(teachers)) + ".",
                         "Choose one with --student wrn16, and one data set as the table.", exit_code=EXIT_USAGE)
    tasks = []
    for name, cell in wanted.items():
        try:
            task = _task(name, _group(name, table), cell, options)
        except FramiError:
            if not everything:
                raise
        else:
            tasks += [replace(task, seed=seed) for seed in _seeds(cell, options)]
    return sorted(tasks, key=lambda task: (task.group, task.cell.teacher, task.cell.kind != "teacher", task.seed,
                                           place(task.arm)))


def _cells(table: str) -> dict[str, Cell]:
    """The cells of a table, teachers included: every other cell needs one."""
    cells = {name: cell for name in recipe.names() if "/" in name and (cell := recipe.cell(name))}
    folders = sorted({_group(name) for name in cells})
    if table in folders:
        return {name: cell for name, cell in cells.items() if _group(name) == table}
    if table not in TABLES:
        raise FramiError(f"There is no table '{table}'.", nearest(table, [*TABLES, *folders]), exit_code=EXIT_USAGE)
    return {name: cell for name, cell in cells.items()
            if table in cell.tables or (cell.kind == "teacher" and cell.tables)}


def _own_cells(table: str, arms: Sequence[str], taken: set[str]) -> dict[str, Cell]:
    """The user's own rows: recipe files that extend a cell of the table, each named otherwise than those ``taken``."""
    cells = {}
    for name in dict.fromkeys(arms):
        if name.endswith(".toml"):
            cell = recipe.cell(name)
            if cell is None or table in TABLES:
                raise FramiError(f"{name} is for no cell of {table}.",
                                 "A row of your own extends a cell of the table of one data set: "
                                 'extends = "digits/wrn16-frami", then what differs.', exit_code=EXIT_USAGE)
            if cell.kind == "teacher":
                raise FramiError(f"{name} extends a teacher, and a column has one already.",
                                 "Another teacher's settings: --set training.epochs=20, into an --out of its own.",
                                 exit_code=EXIT_USAGE)
            if arm_of(name) in taken:
                raise FramiError(f"There is a row '{arm_of(name)}' already.", f"Give {name} another name.",
                                 exit_code=EXIT_USAGE)
            taken = taken | {arm_of(name)}
            cells[name] = cell
    return cells


def _group(name: str, table: str = "") -> str:
    return table if name.endswith(".toml") else name.partition("/")[0]


def _wanted(name: str, cell: Cell, options: Options, taught: set[str]) -> bool:
    """``taught``: the teachers of the students that are wanted."""
    if cell.kind == "teacher" and cell.teacher not in taught:
        return False
    if cell.kind != "teacher" and options.students and cell.student not in options.students:
        return False
    return name in options.arms or arm_of(name) in options.arms if options.arms else not cell.optional


def _known(given: Sequence[str], known: list[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise FramiError(f"The table has no {what} '{name}'.",
                             nearest(name, known), exit_code=EXIT_USAGE)


def _known_overrides(options: Options) -> None:
    for override in options.overrides:
        if options.budget and override.partition("=")[0].strip() == "inversion.minutes":
            raise FramiError(f"--set {override} and --budget {options.budget} both say for how long to synthesize.",
                             "Leave out one of them.", exit_code=EXIT_USAGE)
        if not override.strip().startswith((*ROOTS[True], *ROOTS[False])):
            raise FramiError(f"--set {override} changes no cell.",
                             "Keys start with inversion, distillation or training.", exit_code=EXIT_USAGE)


def _seeds(cell: Cell, options: Options) -> range:
    """A table has one teacher, whatever the seeds of its students."""
    return range(1) if cell.kind == "teacher" else range(options.first_seed, options.first_seed + options.seeds)


def known_row(name: str, tasks: Sequence[Task]) -> str:
    """The arm that ``name``, or a recipe file, stands for.

    Raises:
        FramiError: none of ``tasks`` has it.
    """
    arm = arm_of(name) if name.endswith(".toml") else name
    _known([arm], list(dict.fromkeys(task.arm for task in tasks)), "row")
    return arm


def _task(name: str, group: str, cell: Cell, options: Options) -> Task:
    """With the first seed."""
    if options.test:
        test = official_groups(cell.dataset) if options.test == (OFFICIAL,) else options.test
        cell = cell.model_copy(update={"test": test})
    mine = tuple(each for each in options.overrides if each.strip().startswith(ROOTS[cell.kind == "data-free"]))
    return Task(name, group, arm_of(name), cell, 0, mine, recipe.load_any(name, list(mine)).model_dump(mode="json"))
