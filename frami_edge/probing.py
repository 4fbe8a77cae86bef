"""Where the hidden states of a network are found, whoever wrote it: by probing, not by names.

Two probes that differ in batch and length tell which modules' outputs run along time, and which of their axes are batch
and time. What the network then keeps for the whole clip (a vector per clip) is compared with the mean, the maximum and
so on of these outputs: the one that explains it is the frame-level hidden state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frami_edge.compute import KEEPS_TENSORS_BACK, MIXED_DEVICES
from frami_edge.errors import EXIT_USAGE, FramiError, nearest
from frami_edge.hidden_states import Place, Tap, Taps, clip_output, first_tensor
from frami_edge.pooling import Form, as_attention, by_scores, exactly

STAGE_TAPS = 4
CANDIDATES = 8  # of the last outputs along time that may be the frame-level state
SHOWN = 4  # of the parts of an output, in words
BATCHES = 2, 3  # of the two probes
WRAP = ("Wrap it in model.py, the code that builds it, so that forward(x) takes the features alone and returns "
        "(batch, classes).")
MORE_FRAMES = 64  # of the second probe; far enough for a network that strides time by 64

Call = Callable[[Tensor], Any]  # (batch, n_mels, frames) -> whatever the network gives


class Trace(NamedTuple):
    shapes: dict[str, torch.Size]  # of every module's output, in the order in which they finish
    output: Any
    error: Exception | None


def find_taps(net: nn.Module, call: Call, n_mels: int, frames: int, classes: int,
              frames_at: str | None = None) -> Taps:
    """Probe a network in eval mode.

    Args:
        call: runs ``net`` on (batch, n_mels, frames).
        frames: a length that it takes: that of the clips it was trained on.
        classes: it should give this many logits for a clip.
        frames_at: the module whose output is the frame-level state, where the user knows better.

    Raises:
        FramiError: it does not take such input, does not give one row of ``classes`` for each clip, or nothing in it
            runs along time.
    """
    first = trace(net, call, probe(BATCHES[0], n_mels, frames))
    if first.error is not None:
        raise FramiError(f"{type(net).__name__} does not take clips of {n_mels} Mel bands and {frames} frames: "
                         f"{first.error}", _what_to_do(first.error))
    if unlike := unlike_rows(first.output, BATCHES[0], classes):
        raise FramiError(f"{type(net).__name__} gives {unlike} for {BATCHES[0]} clips: {described(first.output)}.",
                         WRAP)
    if not clip_output(first.output, BATCHES[0], classes).isfinite().all():
        raise FramiError(f"The output of {type(net).__name__} is not finite.", "Its weights may be damaged.")
    second, fixed = _second_trace(net, call, n_mels, frames)
    along = [tap for name, shape in first.shapes.items()
             if name in second.shapes and (tap := _tap(name, shape, second.shapes[name])) is not None]
    if not along:
        raise FramiError(f"Nothing in {type(net).__name__} runs along time: no frame-level state was found.",
                         "What can be distilled has modules with outputs along time, and pools them.")
    candidates = _named(along, frames_at, first.shapes) if frames_at else along[-CANDIDATES:]
    states, vectors = _capture(net, call, probe(BATCHES[0], n_mels, frames), candidates, classes)
    tap, form, place = _pooled_one(candidates, states, vectors, classes)
    before = along[: along.index(tap) + 1]
    return Taps(tap, form, place, _stages(before, first.shapes), frames if fixed else None, frozenset(first.shapes))


def probe(batch: int, n_mels: int, frames: int) -> Tensor:
    return torch.randn(batch, n_mels, frames, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def works_channels_last(net: nn.Module, run: Callable[[], Any]) -> bool:
    """Whether ``run`` works with weights in that memory format: vendors write ``view`` where it takes ``reshape``."""
    try:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # refuses weights of five axes
        run()
    except RuntimeError:
        return False
    finally:
        net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return True


@torch.no_grad()
def trace(net: nn.Module, call: Call, x: Tensor) -> Trace:
    """Run ``net`` and note the shape of every module's output; an error ends the notes, and is one of them."""
    shapes: dict[str, torch.Size] = {}

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            shapes.pop(name, None)  # a module called twice counts where it finished last
            tensor = first_tensor(output)
            shapes[name] = torch.Size() if tensor is None else tensor.shape

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in net.named_modules() if name]
    try:
        return Trace(shapes, call(x), None)
    except Exception as error:  # it is somebody else's code: a missing argument, a shape, anything
        return Trace(shapes, None, error)
    finally:
        for handle in handles:
            handle.remove()


