"""What cards and recipes share: strict tables, read from TOML and written as TOML, with errors for people."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frami_edge.errors import nearest

Float = Annotated[float, Field(strict=False, allow_inf_nan=False)]  # integers are taken where floats are meant
PositiveInt = Annotated[int, Field(gt=0)]

# pydantic's kinds of error in the words of a TOML file
WANTED = {
    "bool_type": "true or false is wanted", "float_parsing": "a number is wanted", "float_type": "a number is wanted",
    "finite_number": "a finite number is wanted", "int_type": "a whole number is wanted",
    "string_type": "a text in quotes is wanted", "tuple_type": "a list is wanted, such as {example}",
    "model_type": "a table is wanted", "model_attributes_type": "a table is wanted",
    "too_short": "at least {min_length} are wanted", "literal_error": "{expected} is wanted",
    "greater_than": "a number above {gt:g} is wanted", "greater_than_equal": "at least {ge:g} is wanted",
    "less_than": "a number below {lt:g} is wanted", "less_than_equal": "at most {le:g} is wanted",
}
LONGEST_SHOWN = 40  # characters of a value in an error


class Table(BaseModel):
    """Strict and frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def to_toml(table: dict[str, Any], name: str = "") -> str:
    """A nested dictionary as TOML, which writes strings, numbers, booleans and lists of these as JSON does."""
    lines = [f"\n[{name}]"] if name else []
    # as they are, except for DEL, which JSON leaves and TOML forbids; surrogate escapes TOML does not know
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
              for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines.append(to_toml(value, f"{name}.{key}" if name else key).rstrip("\n"))
    return "\n".join(lines) + "\n"


def explain(error: ValidationError, model: Any) -> str:
    """The first problem of a pydantic report in one sentence, unknown keys with the nearest known one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        for part in first["loc"][:-1]:
            model = model.model_fields[part].annotation
        return f"unknown key '{where}'. {nearest(str(first['loc'][-1]), list(model.model_fields))}"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "value_error":
        said = str(first["ctx"]["error"])
    elif first["type"] in WANTED:
        example = "[0.5, 1.5]" if "band" in where else '["cat", "dog"]'
        said = WANTED[first["type"]].format(**first.get("ctx", {}), example=example) + _given(first["input"])
    else:
        said = first["msg"]
    return f"{where}: {said}" if where else said


def _given(value: Any) -> str:
    """What stands there instead, as TOML has it; nothing where that is long or no single value."""
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, int | float | str) and len(repr(value)) <= LONGEST_SHOWN:
        return f", not {value!r}"
    return ""
