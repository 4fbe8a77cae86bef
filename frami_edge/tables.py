"""What cards and recipes share: strict tables, read from TOML and written as TOML, with errors for people."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frami_edge.errors import nearest

Float = Annotated[float, Field(strict=False, allow_inf_nan=False)]  # integers are taken where floats are meant
PositiveInt = Annotated[int, Field(gt=0)]


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
    return f"{where}: {first['msg']}" if where else first["msg"]
