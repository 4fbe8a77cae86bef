"""Files that hold code: wherever a pickle, `torch.export.load` or `torch.jit.load` would run it.

What tries to run does so by touching the file WITNESS; whether it did is looked up after each opening.
"""

import io
import json
import os
import pickle
import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hostile_whole import Small, leaves, rewritten


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


def payload(rng: random.Random) -> Call:
    witness = os.environ["WITNESS"]
    python = f"open({witness!r}, 'w')"
    inner = pickle.dumps(Call(eval, python))
    buffer = io.BytesIO()
    torch.save(Call(eval, python), buffer)
    return rng.choice((
        Call(os.system, f"touch {witness}"), Call(eval, python), Call(exec, python), Call(pickle.loads, inner),
        Call(os.mkdir, witness), Call(open, witness, "w"),
        Call(torch.storage._load_from_bytes, buffer.getvalue()), Call(Path.touch, Path(witness)),
        Call(map, eval, [python]), Call(getattr, Call(__import__, "os"), "system"),
        Call(torch.from_file, witness, True, 1),
    ))


def pickled_code(rng: random.Random, whole: Path, path: Path) -> None:
    state: dict[str, Any] = dict(Small().state_dict())
    bad = payload(rng)
    content: Any = rng.choice((
        bad, [bad], {"state_dict": state, "extra": bad}, {**state, "conv.weight": bad},
        {"model": {"deep": [{"er": bad}]}}, OrderedDict(state, _metadata=bad),
        {"format": "frami-edge/1", "state_dict": state, "card": bad},
    ))
    if rng.random() < 0.15:
        path.write_bytes(pickle.dumps(content, protocol=rng.choice((2, 4, 5))))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)


def program_code(rng: random.Random, whole: Path, path: Path) -> None:
    """Code wherever torch.export.load or torch.jit.load would run it."""
    witness = os.environ["WITNESS"]
    python = f"__import__('os').system('touch {witness}')"
    bad = io.BytesIO()
    torch.save(payload(rng), bad)
    where = rng.randrange(9)

    def change(name: str, content: bytes) -> bytes:
        if where == 0 and name.endswith("sample_inputs/model.pt"):
            return bad.getvalue()
        if name.endswith("weights_config.json") and where == 1:
            parsed = json.loads(content)
            parsed["config"]["conv.weight"]["use_pickle"] = True
            return json.dumps(parsed).encode()
        if where == 1 and name.endswith("weight_0"):
            return bad.getvalue()
        if name.endswith("constants_config.json") and where == 2:
            return json.dumps({"config": {"c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True,
                                               "tensor_meta": None}}}).encode()
        if not name.endswith("model.json"):
            return content
        parsed = json.loads(content)
        inside = parsed["graph_module"]["graph"]
        node = rng.choice(inside["nodes"])
        if where == 3:
            node["target"] = rng.choice(("torch.hub.load", "torch.serialization.os.system", "torch.load",
                                         "torch.ops.aten.from_file.default", "_operator.methodcaller", "os.system"))
            node["inputs"] = [{"name": "a", "arg": {"as_string": f"touch {witness}"}, "kind": 1}]
        elif where == 4:
            for holder, key in leaves(parsed):
                if key == "expr_str":
                    holder[key] = python
        elif where == 5:
            node["name"] = f"x\n    {python}\n    y"
        elif where == 6:
            parsed["guards_code"] = [python]
        elif where == 7:
            node.setdefault("metadata", {})["nn_module_stack"] = f"{python},{python},{python}"
        elif where == 8:
            parsed["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = python
        return json.dumps(parsed).encode()

    if rng.random() < 0.25:
        def in_script(name: str, content: bytes) -> bytes:
            chosen = name.endswith(rng.choice(("data.pkl", "constants.pkl")))
            return pickle.dumps(payload(rng), 2) if chosen else content

        rewritten(whole / "script", path, in_script)
    else:
        rewritten(whole / "exported", path, change,
                  **{"exported/data/constants/opaque_obj_0": pickle.dumps(payload(rng))} if where == 2 else {})
