"""Reading ``torch.export`` programs (``.pt2``) without ``torch.export.load``.

That function is not safe on a file from elsewhere. As of PyTorch 2.13 it unpickles sample inputs, weights and constants
with ``weights_only=False`` where the file asks for it, evaluates symbolic sizes and guards as Python, and loads the
shared libraries of AOTInductor. The graph itself is JSON and weights are plain bytes: these are read here, and nothing
else.
"""

import io
import json
import keyword
import re
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frami_edge.errors import FramiError
from frami_edge.teacher import operators
from frami_edge.teacher.program import LARGEST_SIZE, Node, OnInput, Program, Value

MAJOR = 8  # of the schema; minor versions only add
DTYPES = {1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
          7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16}
WIDENED = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d,
                  4: torch.preserve_format}
PLAIN = {"as_int", "as_ints", "as_float", "as_floats", "as_string", "as_strings", "as_bool", "as_bools",
         "as_int_lists", "as_float_lists"}
SYMBOL = re.compile(r"(?:Symbol\(')?([a-z]+\d+)(?:'[^()]*\))?")  # s0, or Symbol('s0', integer=True)
ASK = "Ask the vendor for a state_dict and the code of the network (--arch model.py:build)."


class _Archive:
    """The members of a ``.pt2`` file, whatever folder they lie in."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.by_end = {name.partition("/")[2]: name for name in archive.namelist()} | {
            name: name for name in archive.namelist() if "/" not in name}

    def __contains__(self, name: str) -> bool:
        return name in self.by_end

    def read(self, name: str) -> bytes:
        return self.archive.read(self.by_end[name])


def read_program(path: Path) -> Program:
    """The network in a ``.pt2`` file, in float32 where it was in half precision.

    Raises:
        FramiError: it calls operators that are not known, takes more than one tensor, or is of another version.
        Exception: anything, where the file is damaged.
    """
    with zipfile.ZipFile(path) as opened:
        archive = _Archive(opened)
        if "models/model.json" in archive:  # PyTorch 2.8 and later
            content = json.loads(archive.read("models/model.json"))
            state, constants = (_tensors(archive, f"data/{kind}/", f"model{suffix}") for kind, suffix in
                                (("weights", "_weights_config.json"), ("constants", "_constants_config.json")))
        elif "serialized_exported_program.json" in archive:
            content = json.loads(archive.read("serialized_exported_program.json"))
            state, constants = (_pickled(archive.read(f"serialized_{kind}.pt")) for kind in ("state_dict", "constants"))
        else:
            raise FramiError(f"{path} holds no program that torch.export.save wrote.",
                             "A package of AOTInductor is compiled for one machine and has no BatchNorms. " + ASK)
    version = content["schema_version"]["major"]
    if version != MAJOR:
        raise FramiError(f"{path} is a torch.export program of schema version {version}; this version reads {MAJOR}.",
                         "Ask for one saved with the PyTorch that is installed here, or newer or older by a little.")
    return _program(content, state, constants, path)


def _program(content: dict[str, Any], state: dict[str, Tensor], constants: dict[str, Tensor], path: Path) -> Program:
    graph, signature = content["graph_module"]["graph"], content["graph_module"]["signature"]
    kept = [node for node in graph["nodes"] if operators.base_name(node["target"]) not in operators.CHECKS]
    unknown = sorted({node["target"] for node in kept if not operators.is_known(node["target"])})
    if unknown:
        raise FramiError(f"{path} calls operators that are not known here: {', '.join(unknown)}.",
                         "A program is read operator by operator, so that no code of the file runs. " + ASK)
    values: dict[str, Tensor] = {}  # by their names in the graph
    inputs: list[str] = []
    buffers = set()
    for spec in signature["input_specs"]:
        (kind, given), = spec.items()
        if kind == "user_input":
            (argument, value), = given["arg"].items()
            if argument == "as_tensor":
                inputs.append(value["name"])
        elif kind in ("parameter", "buffer"):
            source = state if given.get("persistent", True) else constants
            values[given["arg"]["name"]] = source[given[f"{kind}_name"]]
            if kind == "buffer":
                buffers.add(given["buffer_name"])
        elif kind == "tensor_constant":
            values[given["arg"]["name"]] = constants[given["tensor_constant_name"]]
    if len(inputs) != 1:
        raise FramiError(f"{path} takes {len(inputs)} tensors ({', '.join(inputs)}); one log-Mel is expected.",
                         "Export the network without its other inputs.")
    outputs = tuple(spec["user_output"]["arg"]["as_tensor"]["name"] for spec in signature["output_specs"]
                    if "as_tensor" in spec.get("user_output", {}).get("arg", {}))
    if not outputs:
        raise FramiError(f"{path} returns no tensor.", "Export the network that gives logits for each clip.")
    sizes = graph["tensor_values"][inputs[0]]["sizes"]
    ranges = content.get("range_constraints") or {}
    return Program([_node(node) for node in kept], values, state, buffers, inputs[0],
                   [_declared(size, ranges) for size in sizes], outputs)


def _node(node: dict[str, Any]) -> Node:
    target, call = node["target"], operators.find(node["target"])
    operator = operators.base_name(target)
    given = {argument["name"]: _argument(argument["arg"]) for argument in node["inputs"]}
    outputs = node["outputs"]
    listed = len(outputs) == 1 and "as_tensors" in outputs[0]
    names = [_output(output) for output in (outputs[0]["as_tensors"] if listed else outputs)]
    name = _identifier(node.get("name") or names[0] or operator)
    if target in operators.SIZES:
        return Node(name, operator, call, tuple(given.values()), {}, tuple(names), False, True)
    if operator not in operators.BATCH_NORMS:  # those without statistics of their own take the batch's
        given |= {flag: False for flag in ("train", "training") if flag in given}  # as Module.eval() does
    args, kwargs = _arranged(given, call)
    return Node(name, operator, call, args, kwargs, tuple(names), listed or len(names) > 1,
                operator.startswith("sym_"))


def _arranged(given: dict[str, Any], call: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """By position as far as there are no gaps, for hooks see what is given by position; by name after that."""
    args: list[Any] = []
    rest = dict(given)
    for argument in call._schema.arguments:
        if argument.kwarg_only or argument.name not in rest:
            break
        args.append(rest.pop(argument.name))
    return tuple(args), rest


def _argument(tagged: dict[str, Any]) -> Any:
    """The value of an argument, which is tagged by its type."""
    (kind, value), = tagged.items()
    if kind in PLAIN:
        return value
    if kind == "as_none":
        return None
    if kind in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float", "as_optional_tensor"):
        return _reference(value)
    if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return [_reference(part) for part in value]
    if kind == "as_scalar_type":
        return WIDENED.get(DTYPES[value], DTYPES[value])
    if kind == "as_memory_format":
        return MEMORY_FORMATS[value]
    if kind == "as_layout":
        return torch.strided
    if kind == "as_device":
        return OnInput()
    raise ValueError(f"arguments of the type {kind} are not known")


def _reference(tagged: dict[str, Any]) -> Any:
    """A tensor or a size by its name; or a size, or no tensor, as such."""
    (kind, value), = tagged.items()
    if kind == "as_none":
        return None
    if kind in ("name", "as_name"):
        return Value(value)
    return _reference(value) if kind == "as_tensor" else value


def _output(tagged: dict[str, Any]) -> str:
    value = _reference(tagged if "name" in tagged else next(iter(tagged.values())))
    return value.name if isinstance(value, Value) else ""


def _identifier(name: str) -> str:
    """A node's name names a module: no dots, and nothing else that one cannot say in Python."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"node_{abs(hash(name))}"


