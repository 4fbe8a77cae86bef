"""Zip archives that PyTorch writes: which of its formats one is, and whether it is larger than it looks."""

import zipfile
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from torch import Tensor

from frami_edge.errors import FramiError

# PyTorch stores its archives uncompressed; what a person zipped again shrinks by little, for weights are all but noise
INFLATION = 8
SMALL = 2**24  # bytes that anyone may declare


class Kind(Enum):
    PICKLED = "a file of torch.save"
    SCRIPT = "a TorchScript program"
    EXPORTED = "a torch.export program"


def look_into(path: Path) -> Kind:
    """What a zip archive holds, from the names of its members.

    Raises:
        FramiError: it is truncated, or its members would be far larger than the file.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:  # the directory is its end
        raise FramiError(f"{path} is truncated: {size} bytes, and the end is missing.",
                         "Compare its size with the original and copy it again.") from error
    refuse_inflated(sum(member.file_size for member in members), size, path)
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") for name in names):
        return Kind.SCRIPT
    if any("serialized_exported_program" in name or "models/" in name or "data/aotinductor" in name for name in names):
        return Kind.EXPORTED
    return Kind.PICKLED


def refuse_inflated(declared: int, size: int, path: Path) -> None:
    """Raise :class:`FramiError` where a file of ``size`` bytes says that it holds ``declared`` bytes."""
    if declared > INFLATION * size + SMALL:
        raise FramiError(f"{path} says that it holds {declared / 1e6:.0f} MB, and has {size / 1e6:.2f} MB.",
                         "It is damaged, or made to fill the memory of whoever opens it.")


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """What these take once each of their elements is written down; an expanded tensor may have more than it stores."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
