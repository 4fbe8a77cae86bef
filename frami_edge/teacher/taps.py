"""The teacher as the losses see it: frozen, with its hidden states found by probing, whoever wrote it.

Two probes of different length tell which outputs run along time and where time is pooled away. Hooks live only as
long as one forward pass, so a second pass can never overwrite what the first one recorded.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.card import TeacherCard
from frami_edge.errors import FramiError
from frami_edge.networks.base import Hidden

STAGE_TAPS = 4
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


class Teacher(nn.Module):
    """A frozen classifier of normalised log-Mels (batch, n_mels, frames).

    Args:
        net: the network, taking the card's layout.
        card: its card.

    Raises:
        FramiError: the network does not take the declared input, or does not give the declared classes.
    """

    def __init__(self, net: nn.Module, card: TeacherCard) -> None:
        super().__init__()
        if card.layout == "waveform":
            raise FramiError("Teachers that take waveforms are not supported yet.",
                             "If the network behind its front-end can be had, describe that: layout = \"B1FT\".")
        self.net, self.card = net.eval().requires_grad_(False), card
        self.eval()
        self.taps = find_taps(self)

    def train(self, mode: bool = True) -> "Teacher":
        """A teacher never trains: its BatchNorms would drift towards the samples."""
        return super().train(False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Logits (batch, classes), float32. Softmax outputs become logits by their logarithm."""
        output = self.net(self._arrange(log_mel)).float()
        return output.clamp_min(1e-20).log() if self.card.output == "softmax" else output

    def forward_hidden(self, log_mel: Tensor) -> Hidden:
        """Logits with the states before and after pooling, and the stages that the embedding is taken from."""
        found: dict[str, Tensor] = {}
        with contextlib.ExitStack() as hooks:
            for name in {self.taps.frames, *self.taps.stages}:
                hooks.enter_context(_keep_output(self.net, name, found))
            hooks.enter_context(_keep_input(self.net, self.taps.classifier, found))
            logits = self(log_mel)
        frames = found[self.taps.frames].movedim(self.taps.time_axis, -1).flatten(1, -2).float()
        return Hidden(
            logits,
            F.relu(frames) if self.taps.rectified else frames,
            found[_INPUT].float(),
            [found[name] for name in self.taps.stages],
        )

    def batch_norms(self) -> dict[str, BatchNorm]:
        """The BatchNorm layers that keep running statistics, by name."""
        return {
            name: module for name, module in self.net.named_modules()
            if isinstance(module, BatchNorm) and module.running_var is not None
        }

    def _arrange(self, log_mel: Tensor) -> Tensor:
        if self.card.layout == "B1FT":
            return log_mel.unsqueeze(1)
        return log_mel.transpose(1, 2) if self.card.layout == "BTF" else log_mel


class Taps:
    """Where a teacher's hidden states are found; names are those of ``net.named_modules()``."""

    def __init__(self, frames: str, time_axis: int, rectified: bool, classifier: str, stages: list[str]) -> None:
        self.frames = frames  # its output is the frame-level hidden state
        self.time_axis = time_axis  # of that output
        self.rectified = rectified  # a ReLU, written as a function, follows it
        self.classifier = classifier  # its input is the pooled state
        self.stages = stages  # outputs that the embedding is computed from


_INPUT = "<classifier input>"
_PROBE_FRAMES = (96, 160)


@contextlib.contextmanager
def _keep_output(net: nn.Module, name: str, found: dict[str, Tensor]) -> Iterator[None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        found[name] = output

    handle = net.get_submodule(name).register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _keep_input(net: nn.Module, name: str, found: dict[str, Tensor]) -> Iterator[None]:
    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[_INPUT] = inputs[0]

    handle = net.get_submodule(name).register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def find_taps(teacher: Teacher) -> Taps:
    """Probe a teacher with clips of two lengths; see :class:`Taps`."""
    card = teacher.card
    short, long = (_trace(teacher, frames) for frames in _PROBE_FRAMES)
    linear = [name for name, output in short.items()
              if isinstance(teacher.net.get_submodule(name), nn.Linear) and output.shape[-1] == card.classes]
    along_time = [name for name in short if name in long and _time_axis(short[name], long[name]) is not None]
    if not linear or not along_time:
        raise FramiError(
            f"In {type(teacher.net).__name__} no {'linear classifier' if not linear else 'frame-level state'} "
            f"was found ({card.classes} classes expected).",
            "Statistics or mean pooling over time followed by a linear layer is what can be distilled.",
        )
    frames, classifier = along_time[-1], linear[-1]
    axis = _time_axis(short[frames], long[frames])
    assert axis is not None
    found: dict[str, Tensor] = {}
    with _keep_output(teacher.net, frames, found), _keep_input(teacher.net, classifier, found):
        teacher(_probe(card, _PROBE_FRAMES[0]))
    states = found[frames].movedim(axis, -1).flatten(1, -2)
    rectified = _pools(F.relu(states), found[_INPUT]) and not _pools(states, found[_INPUT])
    return Taps(frames, axis, rectified, classifier, _stages(short, along_time))


def _probe(card: TeacherCard, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, card.frontend.n_mels, frames, generator=generator)


def _trace(teacher: Teacher, frames: int) -> dict[str, Tensor]:
    """Every module's output for a probe, in the order in which the modules finish."""
    outputs: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            outputs.pop(name, None)  # a module called twice counts where it finished last
            if isinstance(output, Tensor):
                outputs[name] = output

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in teacher.net.named_modules() if name]
    try:
        logits = teacher(_probe(teacher.card, frames))
    except RuntimeError as error:
        card = teacher.card
        raise FramiError(
            f"The teacher does not take {card.layout} input of {card.frontend.n_mels} Mel bands: {error}",
            "Compare layout and n_mels in its card with the vendor's description.",
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if logits.shape != (2, teacher.card.classes) or not logits.isfinite().all():
        raise FramiError(
            f"The teacher gives {tuple(logits.shape)} for a batch of 2; its card has {teacher.card.classes} labels"
            f"{'' if logits.isfinite().all() else ', and the output is not finite'}."
        )
    return outputs


def _time_axis(short: Tensor, long: Tensor) -> int | None:
    """The axis whose length follows the length of the clip."""
    if short.dim() < 3 or short.dim() != long.dim():
        return None
    axes = [axis for axis in range(1, short.dim()) if short.shape[axis] != long.shape[axis]]
    return axes[0] if len(axes) == 1 else None


def _pools(states: Tensor, pooled: Tensor) -> bool:
    """Whether the mean over time of (batch, F, time) is the first part of the pooled state."""
    mean = states.mean(-1)
    return mean.shape[1] <= pooled.shape[1] and torch.allclose(mean, pooled[:, : mean.shape[1]], rtol=1e-3, atol=1e-4)


def _stages(outputs: dict[str, Tensor], along_time: list[str]) -> list[str]:
    """The last output of each size (channels, Mel bands); at most the last four of them."""
    last_of_size = {outputs[name].shape[1:-1]: name for name in along_time}
    order = {name: index for index, name in enumerate(along_time)}
    return sorted(last_of_size.values(), key=order.__getitem__)[-STAGE_TAPS:]
