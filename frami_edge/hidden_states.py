"""The hidden states of one forward pass, taken where :mod:`frami_edge.probing` has found them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from frami_edge.errors import FramiError
from frami_edge.pooling import Form


class Tap(NamedTuple):
    """A module whose output runs along time, and the axes of that output."""

    name: str
    batch_axis: int
    time_axis: int

    def arrange(self, output: Tensor) -> Tensor:
        """-> (batch, ..., time)."""
        return output.movedim((self.batch_axis, self.time_axis), (0, -1))


class Place(NamedTuple):
    """Where a vector for each clip is seen: a module's input or output; the network's own output has no name."""

    name: str
    is_input: bool


@dataclass(frozen=True)
class Taps:
    """Where a network's hidden states are; names are those of ``net.named_modules()``."""

    frame_tap: Tap
    form: Form
    pooled_at: Place | None  # None: the pooled state is the mean of the frames
    stage_taps: tuple[Tap, ...]
    fixed_frames: int | None  # the only length it takes, where there is but one
    ran: frozenset[str]  # the modules that a forward pass runs

    @property
    def frames(self) -> str:
        return self.frame_tap.name

    @property
    def stages(self) -> list[str]:
        return [tap.name for tap in self.stage_taps]


def hidden_states(net: nn.Module, taps: Taps, run: Callable[[], Any]) -> tuple[Any, Tensor, Tensor, list[Tensor]]:
    """What ``run`` returns, with the frame-level states, the pooled state and the stages of that pass.

    Hooks live only as long as the pass, so a second one can never overwrite what the first recorded.

    Returns:
        the output; frames (batch, features, time'); pooled (batch, d); stages (batch, channels, ..., time').
    """
    found: dict[Place, Tensor] = {}
    places = {Place(tap.name, False) for tap in (taps.frame_tap, *taps.stage_taps)}
    if taps.pooled_at is not None and taps.pooled_at.name:
        places.add(taps.pooled_at)
    with contextlib.ExitStack() as hooks:
        for place in places:
            hooks.enter_context(_keep(net, place, found))
        output = run()
    frames = taps.form.apply(taps.frame_tap.arrange(found[Place(taps.frames, False)]))
    pooled = found[taps.pooled_at].flatten(1) if taps.pooled_at in found else frames.mean(-1)
    return output, frames, pooled, [tap.arrange(found[Place(tap.name, False)]) for tap in taps.stage_taps]


def first_tensor(output: Any) -> Tensor | None:
    """Of a tuple, as recurrent layers give, the first: the sequence."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def clip_output(output: Any, batch: int, classes: int) -> Tensor:
    """The (batch, classes) of what a network gives: a tensor, or one in a tuple or a dictionary.

    Raises:
        FramiError: there is none, there are several, or it has a row for every frame.
    """
    named = output if isinstance(output, dict) else dict(enumerate(output if isinstance(output, tuple | list)
                                                                   else [output]))
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    found = {name: value.flatten(1) for name, value in tensors.items()
             if value.dim() >= 2 and value.shape[:2] == (batch, classes) and value[0].numel() == classes}
    if len(found) > 1:
        raise FramiError(f"The network gives {len(found)} outputs of {classes} numbers for each clip: "
                         f"{', '.join(map(repr, found))}.",
                         "Let the code that builds it return the one of the card's labels alone "
                         "(--arch model.py:build).")
    if found:
        return next(iter(found.values()))
    shapes = ", ".join(str(tuple(value.shape)) for value in tensors.values()) or type(output).__name__
    if any(value.dim() == 3 and value.shape[0] == batch and classes in value.shape[1:] for value in tensors.values()):
        raise FramiError(f"The network gives one output per frame, {shapes} for a batch of {batch}; one for each clip "
                         "is needed.", "Pool them over time in the code that builds it (--arch model.py:build).")
    raise FramiError(f"The network gives {shapes} for a batch of {batch}; its card has {classes} labels.",
                     "Compare the labels with its description.")


@contextlib.contextmanager
def _keep(net: nn.Module, place: Place, found: dict[Place, Tensor]) -> Iterator[None]:
    def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = first_tensor(inputs if place.is_input else output)
        assert tensor is not None  # it was one when the network was probed
        found[place] = tensor

    handle = net.get_submodule(place.name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
