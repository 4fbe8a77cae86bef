"""What a network takes, found by trying: layouts, Mel bands, lengths, and whether one clip alone gives the same."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from frami_edge.probing import probe

USUAL_BANDS = (40, 64, 80, 128, 32, 60, 96, 120, 48, 26, 24, 23)
USUAL_FRAMES = (101, 100, 98, 99, 201, 200, 128, 64, 32, 96, 63, 51, 50, 61, 126, 151, 157, 249, 251, 256, 301, 313,
                501, 500, 1001, 1000, 998, 1024)
Name = Literal["B1FT", "B1TF", "BFT", "BTF", "waveform"]
MEL_LAYOUTS: tuple[Name, ...] = ("B1FT", "B1TF", "BFT", "BTF")
WAVE_SAMPLES = 16000
SAME = 1e-3  # of the largest output: what arithmetic in another order may differ by


class Layout(NamedTuple):
    name: Name
    n_mels: tuple[int, ...]  # of the usual numbers of bands, those that work; none for a waveform
    frames: int  # a length that works


class Lengths(NamedTuple):
    shortest: int  # frames
    fixed: bool  # no other length is taken


def arrange(log_mel: Tensor, layout: str) -> Tensor:
    """(batch, n_mels, frames) as ``layout`` says; contiguous, as a front-end would give it.

    A transposed view is not enough: where the network then swaps axes and normalises by band, BatchNorm's backward on
    the CPU gives gradients that are wrong by a sixth and more (torch 2.13; tests/teacher/test_gradients.py).
    """
    if layout.endswith("TF"):
        log_mel = log_mel.transpose(1, 2).contiguous()
    return log_mel.unsqueeze(1) if layout.startswith("B1") else log_mel


def find_layouts(net: nn.Module, bands: Iterable[int] = USUAL_BANDS, frames: int | None = None) -> list[Layout]:
    """The layouts that give a row for each of two clips; the shapes alone are looked at.

    Args:
        net: in eval mode.
        bands: numbers of Mel bands to try.
        frames: the clips' length where it is known; else a second at the usual hop, then other usual lengths.
    """
    bands, found = tuple(bands), []
    for name in MEL_LAYOUTS:
        for length in ((frames,) if frames else USUAL_FRAMES[:1]):
            if works := tuple(n for n in bands if takes(net, name, n, length)):
                found.append(Layout(name, works, length))
    if not found and takes_waveforms(net):  # a network of log-Mels may take one for a log-Mel of one band
        found.append(Layout("waveform", (), WAVE_SAMPLES))
    if found or frames:
        return found
    for length in USUAL_FRAMES[1:]:  # a network that takes one length alone
        found += [Layout(name, works, length) for name in MEL_LAYOUTS
                  if (works := tuple(n for n in bands if takes(net, name, n, length)))]
        if found:
            return found
    return []


def takes(net: nn.Module, layout: str, n_mels: int, frames: int) -> bool:
    return rows(run(net, arrange(probe(2, n_mels, frames), layout)), 2) is not None


def takes_waveforms(net: nn.Module) -> bool:
    wave = 0.1 * probe(2, 1, WAVE_SAMPLES)
    return any(rows(run(net, each), 2) is not None for each in (wave, wave[:, 0]))


@torch.no_grad()
def run(net: nn.Module, x: Tensor) -> Any:
    """The output; None where the network does not take ``x``."""
    with contextlib.suppress(Exception):  # the vendor's code may raise anything
        return net(x)
    return None


@torch.no_grad()
def complaint(net: nn.Module, n_mels: int = 64, frames: int = 101) -> str:
    """What the network says to two clips of the usual layout; empty where it takes them."""
    try:
        net(arrange(probe(2, n_mels, frames), "B1FT"))
    except Exception as error:  # the vendor's code may raise anything
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return ""


def rows(output: Any, batch: int, classes: int | None = None) -> Tensor | None:
    """The (batch, classes) of what a network gives, else the first (batch, n) of it; None where there is none, or one
    for each frame."""
    values = list(output.values()) if isinstance(output, dict) else output
    found = [value.flatten(1) for value in (values if isinstance(values, tuple | list) else [values])
             if isinstance(value, Tensor) and value.is_floating_point() and value.dim() >= 2 and len(value) == batch
             and 2 <= value.shape[1] == value[0].numel()]
    return next((value for value in found if value.shape[1] == classes), found[0] if found else None)


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two outputs differ by no more than arithmetic in another order does."""
    return torch.allclose(ours, theirs, atol=SAME * float(theirs.abs().max()))


def find_lengths(net: nn.Module, layout: Layout, n_mels: int) -> Lengths:
    """The shortest clip that is taken (by bisection), and whether ``layout.frames`` is the only length."""
    if not takes(net, layout.name, n_mels, layout.frames + 16):
        halves = (layout.frames // 2, layout.frames - 16)
        if not any(each > 0 and takes(net, layout.name, n_mels, each) for each in halves):
            return Lengths(layout.frames, True)
    return Lengths(shortest(lambda frames: takes(net, layout.name, n_mels, frames), layout.frames), False)


def shortest(taken: Callable[[int], bool], frames: int) -> int:
    """The smallest number of frames that is ``taken``, where ``frames`` is and each longer clip too.

    Doubled from 1, then by bisection: most networks take a few frames, and short clips cost little.
    """
    refused, longer = 0, 1
    while longer < frames and not taken(longer):
        refused, longer = longer, 2 * longer
    longer = min(longer, frames)
    while longer - refused > 1:
        middle = (refused + longer) // 2
        refused, longer = (refused, middle) if taken(middle) else (middle, longer)
    return longer


def alone_and_together(net: nn.Module, layout: Layout, n_mels: int) -> str:
    """What is odd about a batch of one clip, in words; empty where it gives what it gives within a batch."""
    clips = arrange(probe(2, n_mels, layout.frames), layout.name)
    both, again, output = rows(run(net, clips), 2), rows(run(net, clips), 2), run(net, clips[:1])
    if both is not None and again is not None and not alike(both, again):
        return "the same clips give something else each time: dropout or augmentation that is on in eval mode too"
    if output is None:
        return "a batch of one clip fails"
    alone = rows(output, 1)
    if both is None or alone is None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        return f"a batch of one clip loses its batch axis (output {shape}): a squeeze() without an axis"
    if not alike(alone, both[:1]):
        return "a clip gives something else alone than in a batch"
    return ""