def _declared(size: dict[str, Any], ranges: dict[str, Any]) -> tuple[int, int]:
    """The smallest and the largest size of an axis; one computed from others counts as fixed."""
    if "as_int" in size:
        return size["as_int"], size["as_int"]
    expression = size["as_expr"]
    symbol = SYMBOL.fullmatch(expression["expr_str"])
    if symbol is None:
        hint = expression["hint"]["as_int"]
        return hint, hint
    limits = ranges.get(symbol[1], {})
    low, high = limits.get("min_val"), limits.get("max_val")
    return max(1, low or 1), LARGEST_SIZE if high is None else high


def _tensors(archive: _Archive, folder: str, table: str) -> dict[str, Tensor]:
    """Tensors as plain bytes, described by a table; or all of them in one file of ``torch.save``."""
    old = f"{folder}model.pt"
    if old in archive:
        return _pickled(archive.read(old))
    found: dict[str, Tensor] = {}
    contents: dict[str, bytearray] = {}  # each once, however many tensors lie in it
    for name, described in json.loads(archive.read(folder + table))["config"].items():
        file = described["path_name"]
        if file not in contents:
            contents[file] = bytearray(archive.read(folder + file))
        found[name] = _tensor(described, contents[file])
    return found


def _tensor(described: dict[str, Any], content: bytearray) -> Tensor:
    if described.get("use_pickle"):
        tensor = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        assert isinstance(tensor, Tensor)
        return tensor.detach()
    meta = described["tensor_meta"]
    dtype = DTYPES[meta["dtype"]]
    sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
    if not prod(sizes):
        return torch.zeros(sizes, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).as_strided(sizes, strides, meta["storage_offset"]["as_int"])


def _pickled(content: bytes) -> dict[str, Tensor]:
    if not content:
        return {}
    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: value.detach() for name, value in loaded.items() if isinstance(value, Tensor)}
