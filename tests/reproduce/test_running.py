"""Running a cell: what the command is told, whatever happens to the files it was planned from."""

from pathlib import Path

import made_up
import pytest
import small
import small_runs

from frami_edge import checkpoints, recipe
from frami_edge.datasets import open_dataset
from frami_edge.errors import FramiError
from frami_edge.reproduce.running import Column, Runner
from frami_edge.reproduce.tasks import Options, Task, choose
from frami_edge.teacher.opening import open_teacher


@pytest.fixture
def row(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text('extends = "digits/wrn16-frami"\n[inversion]\nbatches = 2\n')
    return tmp_path / "mine.toml"


@pytest.fixture
def column(tmp_path: Path) -> Column:
    folder = made_up.digits(tmp_path)
    teacher = small_runs.make_teacher()
    checkpoints.save(tmp_path / "teacher.pt", teacher.net, teacher.card, {})
    return Column(open_dataset(folder), folder, tmp_path / "teacher.pt", open_teacher(tmp_path / "teacher.pt"))


def planned(row: Path, tmp_path: Path) -> tuple[Options, Task]:
    options = Options(tmp_path, tmp_path / "out", 1, (str(row),), ("wrn16",), tuple(small.VALUES[1:]), ("bob",), "",
                      tmp_path / "teacher.pt")
    return options, next(task for task in choose("digits", options) if task.data_free)


def test_a_row_that_is_edited_meanwhile_is_run_as_it_was_planned(row: Path, column: Column, tmp_path: Path) -> None:
    options, task = planned(row, tmp_path)
    row.write_text(row.read_text().replace("batches = 2", "batches = 3"))
    told: list[str] = []

    def call(words: list[str], output: Path) -> int:
        told.extend(words)
        return 3

    with pytest.raises(FramiError, match="failed with exit code 3"):
        Runner(options, call).run(task, column)
    sets = [told[at + 1] for at, word in enumerate(told) if word == "--set"]
    run = recipe.load(told[told.index("--recipe") + 1], sets)
    assert run.inversion.batches == 2 and run.model_dump(mode="json") == task.values


def test_a_student_of_another_teacher_is_no_result(row: Path, column: Column, tmp_path: Path) -> None:
    """The teacher's file was replaced after the table had read it."""
    options, task = planned(row, tmp_path)
    assert column.opened is not None

    def call(words: list[str], output: Path) -> int:
        student = small_runs.make_teacher()
        out = Path(words[words.index("--out") + 1])
        checkpoints.save(out, student.net, student.card, {"teacher_sha256": "another"})
        return 0

    with pytest.raises(FramiError, match="is not a student of the teacher of this table"):
        Runner(options, call).run(task, column)
    assert not list((tmp_path / "out").rglob("cell.json"))
