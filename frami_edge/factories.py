"""Networks built by a function in somebody's Python file, ``model.py:build``. Whoever calls :func:`call` has the user's
word that this code may run."""

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

from torch import nn

from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.files import sha256


class Factory(NamedTuple):
    """A function in a Python file, written ``model.py:build``."""

    file: Path
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.function}"


def find_factory(text: str, folder: Path) -> Factory:
    """``model.py:build`` as a file that exists and a function's name."""
    name, _, function = text.rpartition(":")
    if not name.endswith(".py") or not function.isidentifier():
        raise FramiError(f"'{text}' names no network.", "Expected a registered name or FILE.py:FUNCTION.",
                         exit_code=EXIT_USAGE)
    places = [folder / name, Path(name)] if Path(name).name == name else [Path(name), folder / name]
    for place in places:
        if place.is_file():
            return Factory(place, function)
    raise FramiError(f"There is no file {places[0]} to build the network with (architecture '{text}').",
                     "Ask the vendor for it, or point to it with --arch FILE.py:FUNCTION.")


def call(factory: Factory, *arguments: int) -> nn.Module:
    """What the function returns for ``arguments``; this runs the file."""
    module_name = f"_frami_edge_factory_{sha256(factory.file)[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, factory.file)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look themselves up there
    sys.path.insert(0, str(factory.file.resolve().parent))  # for what it imports from beside it
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, factory.function):
            raise FramiError(f"{factory.file} defines no '{factory.function}'.", "Name another: FILE.py:FUNCTION.")
        network = getattr(module, factory.function)(*arguments)
    except FramiError:
        raise
    except Exception as error:  # the vendor's code may raise anything
        raise FramiError(f"{factory} failed: {type(error).__name__}: {error}",
                         f"It is called {'with (classes, n_mels)' if arguments else 'without arguments'} and must "
                         "return the network.") from error
    finally:
        sys.path.remove(str(factory.file.resolve().parent))
    if not isinstance(network, nn.Module):
        raise FramiError(f"{factory} returned {type(network).__name__}, not a torch.nn.Module.")
    return network.cpu()  # some move it where they trained it