def _what_to_do(error: Exception) -> str:
    """About an error of the vendor's code when it was given features."""
    said = str(error)
    if isinstance(error, TypeError) and "required positional argument" in said:
        return f"It wants more than features. {WRAP}"
    if any(words in said for words in ("Torch not compiled with CUDA", "No CUDA GPUs", "Found no NVIDIA driver")):
        return "Its code moves tensors to a GPU by itself. Let model.py take the device of its input: x.device."
    if MIXED_DEVICES.search(said):
        return KEEPS_TENSORS_BACK
    return "Compare layout, n_mels and the clips' length with its description."


def unlike_rows(output: Any, batch: int, classes: int | None = None) -> str:
    """What makes an output that holds no (batch, classes) be something else than that; empty where it is of the usual
    kinds, whatever their number of classes."""
    values = list(output.values()) if isinstance(output, dict) else output
    values = values if isinstance(values, tuple | list) else [values]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if any(value.is_floating_point() and value.dim() >= 2 and value.shape[:2] == (batch, classes) for value in tensors):
        return ""
    rows = [value.shape for value in tensors if value.is_floating_point() and value.dim() >= 2]
    if not rows and any(isinstance(value, dict | tuple | list) for value in values):
        return "outputs within outputs"
    if not tensors:
        return "no tensor"
    if any(not value.is_floating_point() and (not rows or value.shape in rows) for value in tensors):
        return "whole numbers (the best classes alone?)"
    if all(value.shape in ((batch,), (batch, 1)) for value in tensors):
        return "one number for each clip"
    return ""


def described(output: Any, deepest: int = 3) -> str:
    """The kinds and shapes in an output: ``{'outputs': {'logits': (2, 3)}}``."""
    if isinstance(output, Tensor):
        kind = "" if output.is_floating_point() else f" {output.dtype}".replace("torch.", "")
        return f"{tuple(output.shape)}{kind}"
    if isinstance(output, dict | tuple | list) and deepest:
        named = output.items() if isinstance(output, dict) else enumerate(output)
        parts = [f"{key!r}: {described(value, deepest - 1)}" if isinstance(output, dict)
                 else described(value, deepest - 1) for key, value in list(named)[:SHOWN]]
        more = ["..."] if len(output) > SHOWN else []
        return f"{{{', '.join(parts + more)}}}" if isinstance(output, dict) else f"[{', '.join(parts + more)}]"
    return type(output).__name__


