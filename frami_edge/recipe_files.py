"""Recipe files: found by name, laid over the recipes that they extend, and changed by ``--set``.

What comes out is a nested dictionary of plain values; :mod:`frami_edge.recipe` checks it.
"""

import functools
import tomllib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from frami_edge.errors import EXIT_USAGE, FramiError, nearest
from frami_edge.runtime.text import decoded

Values = dict[str, Any]


def names() -> list[str]:
    """Recipes that ship with the package, such as ``quick`` and ``esc50/wrn16-frami``; general ones come first."""
    return list(_names())


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(_below(resources.files("frami_edge.recipes")), key=lambda name: ("/" in name, name)))


def _below(folder: Traversable, prefix: str = "") -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith(("_", ".")):
            yield from _below(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield prefix + entry.name.removesuffix(".toml")


def read(name: str, overrides: list[str] | None = None) -> Values:
    """The values of a recipe by name, or of a TOML file by path, with what it extends and the overrides applied.

    Args:
        overrides: ``table.key=value``; they win over everything in files.

    Raises:
        FramiError: no such recipe or file, bad TOML, recipes that extend one another in a circle, or a bad override.
    """
    values = _resolved(name, ())
    for override in overrides or []:
        _override(values, override)
    return values


def _resolved(name: str, extended_by: tuple[str, ...]) -> Values:
    """A recipe's values laid over those of the recipe that it extends."""
    text, key = _text(name, extended_by[-1] if extended_by else "")
    if key in extended_by:
        raise FramiError(f"Recipes extend one another in a circle: {' -> '.join([*extended_by, key])}.",
                         exit_code=EXIT_USAGE)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FramiError(f"Recipe {name} is not valid TOML: {error}", exit_code=EXIT_USAGE) from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise FramiError(f"Recipe {name}: extends is not the name of a recipe.", 'For example: extends = "quick"',
                         exit_code=EXIT_USAGE)
    return merged(_resolved(base, (*extended_by, key)), values)


def _text(name: str, extended_by: str) -> tuple[str, str]:
    """A recipe's TOML, and what identifies it. A file extends another file by its path from the first."""
    if name.endswith(".toml"):
        path = (Path(extended_by).parent / name if extended_by.endswith(".toml") else Path(name)).resolve()
        try:
            return decoded(path.read_bytes()), str(path)
        except FileNotFoundError as error:
            raise FramiError(f"There is no recipe file {path if extended_by else name}.", exit_code=EXIT_USAGE) \
                from error
        except (OSError, UnicodeDecodeError) as error:
            raise FramiError(f"Recipe {name} cannot be read: {error}", exit_code=EXIT_USAGE) from error
    if name not in names():
        where = f", which {Path(extended_by).name} extends" if extended_by else ""
        raise FramiError(f"There is no recipe '{name}'{where}.",
                         f"{nearest(name, names())} See 'frami-edge recipes'.", exit_code=EXIT_USAGE)
    return source(name), name


def source(name: str) -> str:
    """The TOML of a recipe that ships with the package, as it was written."""
    return resources.files("frami_edge.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")


def merged(base: Values, over: Values) -> Values:
    """``base`` with the values of ``over``, table by table; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _override(values: Values, text: str) -> None:
    """Apply ``inversion.tau=0.2``; the value is read as TOML, and a bare word is a string."""
    key, separator, value = text.partition("=")
    *parents, last = key.strip().split(".")
    if not separator or not parents:
        raise FramiError(f"'{text}' is not of the form table.key=value.", "For example: --set inversion.tau=0.2",
                         exit_code=EXIT_USAGE)
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise FramiError(f"'{text}': {parent} is a value, not a table.", exit_code=EXIT_USAGE)
    try:
        values[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        values[last] = value.strip()
