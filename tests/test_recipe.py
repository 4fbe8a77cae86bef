"""Recipes: complete, overridable, and strict."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frami_edge import recipe, recipe_files
from frami_edge.errors import FramiError
from frami_edge.layouts import LAYOUTS
from frami_edge.recipe_keys import SENTENCES, annotated

CELLS = [name for name in recipe.names() if "/" in name]
PAPER = ("audiomnist", "esc50", "urbansound8k")
PAIRS = {"res18": "res34", "wrn16": "wrn40"}


@pytest.mark.parametrize("name", recipe.names())
def test_what_ships_is_complete_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    path = tmp_path / "again.toml"
    path.write_text(recipe.load_any(name).to_toml())
    assert recipe.load_any(str(path)) == recipe.load_any(name)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_what_its_name_says(name: str) -> None:
    cell = recipe.cell(name)
    assert cell is not None
    folder, _, file = name.partition("/")
    network, _, arm = file.partition("-")
    assert cell.dataset == {"digits": "fsdd"}.get(folder, folder)
    assert cell.network == network and PAIRS.get(cell.student, network) == cell.teacher
    assert cell.kind == (arm if arm in ("teacher", "student", "kd") else "data-free")
    official = LAYOUTS[cell.dataset].test or ("theo",)
    assert cell.test == official
    assert bool(cell.tables) == (folder in PAPER)
    loaded = recipe.load_any(name)
    assert isinstance(loaded, recipe.TrainingRecipe) == (cell.kind != "data-free")
    if isinstance(loaded, recipe.Recipe):
        frami = arm.startswith("frami")
        assert (loaded.inversion.finv_weight == 0) == ("no-finv" in arm) or not frami
        assert (loaded.distillation.alternate.frame_reuse == 0) == ("no-reuse" in arm or not frami)
        refined = frami and folder not in PAPER and not arm.endswith(("-refine", "-paper"))
        assert (loaded.inversion.refine_steps > 0) == refined
        assert loaded.inversion.prepare == (frami and folder not in PAPER and not arm.endswith(("-prepare", "-paper")))


def test_each_cell_of_the_papers_tables_has_a_recipe() -> None:
    for dataset in PAPER:
        whole = dataset != "audiomnist"  # of words the paper has no rows without T_finv: they have none
        for student, teacher in PAIRS.items():
            arms = ["student", "kd", "adi", "frami", "frami-no-reuse"]
            arms += ["frami-no-finv", "frami-no-finv-no-reuse"] if whole else []
            assert {f"{dataset}/{student}-{arm}" for arm in arms} <= set(CELLS)
            assert f"{dataset}/{teacher}-teacher" in CELLS
            tables = {arm: recipe.cell(f"{dataset}/{student}-{arm}").tables for arm in arms}  # type: ignore[union-attr]
            assert tables["frami"] == ("table1", "table2") and tables["adi"] == ("table1",)
            assert {tables[arm] for arm in arms[4:]} == {("table2",)}


@pytest.mark.parametrize("dataset", ["urbansound8k", "esc50", "audiomnist", "digits", "esc10"])
def test_rivals_get_the_same_samples_and_steps(dataset: str) -> None:
    """Equal effort: batches, samples, bank and distillation are those of FRAMI; the synthesis alone differs."""
    for student in PAIRS:
        arms = [name for name in CELLS if name.startswith(f"{dataset}/{student}-")
                and not name.endswith(("-paper", "-no-adversary"))
                and recipe.cell(name).kind == "data-free"]  # type: ignore[union-attr]
        efforts = set()
        for name in arms:
            made = recipe.load(name)
            phases = [phase.model_dump(exclude={"frame_reuse", "utterance_reuse", "consensus"})
                      for phase in (made.distillation.alternate, made.distillation.finish) if phase.steps]
            efforts.add((made.inversion.batches, made.inversion.warmup_batches, made.inversion.batch_size,
                         made.inversion.bank_samples, made.distillation.batch_size, made.distillation.replay,
                         made.distillation.weight_decay, str(made.distillation.views), str(phases)))
        assert len(arms) >= 3 and len(efforts) == 1, efforts


@pytest.mark.parametrize("cell", [name for name in CELLS if name.endswith("-no-adversary")])
def test_without_a_student_that_provokes_the_samples_only_the_finish_is_left(cell: str) -> None:
    without, usual = recipe.load(cell), recipe.load(cell.removesuffix("-no-adversary"))
    assert (without.inversion.adversarial_weight, without.distillation.alternate.steps) == (0, 0)
    assert without.inversion == usual.inversion.model_copy(update={"adversarial_weight": 0.0})
    assert without.distillation.finish == usual.distillation.finish and without.distillation.finish.steps > 0


@pytest.mark.parametrize("values,reason", [
    (["inversion.batches=20"], "none of the 20 batches comes after the 20"),
    (["distillation.alternate.steps=0"], "no phase"),
])
def test_a_recipe_by_which_no_student_learns_is_refused(values: list[str], reason: str) -> None:
    """`paper` delivers the student of the alternation, which starts after the warm-up."""
    with pytest.raises(FramiError, match=f"never learn.*{reason}"):
        recipe.load("paper", values)
    assert recipe.load("paper", ["inversion.batches=21"]) and recipe.load("quick", values)


def test_the_cell_of_a_recipe_is_not_set() -> None:
    with pytest.raises(FramiError, match="--set cell.nonsense=1"):
        recipe.load_any("digits/wrn16-kd", ["cell.nonsense=1"])


def test_numbers_of_chunks_that_leave_none_are_refused() -> None:
    with pytest.raises(FramiError, match="min_chunks = 6 is more than max_chunks = 5"):
        recipe.load("quick", ["inversion.min_chunks=6"])
    assert [recipe.load("quick").inversion.most_chunks(frames) for frames in (79, 80, 199, 1000)] == [0, 2, 4, 5]


def test_every_key_has_a_sentence() -> None:
    def keys(values: dict, sentences: dict, where: str) -> None:  # type: ignore[type-arg]
        assert sentences[""], where
        for key, value in values.items():
            assert sentences.get(key), f"{where}.{key}"
            if isinstance(value, dict):
                keys(value, sentences[key], f"{where}.{key}")

    for name in ("quick", "training"):
        for table, values in recipe.load_any(name).model_dump().items():
            keys(values, SENTENCES[table], table)
    keys(dict.fromkeys(recipe.Cell.model_fields), SENTENCES["cell"], "cell")
    printed = annotated({"inversion": {"tau": 0.2}})
    assert printed == ("# How samples are synthesized (Eqs. 1 to 5, Algorithm 1).\n[inversion]\n"
                       "# Temperature of the contrast.\ntau = 0.2\n")


def test_presets() -> None:
    assert {"quick", "thorough", "paper"} <= set(recipe.names())
    paper = recipe.load("paper")
    assert paper.inversion.restart and paper.inversion.steps == 200 and not paper.inversion.prepare
    assert paper.distillation.alternate.temperature == 20 and paper.distillation.finish.steps == 0


def test_overrides_are_read_as_toml() -> None:
    changed = recipe.load("quick", ["inversion.tau=0.5", "inversion.prepare=false", "distillation.finish.steps=7"])
    assert (changed.inversion.tau, changed.inversion.prepare, changed.distillation.finish.steps) == (0.5, False, 7)


@pytest.mark.parametrize("override,message", [
    ("inversion.tauu=1", "Did you mean 'tau'"),
    ("inversion.tau=-1", "inversion.tau"),
    ("inversion.steps=2.5", "inversion.steps: a whole number is wanted, not 2.5$"),
    ("inversion.batches=many", "inversion.batches: a whole number is wanted, not 'many'$"),
    ("inversion.prepare=1", "inversion.prepare"),
    ("tau=1", "table.key=value"),
    ("inversion.tau", "table.key=value"),
    ("inversion.tau.x=1", "is a value"),
    ("distillation.finish.mix=1.0", "distillation.finish.mix"),
])
def test_wrong_overrides_are_told(override: str, message: str) -> None:
    with pytest.raises(FramiError, match=message) as error:
        recipe.load("quick", [override])
    assert error.value.exit_code == 2


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(FramiError, match="Did you mean 'quick'"):
        recipe.load("quik")
    with pytest.raises(FramiError, match="no recipe file"):
        recipe.load("missing.toml")


def test_a_recipe_of_an_earlier_version_says_what_it_lacks(tmp_path: Path) -> None:
    """Keys are added from version to version; the recipe beside an old run has none of them."""
    old = tmp_path / "recipe.toml"
    lines = recipe.load("quick").to_toml().splitlines()
    old.write_text("\n".join(line for line in lines if not line.startswith("constant_channel_limit")))
    with pytest.raises(FramiError, match="inversion.constant_channel_limit is missing") as error:
        recipe.load(str(old))
    assert "another version" in error.value.hint


def test_a_recipe_extends_another_and_changes_single_values(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "mine.toml").write_text('extends = "quick"\n[inversion]\ntau = 0.5\n[distillation.finish]\nsteps = 7\n')
    (tmp_path / "sub" / "theirs.toml").write_text('extends = "../mine.toml"\n[inversion]\nbatches = 9\n')
    quick, theirs = recipe.load("quick"), recipe.load(str(tmp_path / "sub" / "theirs.toml"), ["inversion.tau=0.7"])
    assert (theirs.inversion.tau, theirs.inversion.batches, theirs.distillation.finish.steps) == (0.7, 9, 7)
    changed = quick.model_dump()
    changed["inversion"] |= {"tau": 0.7, "batches": 9}
    changed["distillation"]["finish"]["steps"] = 7
    assert theirs.model_dump() == changed


def test_what_a_recipe_cannot_extend(tmp_path: Path) -> None:
    cases = {
        'extends = "qick"\n': "no recipe 'qick', which mine.toml extends",
        'extends = "mine.toml"\n': "in a circle",
        'extends = "other.toml"\n': "no recipe file .*other.toml",
        "extends = 3\n": "extends is not the name",
        "extends = \n": "not valid TOML",
        'extends = "quick"\ntau = 1\n': "unknown key 'tau'",
        'extends = "training"\n': "is for 'frami-edge train'",
        'extends = "quick"\n[cell]\ndataset = "esc51"\ntest = ["5"]\nkind = "kd"\nteacher = "wrn40"\n': "cell: dataset",
    }
    path = tmp_path / "mine.toml"
    for text, message in cases.items():
        path.write_text(text)
        with pytest.raises(FramiError, match=message) as error:
            recipe.cell(str(path)) or recipe.load(str(path))
        assert error.value.exit_code == 2
    with pytest.raises(FramiError, match="quick is for 'frami-edge distill'"):
        recipe.load_training("quick")


def test_a_training_that_an_earlier_version_resolved_lacks_what_came_since(tmp_path: Path) -> None:
    path = tmp_path / "teacher.recipe.toml"
    whole = recipe.load_training("training").to_toml()
    path.write_text("".join(line for line in whole.splitlines(keepends=True) if "clip_norm" not in line))
    with pytest.raises(FramiError, match="training.clip_norm is missing") as error:
        recipe.load_training(str(path))
    assert "'frami-edge recipes training' gives its value" in error.value.hint
    assert recipe.load_training(str(path), ["training.clip_norm=0"]).training.clip_norm == 0  # as it was then


nested = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3))


@given(st.dictionaries(st.sampled_from("abcd"), nested), st.dictionaries(st.sampled_from("abcd"), nested))
def test_merging_takes_every_value_of_the_upper_recipe_and_the_rest_of_the_lower(base: dict, over: dict) -> None:  # type: ignore[type-arg]
    before = repr((base, over))
    result = recipe_files.merged(base, over)
    assert repr((base, over)) == before
    assert set(result) == set(base) | set(over)
    assert recipe_files.merged(result, over) == result
    for key in result:
        if isinstance(base.get(key), dict) and isinstance(over.get(key), dict):
            assert result[key] == recipe_files.merged(base[key], over[key])
        else:
            assert result[key] == over.get(key, base.get(key))


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FramiError):
        recipe.load(str(path))


def test_steps_that_would_be_without_effect_are_refused() -> None:
    with pytest.raises(FramiError, match=r"steps = 50 would be without effect.*first_steps \(200\)"):
        recipe.load("paper", ["inversion.steps=50"])
    assert recipe.load("paper", ["inversion.steps=50", "inversion.first_steps=50"]).inversion.planned_steps(2) == 100
