"""Which cells a table has, in which order they run, and what makes one cell another."""

from dataclasses import replace
from pathlib import Path

import pytest

from frami_edge import recipe
from frami_edge.errors import FramiError
from frami_edge.reproduce.tasks import Options, Task, choose

OPTIONS = Options(data=Path("data"), out=Path("out"), seeds=2)


def names(tasks: list[Task]) -> list[tuple[str, int]]:
    return [(task.recipe, task.seed) for task in tasks]


def test_the_teacher_comes_first_and_then_seed_by_seed() -> None:
    chosen = choose("digits", replace(OPTIONS, arms=("frami", "adi"), students=("wrn16",)))
    assert names(chosen) == [("digits/wrn40-teacher", 0), ("digits/wrn16-adi", 0), ("digits/wrn16-frami", 0),
                             ("digits/wrn16-adi", 1), ("digits/wrn16-frami", 1)]
    assert [task.cell.test for task in chosen] == [("theo",)] * 5


def test_seeds_may_begin_elsewhere_and_are_the_same_cells() -> None:
    whole = choose("digits", replace(OPTIONS, arms=("frami",), students=("wrn16",), seeds=3))
    part = choose("digits", replace(OPTIONS, arms=("frami",), students=("wrn16",), seeds=1, first_seed=2))
    assert names(part) == [("digits/wrn40-teacher", 0), ("digits/wrn16-frami", 2)]
    assert part == [whole[0], whole[-1]]


def test_a_row_that_the_student_does_not_have_is_told(tmp_path: Path) -> None:
    mine = tmp_path / "bc.toml"
    mine.write_text('extends = "digits/res18-frami"\n')
    with pytest.raises(FramiError, match="has no row .*bc.toml of the student wrn16"):
        choose("digits", replace(OPTIONS, arms=("frami", str(mine)), students=("wrn16",)))
    assert choose("digits", replace(OPTIONS, arms=("frami", str(mine)), students=("res18",)))


