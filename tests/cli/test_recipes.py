"""`frami-edge recipes`: lists what ships, and explains one so that its output is a recipe again."""

import itertools
import json
import re
import tomllib
from pathlib import Path

from typer.testing import CliRunner, Result

from frami_edge import recipe
from frami_edge.cli.main import app
from frami_edge.distillation import losses


def recipes(*words: str) -> Result:
    return CliRunner().invoke(app, ["recipes", *words])


def test_all_are_listed_with_what_they_are() -> None:
    done = recipes()
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and [line.split()[0] for line in lines] == recipe.names()
    assert all(len(line.split(maxsplit=1)[1]) > 3 for line in lines)
    assert "digits/wrn16-kd" in done.stdout and "imitating the teacher on the recordings" in done.stdout
    one = recipes("esc50").stdout.splitlines()
    assert len(one) == 16 and all(line.startswith("esc50/") for line in one)
    listed = json.loads(recipes("esc10", "--json").stdout)
    assert {entry["cell"]["kind"] for entry in listed} == {"teacher", "student", "kd", "data-free"}


def test_what_is_explained_is_a_recipe_again(tmp_path: Path) -> None:
    for name in ("quick", "digits/wrn16-kd", "esc50/wrn16-frami-no-finv"):
        done = recipes(name)
        assert done.exit_code == 0
        path = tmp_path / "again.toml"
        path.write_text(done.stdout)
        assert recipe.load_any(str(path)) == recipe.load_any(name) and recipe.cell(str(path)) == recipe.cell(name)
        lines = done.stdout.splitlines()
        for above, line in itertools.pairwise(lines):
            assert above.startswith("#") or not line or line.startswith("#"), line  # a sentence above each value
    changed = recipes("quick", "--set", "inversion.tau=0.7").stdout
    assert tomllib.loads(changed)["inversion"]["tau"] == 0.7
    assert json.loads(recipes("quick", "--json").stdout) == recipe.load("quick").model_dump(mode="json")


def test_the_reuse_weights_name_the_equations_of_their_losses() -> None:
    explained = recipes("quick").stdout
    for key, loss in (("frame_reuse", losses.frame_reuse_loss), ("utterance_reuse", losses.utterance_reuse_loss)):
        equation = re.search(r"\(Eq\. \d+\)", loss.__doc__ or "")
        sentences = [above for above, line in itertools.pairwise(explained.splitlines()) if line.startswith(f"{key} =")]
        assert equation and len(sentences) == 2 and all(equation[0] in sentence for sentence in sentences)


def test_mistakes_name_the_nearest() -> None:
    for words, message in ((("quik",), "Did you mean 'quick'"), (("quick", "--set", "inversion.tua=1"), "'tau'"),
                           (("missing.toml",), "no recipe file"), (("--set", "a.b=1"), "none was named"),
                           (("esc10", "--set", "a.b=1"), "none was named")):
        done = recipes(*words)
        assert done.exit_code == 2 and message in done.stderr and done.stdout == ""
