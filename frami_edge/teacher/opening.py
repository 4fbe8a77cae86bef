"""Opening a teacher: frami-edge checkpoints, and what vendors ship (a state_dict, a card, perhaps a model.py)."""

from pathlib import Path
from typing import NamedTuple

from torch import nn

from frami_edge import checkpoints
from frami_edge.card import CARD_NAME, TeacherCard
from frami_edge.errors import FramiError
from frami_edge.files import sha256
from frami_edge.teacher.architectures import build_network
from frami_edge.teacher.fitting import fit, refuse_non_finite
from frami_edge.teacher.program import Program
from frami_edge.teacher.reading import find_state_dicts, read_content
from frami_edge.teacher.taps import Teacher
from frami_edge.teacher.torchscript import ScriptWeights
from frami_edge.teacher.waveform import behind_front_end


class OpenedTeacher(NamedTuple):
    teacher: Teacher
    card: TeacherCard
    sha256: str  # of the checkpoint file
    source: str  # what it was opened as, for people


def open_teacher(path: Path, *, card: Path | None = None, arch: str | None = None,
                 trust: bool = False, frames_at: str | None = None, features_at: str | None = None) -> OpenedTeacher:
    """Open a teacher's checkpoint, whoever wrote it.

    Args:
        path: a frami-edge checkpoint, any file of ``torch.save`` that holds a state_dict, a ``torch.export`` program,
            or a TorchScript program, of which the weights are taken.
        card: its card; by default the one inside, or ``NAME.toml`` or ``teacher.toml`` beside it.
        arch: overrides the card's architecture; ``FILE.py:FUNCTION`` runs that code.
        trust: run code that the card or the file names.
        frames_at: the module with the frame-level hidden state, where probing finds the wrong one;
            by default what the card says.
        features_at: the last module of the front-end inside a teacher that takes waveforms.

    Raises:
        FramiError: what is wrong with the file, the card or how they go together.
    """
    path = Path(path)
    content = read_content(path, trust)
    if checkpoints.is_checkpoint(content):
        restored = checkpoints.restore(content, path, arch, trust)
        refuse_non_finite(restored.network, path)
        own = TeacherCard.read(card) if card else restored.card
        return OpenedTeacher(Teacher(restored.network, own, frames_at), own, restored.sha256,
                             f"frami-edge checkpoint, {restored.network.name}")
    read = TeacherCard.read(card or find_card(path))
    if isinstance(content, nn.Module) and arch is None:  # a program, or read with --trust alone
        refuse_non_finite(content, path)
        if isinstance(content, Program) and read.layout == "waveform":
            raise FramiError(f"{path} is a torch.export program that takes waveforms: its front-end cannot be taken "
                             "out.", "Ask for the program of the network behind it, or for a state_dict and its code.")
        whole, read = behind_front_end(content.float(), read, features_at)
        return OpenedTeacher(Teacher(whole, read, frames_at), read, sha256(path),
                             "torch.export program" if isinstance(content, Program)
                             else f"whole {type(content).__name__}")
    if isinstance(content, ScriptWeights) and not (arch or read.architecture):
        raise FramiError(f"{path} is a TorchScript program, of which only the weights are read, and nothing says which "
                         "network they belong to.",
                         "Say --arch NAME or --arch model.py:build; or ask for a torch.export program (.pt2), which "
                         "needs neither.")
    network, architecture = build_network(read, arch, trust, path.parent)
    place = fit(network, find_state_dicts(content), path, architecture)
    network, read = behind_front_end(network, read, features_at)
    kind = "TorchScript weights" if isinstance(content, ScriptWeights) else "state_dict"
    source = f"{kind}{f' {place!r}' if place else ''} in {Path(architecture).name}"
    return OpenedTeacher(Teacher(network, read, frames_at), read, sha256(path), source)


def find_card(path: Path) -> Path:
    """The card beside a checkpoint: ``NAME.toml``, else ``teacher.toml``."""
    candidates = [path.with_suffix(".toml"), path.with_name(CARD_NAME)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FramiError(
        f"{path} has no card: neither {' nor '.join(dict.fromkeys(map(str, candidates)))} exists.",
        "A card says what a checkpoint cannot: labels, Mel front-end, clip length (docs/teachers.md shows one). "
        "Write it, or point to it with --card FILE.",
    )
