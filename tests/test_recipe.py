"""Recipes: complete, overridable, and strict."""

from pathlib import Path

import pytest

from frami_edge import recipe
from frami_edge.errors import FramiError


@pytest.mark.parametrize("name", recipe.names())
def test_what_ships_is_complete_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    path = tmp_path / "again.toml"
    path.write_text(recipe.load(name).to_toml())
    assert recipe.load(str(path)) == recipe.load(name)


def test_presets() -> None:
    assert {"quick", "paper"} <= set(recipe.names())
    paper = recipe.load("paper")
    assert paper.inversion.restart and paper.inversion.steps == 200 and not paper.inversion.prepare
    assert paper.distillation.alternate.temperature == 20 and paper.distillation.finish.steps == 0


def test_overrides_are_read_as_toml() -> None:
    changed = recipe.load("quick", ["inversion.tau=0.5", "inversion.prepare=false", "distillation.finish.steps=7"])
    assert (changed.inversion.tau, changed.inversion.prepare, changed.distillation.finish.steps) == (0.5, False, 7)


@pytest.mark.parametrize("override,message", [
    ("inversion.tauu=1", "Did you mean 'tau'"),
    ("inversion.tau=-1", "inversion.tau"),
    ("inversion.steps=2.5", "inversion.steps"),
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


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "quick"\n[inversion]\ntau = 0.5\n')
    mine, quick = recipe.load(str(tmp_path / "mine.toml")), recipe.load("quick")
    assert mine.inversion.tau == 0.5
    assert mine == quick.model_copy(update={"inversion": quick.inversion.model_copy(update={"tau": 0.5})})
    (tmp_path / "circle.toml").write_text(f'extends = "{tmp_path / "circle.toml"}"\n')
    with pytest.raises(FramiError, match="circle"):
        recipe.load(str(tmp_path / "circle.toml"))
    (tmp_path / "lost.toml").write_text('extends = "quikc"\n')
    with pytest.raises(FramiError, match="no recipe 'quikc'"):
        recipe.load(str(tmp_path / "lost.toml"))