def _second_trace(net: nn.Module, call: Call, n_mels: int, frames: int) -> tuple[Trace, bool]:
    """A trace of another length, and whether no other length is taken: then it ends where the network gave up."""
    longer = trace(net, call, probe(BATCHES[1], n_mels, frames + MORE_FRAMES))
    if longer.error is None:
        return longer, False
    shorter = trace(net, call, probe(BATCHES[1], n_mels, max(8, frames // 2)))
    return (shorter, False) if shorter.error is None else (longer, True)


def _tap(name: str, short: torch.Size, long: torch.Size) -> Tap | None:
    """The axes that follow batch and length; None unless there is just one of each."""
    if len(short) < 3 or len(short) != len(long):
        return None
    differ = [axis for axis in range(len(short)) if short[axis] != long[axis]]
    batch = [axis for axis in differ if (short[axis], long[axis]) == BATCHES]
    if len(differ) != 2 or not batch:
        return None
    return Tap(name, batch[0], next(axis for axis in differ if axis != batch[0]))


def _named(along: list[Tap], name: str, shapes: dict[str, torch.Size]) -> list[Tap]:
    found = [tap for tap in along if tap.name == name]
    if not found:
        known = "runs, but its output has no time axis" if name in shapes else "is not among the modules that run"
        raise FramiError(f"--frames-at {name}: it {known}.", nearest(name, [tap.name for tap in along]),
                         exit_code=EXIT_USAGE)
    return found


@torch.no_grad()
def _capture(net: nn.Module, call: Call, x: Tensor, candidates: list[Tap], classes: int
             ) -> tuple[dict[str, Tensor], list[tuple[Place, Tensor]]]:
    """The candidates' outputs (batch, ..., time), and the vectors for each clip seen after the last of them: all in
    float32, for a network that autocasts by itself has some of its states in bf16."""
    taps = {tap.name: tap for tap in candidates}
    states: dict[str, Tensor] = {}
    vectors: list[tuple[Place, Tensor]] = []

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            given, made = first_tensor(inputs), first_tensor(output)
            if name in taps and made is not None:
                states[name] = taps[name].arrange(made).float()
                vectors.clear()
                return
            for tensor, is_input in ((given, True), (made, False)):
                if tensor is not None and tensor.dim() >= 2 and tensor.flatten(1).shape[1] == max(tensor.shape[1:]):
                    vectors.append((Place(name, is_input), tensor.flatten(1).float()))

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in net.named_modules() if name]
    try:
        output = call(x)
    finally:
        for handle in handles:
            handle.remove()
    return states, [*vectors, (Place("", False), clip_output(output, len(x), classes).float())]


def _pooled_one(candidates: list[Tap], states: dict[str, Tensor], vectors: list[tuple[Place, Tensor]], classes: int
                ) -> tuple[Tap, Form, Place | None]:
    """The candidate that a clip's vector is pooled from: exactly first, then as an attention would."""
    def by_any_scores(state: Tensor, vector: Tensor) -> Form | None:
        found = (by_scores(state, vector, scores) for scores in states.values())
        return next((form for form in found if form is not None), None)

    output = vectors[-1][1]
    # a state of one frame, as a pooling with a kernel of fixed size gives, is its own mean: the others come before it
    nearest_first = sorted(enumerate(candidates), key=lambda each: (states[each[1].name].shape[-1] == 1, -each[0]))
    for explain in (exactly, by_any_scores, as_attention):
        for index, tap in nearest_first:
            explained = [(form, place, vector) for place, vector in vectors
                         if (form := explain(states[tap.name], vector)) is not None]
            if not explained:
                continue
            named = [found for found in explained if found[1].name] or explained
            # where each step is seen, the mean and the maximum come before their sum; what lies within bounds may do so
            # by chance, and less likely at once
            form, place, vector = named[0 if explain is as_attention else -1]
            given = [other for other in candidates[:index] if _features(states[other.name]) != classes]
            if torch.equal(vector, output) and _features(states[tap.name]) == classes and given:
                return given[-1], Form("after the classifier"), None  # it classifies frames, then pools
            return tap, form, place if place.name else None
    wide = [tap for tap in candidates if _features(states[tap.name]) > classes]  # not a score for each frame
    return (wide or candidates)[-1], Form("unknown"), None


def _features(states: Tensor) -> int:
    return states[0, ..., 0].numel()


def _stages(along: list[Tap], shapes: dict[str, torch.Size]) -> tuple[Tap, ...]:
    """The last output of each size (channels, Mel bands); at most the last four of them."""
    last_of_size = {tap.arrange(torch.empty(shapes[tap.name], device="meta")).shape[1:-1]: tap for tap in along}
    return tuple(sorted(last_of_size.values(), key=along.index)[-STAGE_TAPS:])
