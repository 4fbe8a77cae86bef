"""`frami-edge recipes`: which recipes there are, and what each of their values means."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from frami_edge.cli import console, options
from frami_edge.errors import EXIT_USAGE, FramiError

if TYPE_CHECKING:
    from frami_edge.recipe import Cell, Recipe, TrainingRecipe

HELP = """
List the recipes, or explain one: every value it resolves to, with a sentence for each.

\b
  frami-edge recipes                                # all of them
  frami-edge recipes esc50                          # those for one data set
  frami-edge recipes quick                          # one, explained
  frami-edge recipes quick --set inversion.tau=0.5  # with another value
  frami-edge recipes quick > mine.toml              # a file for --recipe mine.toml

A recipe file may say  extends = "quick"  and give only the values that differ.
"""


def register(app: typer.Typer) -> None:
    @app.command("recipes", help=HELP)
    def recipes(
        name: Annotated[str | None, typer.Argument(help="A recipe, a TOML file, or a folder of recipes.",
                                                   show_default=False)] = None,
        set_: options.Set = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        from frami_edge import recipe_files

        folders = {each.rpartition("/")[0] for each in recipe_files.names()}
        if name is None or name in folders - {""}:
            if set_:
                raise FramiError("--set changes one recipe, and none was named.",
                                 "frami-edge recipes NAME --set table.key=value", exit_code=EXIT_USAGE)
            _list([each for each in recipe_files.names() if name is None or each.startswith(f"{name}/")], as_json)
        else:
            _explain(name, set_, as_json)


def _list(names: list[str], as_json: bool) -> None:
    import json

    from frami_edge import recipe

    cells = {name: recipe.cell(name) for name in names}
    if as_json:
        listed = [{"name": name, "summary": summary(name), "cell": cell.model_dump(mode="json") if cell else None}
                  for name, cell in cells.items()]
        typer.echo(json.dumps(listed, indent=2))
        return
    for name in names:
        console.out.print(f"{name:34} {summary(name)}", highlight=False, markup=False, soft_wrap=True)


def _explain(name: str, overrides: list[str] | None, as_json: bool) -> None:
    import json

    from frami_edge import recipe
    from frami_edge.recipe_keys import annotated

    values = resolved(recipe.load_any(name, overrides), recipe.cell(name))
    typer.echo(json.dumps(values, indent=2) if as_json else annotated(values), nl=as_json)


def resolved(recipe: "Recipe | TrainingRecipe", cell: "Cell | None") -> dict[str, Any]:
    """All values, those of the cell first."""
    about = {"cell": cell.model_dump(mode="json", exclude_none=True)} if cell else {}
    return about | recipe.model_dump(mode="json")


def summary(name: str) -> str:
    """The comment at the head of a recipe that ships with the package; of a general one its first clause."""
    import re

    from frami_edge import recipe_files

    head = []
    for line in recipe_files.source(name).splitlines():
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").strip())
    whole = " ".join(head)
    return whole if "/" in name else re.split(r"(?<!\bal)[.:] ", whole)[0].rstrip(".")
