"""The network that a teacher's weights belong to: one of the registry, or built by the vendor's code.

Code runs only when the user typed ``--trust`` or ``--arch``.
"""

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

from torch import nn

from frami_edge import networks
from frami_edge.card import TeacherCard
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.files import sha256


class Factory(NamedTuple):
    """A function in a Python file, written ``model.py:build``."""

    file: Path
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.function}"


def build_network(card: TeacherCard, arch: str | None, trust: bool, folder: Path) -> tuple[nn.Module, str]:
    """An untrained network, and how to call it.

    Args:
        card: names the architecture where the user did not.
        arch: what the user typed after ``--arch``: a name of the registry, or ``FILE.py:FUNCTION``. A bare file name is
            looked for beside the checkpoint first.
        trust: whether code that the card names may run.
        folder: where the checkpoint lies.

    Raises:
        FramiError: no architecture is named, it is unknown, or it is code and the user said nothing.
    """
    wanted = arch or card.architecture
    if not wanted:
        raise FramiError("The teacher's card names no architecture.",
                         "Say --arch NAME ('frami-edge networks' lists them), or --arch model.py:build.",
                         exit_code=EXIT_USAGE)
    if ":" not in wanted:
        return networks.build(wanted, card.classes, card.frontend.n_mels), wanted
    factory = find_factory(wanted, folder)
    if arch is None and not trust:
        raise FramiError(
            f"The card says the network is built by code: {factory}, sha256 {sha256(factory.file)}. It was not run.",
            f"Read it, then say --trust (or --arch {wanted}) to run it.",
        )
    return _call(factory), str(factory)


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


def _call(factory: Factory) -> nn.Module:
    module_name = f"_frami_edge_teacher_{sha256(factory.file)[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, factory.file)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look themselves up there
    sys.path.insert(0, str(factory.file.resolve().parent))  # for what it imports from beside it
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, factory.function):
            raise FramiError(f"{factory.file} defines no '{factory.function}'.", "Say --arch FILE.py:FUNCTION.")
        network = getattr(module, factory.function)()
    except FramiError:
        raise
    except Exception as error:  # the vendor's code may raise anything
        raise FramiError(f"{factory} failed: {type(error).__name__}: {error}",
                         "It is called without arguments and must return the network.") from error
    finally:
        sys.path.remove(str(factory.file.resolve().parent))
    if not isinstance(network, nn.Module):
        raise FramiError(f"{factory} returned {type(network).__name__}, not a torch.nn.Module.")
    return network
