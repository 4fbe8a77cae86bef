"""The network that a teacher's weights belong to: one of the registry, or built by the vendor's code.

Code runs only when the user typed ``--trust`` or ``--arch``.
"""

from pathlib import Path

from torch import nn

from frami_edge import networks
from frami_edge.card import TeacherCard
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.factories import call, find_factory
from frami_edge.files import sha256


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
        return networks.build(wanted, card.classes, card.frontend.rows), wanted
    factory = find_factory(wanted, folder)
    if arch is None and not trust:
        raise FramiError(
            f"The card says the network is built by code: {factory}, sha256 {sha256(factory.file)}. It was not run.",
            f"Read it, then say --trust (or --arch {wanted}) to run it.",
        )
    return call(factory), str(factory)