def test_seeds_far_away_take_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe is resolved once, whatever the seeds."""
    asked: list[str] = []
    resolve = recipe.load_any

    def load_any(name: str, overrides: list[str]) -> recipe.Recipe | recipe.TrainingRecipe:
        asked.append(name)
        return resolve(name, overrides)

    monkeypatch.setattr(recipe, "load_any", load_any)
    chosen = choose("digits", replace(OPTIONS, arms=("frami",), students=("wrn16",), first_seed=10**9, seeds=50))
    assert chosen[-1].seed == 10**9 + 49 and sorted(asked) == ["digits/wrn16-frami", "digits/wrn40-teacher"]


def test_the_papers_tables() -> None:
    table1 = choose("table1", OPTIONS)
    arms = {(task.group, task.cell.network, task.arm) for task in table1}
    assert len(arms) == 3 * 2 * 5  # data sets, pairs; teacher, student, KD, ADI, FRAMI
    assert len(table1) == 3 * 2 * (1 + 2 * 4)
    table2 = {(task.group, task.arm) for task in choose("table2", OPTIONS)}
    assert ("audiomnist", "frami-no-finv") not in table2 and ("esc50", "frami-no-finv") in table2
    assert ("esc50", "teacher") in table2 and ("esc50", "adi") not in table2  # what the others need, and no more


def test_optional_rows_are_run_when_they_are_named() -> None:
    assert "frami-paper" not in {task.arm for task in choose("esc10", OPTIONS)}
    assert "frami-paper" in {task.arm for task in choose("esc10", replace(OPTIONS, arms=("frami-paper",)))}


def test_overrides_go_where_they_belong() -> None:
    overrides = ("inversion.tau=0.7", "training.epochs=3")
    for task in choose("esc10", replace(OPTIONS, overrides=overrides, test=("4",), students=("wrn16",))):
        assert task.overrides == ((overrides[0],) if task.data_free else (overrides[1],))
        assert task.values["inversion"]["tau"] == 0.7 if task.data_free else task.values["training"]["epochs"] == 3
        assert task.cell.test == ("4",)


def test_a_row_of_ones_own_extends_a_cell(tmp_path: Path) -> None:
    mine = tmp_path / "longer.toml"
    mine.write_text('extends = "digits/wrn16-frami"\n[inversion]\nbatches = 48\n')
    chosen = choose("digits", replace(OPTIONS, seeds=1, arms=("frami", str(mine))))
    assert [(task.group, task.arm) for task in chosen if task.cell.student == "wrn16"] == [
        ("digits", "frami"), ("digits", "longer")]
    assert (chosen[-1].values["inversion"]["batches"], chosen[-1].cell.teacher) == (48, "wrn40")
    key = chosen[-1].key("clips", "teacher", "")
    assert chosen[-1].folder(Path("out"), key) == Path("out/digits") / f"wrn16-longer-0-{key[:8]}"
    for table, text in (("table1", 'extends = "digits/wrn16-frami"\n'), ("digits", 'extends = "quick"\n')):
        mine.write_text(text)
        with pytest.raises(FramiError, match=f"is for no cell of {table}"):
            choose(table, replace(OPTIONS, arms=(str(mine),)))


def test_everything_is_more_than_what_is_chosen() -> None:
    few = replace(OPTIONS, arms=("frami",), students=("wrn16",), teacher=Path("t.pt"))
    arms = {(task.cell.network, task.arm) for task in choose("digits", few, everything=True)}
    assert {("res18", "kd"), ("wrn16", "frami-paper"), ("res34", "teacher")} <= arms and len(arms) == 28


@pytest.mark.parametrize("table,changed,message", [
    ("tabel1", {}, "Did you mean 'table1'"),
    ("digits", {"arms": ("famri",)}, "Did you mean 'frami'"),
    ("digits", {"students": ("wrn40",)}, "no student 'wrn40'"),
    ("digits", {"overrides": ("tau=1",)}, "changes no cell"),
    ("digits", {"overrides": ("inversion.tua=1",)}, "Did you mean 'tau'"),
    ("digits", {"teacher": Path("t.pt")}, "cannot be the teacher of 2 columns: digits res34, digits wrn40"),
    ("audiomnist", {"arms": ("frami-no-finv",)}, "no arm 'frami-no-finv'"),
])
def test_mistakes_are_told(table: str, changed: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(FramiError) as error:
        choose(table, replace(OPTIONS, **changed))
    assert message in f"{error.value.problem} {error.value.hint}" and error.value.exit_code == 2


def test_the_key_is_that_of_everything_a_result_depends_on() -> None:
    def tasks(**changed: object) -> list[Task]:
        return choose("digits", replace(OPTIONS, students=("wrn16",), **changed))  # type: ignore[arg-type]

    frami, kd = (next(task for task in tasks() if (task.arm, task.seed) == (arm, 1)) for arm in ("frami", "kd"))
    other = next(task for task in tasks(overrides=("inversion.tau=0.7",)) if (task.arm, task.seed) == ("frami", 1))
    key = frami.key("clips", "teacher", "")
    assert key == frami.key("clips", "teacher", "") and len(key) == 64
    different = {key, frami.key("others", "teacher", ""), frami.key("clips", "student", ""),
                 frami.key("clips", "teacher", "10m"), other.key("clips", "teacher", ""),
                 kd.key("clips", "teacher", ""), replace(frami, seed=0).key("clips", "teacher", "")}
    assert len(different) == 7
    assert kd.key("clips", "teacher", "10m") == kd.key("clips", "teacher", "")  # a budget is for data-free cells
    assert frami.folder(Path("out"), key) == Path("out/digits") / f"wrn16-frami-1-{key[:8]}"


def test_what_overrides_do_not_fit_is_not_looked_for() -> None:
    """With ten steps ADI, which starts anew for each batch, is no recipe; FRAMI is."""
    mine = replace(OPTIONS, arms=("frami",), students=("wrn16",), overrides=("inversion.steps=10",
                                                                             "inversion.batches=10"))
    assert {task.arm for task in choose("digits", mine)} == {"teacher", "frami"}
    beside = {task.arm for task in choose("digits", mine, everything=True)}
    assert {"noise", "kd", "frami"} <= beside and not {"adi", "frami-paper"} & beside
    with pytest.raises(FramiError, match="without effect"):
        choose("digits", replace(mine, arms=("adi",)))


def test_the_official_groups_by_that_name() -> None:
    tests = {task.cell.test for task in choose("esc10", replace(OPTIONS, test=("official",)))}
    assert tests == {("5",)}
    with pytest.raises(FramiError, match="no official split"):
        choose("digits", replace(OPTIONS, test=("official",)))


def test_the_teacher_of_a_student() -> None:
    chosen = choose("digits", replace(OPTIONS, arms=("teacher",), students=("wrn16",)))
    assert names(chosen) == [("digits/wrn40-teacher", 0)]


@pytest.mark.parametrize("name,text,message", [
    ("frami.toml", 'extends = "digits/wrn16-frami"', "There is a row 'frami' already"),
    ("mine.toml", 'extends = "digits/wrn40-teacher"', "extends a teacher"),
    ("mine.toml", 'extends = "digits/wrn16-frami"\n[cell]\nteacher = "wrn16x2"', "digits has no teacher wrn16x2"),
])
def test_rows_that_would_be_taken_for_others(tmp_path: Path, name: str, text: str, message: str) -> None:
    mine = tmp_path / name
    mine.write_text(text)
    with pytest.raises(FramiError, match=message):
        choose("digits", replace(OPTIONS, arms=(str(mine),)))


def test_two_rows_of_ones_own_have_two_names(tmp_path: Path) -> None:
    files = [tmp_path / folder / "mine.toml" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text('extends = "digits/wrn16-frami"')
    with pytest.raises(FramiError, match="There is a row 'mine' already"):
        choose("digits", replace(OPTIONS, arms=tuple(map(str, files))))
