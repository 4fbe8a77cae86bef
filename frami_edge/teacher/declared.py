"""What an exported program says about its input, against the card: Mel bands, lengths, batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from frami_edge.card import TeacherCard
from frami_edge.errors import FramiError
from frami_edge.probing import probe
from frami_edge.teacher.program import LARGEST_SIZE, Program

MEL_AXIS = {"B1FT": 2, "B1TF": 3, "BFT": 1, "BTF": 2}
TIME_AXIS = {"B1FT": 3, "B1TF": 2, "BFT": 2, "BTF": 1}
EXPORT_AGAIN = ("Export it with any batch and any length: torch.export.export(model.eval(), (x,), "
                "dynamic_shapes=({{0: Dim.DYNAMIC, {time}: Dim.DYNAMIC}},)), with an x of two clips or more.")


def lengths(program: Program, card: TeacherCard, call: Callable[[Tensor], Any]) -> tuple[int, int]:
    """The smallest and the largest number of frames that ``program`` takes; equal where it takes but one.

    A fixed batch does not count where the graph does not use it: that is tried.

    Raises:
        FramiError: the card says another layout, other Mel bands or another length; or it runs with one batch alone.
    """
    sizes, again = program.input_sizes, EXPORT_AGAIN.format(time=TIME_AXIS[card.layout])
    shape = " x ".join(_size(*size) for size in sizes)
    if len(sizes) != len(card.layout) or (card.layout.startswith("B1") and not _within(1, sizes[1])):
        raise FramiError(f"The program was exported for an input of {shape}, and the card says layout = "
                         f"\"{card.layout}\".", "Correct the layout in the card.")
    if not _within(card.frontend.rows, sizes[MEL_AXIS[card.layout]]):
        raise FramiError(f"The program was exported for an input of {shape}, and the card says n_mels = "
                         f"{card.frontend.rows}, layout = \"{card.layout}\".", "Correct them in the card.")
    low, high = sizes[TIME_AXIS[card.layout]]
    if not low <= card.frames <= high:
        raise FramiError(f"The program takes {_size(low, high)} frames, and the card's clips have {card.frames}.",
                         f"Correct the clips or the front-end in the card. Or: {again}")
    batch = sizes[0][0]
    if sizes[0] == (batch, batch) and not _takes_other_batches(call, batch, card):
        raise FramiError(f"The program was exported for batches of {batch}, and gives others no answer or another one.",
                         again)
    return low, high


@torch.no_grad()
def _takes_other_batches(call: Callable[[Tensor], Any], batch: int, card: TeacherCard) -> bool:
    """Whether two batches of the declared size at once, and one clip more, give what each of them gives alone."""
    clips = probe(2 * batch + 1, card.frontend.rows, card.frames)
    parts = [clips[:batch], clips[batch : 2 * batch], clips[batch + 1 :]]
    try:
        expected = [_first(call(part)) for part in parts]
        together = _first(call(clips))
    except (RuntimeError, ValueError, AssertionError, IndexError):  # what operators say to a wrong shape
        return False
    found = [together[:batch], together[batch : 2 * batch], together[batch + 1 :]]
    return all(one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4)
               for one, other in zip(expected, found, strict=True))


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _within(size: int, limits: tuple[int, int]) -> bool:
    return limits[0] <= size <= limits[1]


def _size(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low} or more" if high == LARGEST_SIZE else f"{low} to {high}"
