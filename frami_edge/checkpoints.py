"""frami-edge checkpoints: a network's weights, its card, and where it came from. No code inside."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from frami_edge.card import TeacherCard
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.files import sha256, write_atomically
from frami_edge.networks import Network, build, own

FORMAT = "frami-edge/1"


class Checkpoint(NamedTuple):
    network: Network  # in eval mode
    card: TeacherCard
    provenance: dict[str, Any]
    sha256: str


def save(path: Path, network: Network, card: TeacherCard, provenance: dict[str, Any]) -> None:
    """Write ``path`` whole or not at all. ``provenance`` holds plain JSON values.

    Of a network built by the user's code, the file's name and sha256 are kept, and a few logits.
    """
    code: dict[str, Any] = {}
    if network.code_sha256:
        code = {"code_sha256": network.code_sha256, "fingerprint": own.fingerprint(network)}
        provenance = provenance | {"student_code": {"name": network.name, "sha256": network.code_sha256}}
    content = {
        "format": FORMAT,
        "architecture": network.name,
        "classes": network.classes,
        "n_mels": network.n_mels,
        "card": card.model_copy(update={"architecture": network.name, "layout": "B1FT", "features_at": "",
                                        "frames_at": "", "output": "logits"}).model_dump(mode="json"),
        "state_dict": {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()},
        "provenance": provenance,
    } | code
    write_atomically(Path(path), lambda aside: torch.save(content, aside))


def is_checkpoint(content: object) -> bool:
    return isinstance(content, dict) and str(content.get("format", "")).startswith("frami-edge/")


def restore(content: dict[str, Any], path: Path, arch: str | None = None, trust: bool = False) -> Checkpoint:
    """Build the network of a loaded checkpoint; half-precision weights are upcast.

    ``arch`` and ``trust`` let the user's own code build it, where it is needed; see :func:`networks.own.rebuild`.
    """
    if content["format"] != FORMAT:
        raise FramiError(f"{path} has format {content['format']}, this version reads {FORMAT}.",
                         "Install a newer frami-edge.")
    if arch and "code_sha256" not in content and arch != content.get("architecture"):
        raise FramiError(f"{path} says itself which network it holds: {content.get('architecture')}.",
                         f"Leave out --arch {arch}.", exit_code=EXIT_USAGE)
    try:
        weights = {key: value.float() if value.is_floating_point() else value
                   for key, value in content["state_dict"].items()}
        if "code_sha256" in content:
            network = own.rebuild(content | {"state_dict": weights}, Path(path), arch, trust)
        else:
            wanted = content["architecture"], content["classes"], content["n_mels"]
            with torch.device("meta"):  # shapes alone: a damaged number asks for more memory than there is
                build(*wanted).load_state_dict(weights, assign=True)
            network = build(*wanted)
            network.load_state_dict(weights)
        card = TeacherCard.parse(content["card"], str(path))
        provenance = dict(content["provenance"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise FramiError(f"{path} is a damaged frami-edge checkpoint: {error}") from error
    return Checkpoint(network.eval(), card, provenance, sha256(path))


def load(path: Path, arch: str | None = None, trust: bool = False) -> Checkpoint:
    """Open a checkpoint that :func:`save` wrote; anything else is a :class:`FramiError`."""
    path = Path(path)
    if not path.is_file():
        raise FramiError(f"There is no file {path}.", "'frami-edge distill TEACHER' writes student.pt.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch raises on bytes it does not know
        raise FramiError(f"{path} cannot be read as a checkpoint ({type(error).__name__}).",
                         "It may be truncated: compare its size with the original.") from error
    if not is_checkpoint(content):
        raise FramiError(f"{path} is not a frami-edge checkpoint.",
                         "Give the student.pt that 'frami-edge distill' or 'frami-edge train' wrote.")
    return restore(content, path, arch, trust)
