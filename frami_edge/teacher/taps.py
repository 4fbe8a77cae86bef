"""The teacher as the losses see it: frozen, with its hidden states found by probing, whoever wrote it."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from frami_edge.card import TeacherCard
from frami_edge.compute import eval_backward, is_recurrent
from frami_edge.errors import FramiError
from frami_edge.hidden_states import clip_output, hidden_states
from frami_edge.networks.base import Hidden
from frami_edge.probing import find_taps, probe, works_channels_last
from frami_edge.teacher import declared
from frami_edge.teacher.frozen import CheapGradients
from frami_edge.teacher.inputs import alike, arrange, shortest
from frami_edge.teacher.program import ANY_LENGTH, Program

BatchNorm = nn.modules.batchnorm._BatchNorm  # of any number of axes
OutputKind = Literal["logits", "log_softmax", "softmax"]
SMALLEST_PROBABILITY = 1e-20
LAST_OPERATIONS = 6  # of a network, among which a sigmoid is its output's: squeezed, pooled or clamped afterwards
MOST_FRAMES = 2**17  # of a clip: more than 20 minutes at 100 frames a second


class Teacher(nn.Module):
    """A frozen classifier of normalised log-Mels (batch, n_mels, frames).

    A network that takes but one length (it flattens time, or was exported so) is given clips repeated, or cut, to that
    length; one that takes no less than some length, clips repeated to it.

    Args:
        net: the network, taking the card's layout; it is moved to the CPU, to be looked at.
        card: its card.
        frames_at: the module whose output is the frame-level hidden state, where probing finds the wrong one;
            by default what the card says.

    Raises:
        FramiError: the network does not take the declared input, does not give the declared classes for each clip, or
            its output is not of the declared kind.
    """

    def __init__(self, net: nn.Module, card: TeacherCard, frames_at: str | None = None) -> None:
        super().__init__()
        if card.layout == "waveform":
            raise FramiError("Teachers that take waveforms need their front-end found first.",
                             "See frami_edge.teacher.waveform.behind_front_end.")
        if card.frames > MOST_FRAMES:
            raise FramiError(f"The card's clips have {card.frames} frames; {MOST_FRAMES} are the most.",
                             "Compare its sample rate, seconds and hop_length with the vendor's description.")
        self.frames_at = frames_at = frames_at or card.frames_at or None
        self.net, self.card = net.cpu().eval().requires_grad_(False), card
        self.writes_input = False
        self.eval()
        self.recurrent = is_recurrent(net)
        self.lengths = declared.lengths(net, card, self._call) if isinstance(net, Program) else ANY_LENGTH
        self._check_calls()
        taps = find_taps(net, self._call, card.frontend.rows, card.frames, card.classes, frames_at)
        fixed = card.frames if self.lengths == (card.frames, card.frames) else taps.fixed_frames
        self.taps = dataclasses.replace(taps, fixed_frames=fixed)
        example = probe(2, card.frontend.rows, card.frames)
        self.channels_last = works_channels_last(net, lambda: self._call(example))
        self.example = probe(2, card.frontend.rows, card.frames)
        self.writes_input = not torch.equal(example, self.example)
        self._check_output_kind()
        self.needs_two = not self._takes(card.frames, batch=1)  # a squeeze without an axis takes one clip's away too
        if fixed is None and self.lengths == ANY_LENGTH:
            self.lengths = (shortest(self._takes, card.frames), ANY_LENGTH[1])

    def train(self, mode: bool = True) -> "Teacher":
        """A teacher never trains: its BatchNorms would drift towards the samples."""
        return super().train(False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Logits (batch, classes), float32. Softmax outputs become logits by their logarithm."""
        if self.needs_two and len(log_mel) == 1:
            return self.forward(log_mel.repeat(2, 1, 1))[:1]
        return self._logits(self._call(self._to_length(log_mel)), len(log_mel))

    def forward_hidden(self, log_mel: Tensor) -> Hidden:
        """Logits with the states before and after pooling, and the stages that the embedding is taken from.

        Of a clip that was repeated to a length that the network takes, the states along time are those of the clip
        alone: the reuse losses (Eqs. 6-9) compare them bin by bin with a student's, which hears it once.
        """
        if self.needs_two and len(log_mel) == 1:
            logits, frames, pooled, stages = self.forward_hidden(log_mel.repeat(2, 1, 1))
            return Hidden(logits[:1], frames[:1], pooled[:1], [stage[:1] for stage in stages])
        heard = self._to_length(log_mel)
        output, frames, pooled, stages = hidden_states(self.net, self.taps, lambda: self._call(heard))
        if heard.shape[-1] > log_mel.shape[-1]:
            frames = frames[..., : max(1, round(frames.shape[-1] * log_mel.shape[-1] / heard.shape[-1]))]
        return Hidden(self._logits(output, len(log_mel)), frames.float(), pooled.float(), stages)

    def batch_norms(self) -> dict[str, BatchNorm]:
        """The BatchNorm layers that run and keep running statistics, by name; there may be none."""
        return {
            name: module for name, module in self.net.named_modules()
            if isinstance(module, BatchNorm) and module.running_var is not None and name in self.taps.ran
        }

    def require_batch_norms(self) -> None:
        """Raise :class:`FramiError` where there are none: L_bn (Eq. 4) is about nothing else."""
        if not self.batch_norms():
            raise FramiError("The teacher has no BatchNorm with running statistics, so L_bn (Eq. 4) is impossible.",
                             "FRAMI needs what BatchNorm remembers of the training data. --without-bn goes on all the "
                             "same; then nothing ties the samples to that data.")

    def _logits(self, output: Any, batch: int) -> Tensor:
        """Before any temperature: softmax(log p / T) is what a temperature means for probabilities p."""
        values = clip_output(output, batch, self.card.classes).float()
        return values.clamp_min(SMALLEST_PROBABILITY).log() if self.card.output == "softmax" else values

    def _call(self, log_mel: Tensor) -> Any:
        """The network's own output, whatever it is."""
        differentiated = log_mel.requires_grad and torch.is_grad_enabled()
        cheap = CheapGradients() if differentiated else contextlib.nullcontext()
        if self.writes_input:  # preprocessing in place would change what the student hears too
            log_mel = log_mel.clone()
        with eval_backward(self.recurrent, log_mel), cheap:
            return self.net(arrange(log_mel, self.card.layout))

    def _check_calls(self) -> None:
        """Samples are found by the network's gradient, and a student learns answers that do not change.

        Where it cannot be called, or answers otherwise, :func:`find_taps` says why.
        """
        clips = probe(2, self.card.frontend.rows, self.card.frames)
        try:
            with torch.no_grad():
                first, second = (clip_output(self._call(clips.clone()), 2, self.card.classes) for _ in range(2))
        except Exception:  # the vendor's code may raise anything
            return
        if not (first.isfinite().all() and second.isfinite().all()):
            return
        if not alike(first, second):
            raise FramiError("The network gives the same clips other answers each time: dropout or augmentation that "
                             "is on in eval mode too.", "Let it ask self.training, in the code that builds it "
                             "(--arch model.py:build).")
        why = "its forward has torch.no_grad(), detach() or numpy()"
        try:
            with torch.enable_grad():  # not a leaf, which code that writes to its input could not be given
                output = clip_output(self._call(clips.clone().requires_grad_() * 1), 2, self.card.classes)
        except Exception as error:  # the vendor's code may raise anything
            why, output = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}", first
        if not output.requires_grad:
            raise FramiError(f"No gradient comes back through the network: {why}.", "The inversion follows it. Leave "
                             "that out in the code that builds the network (--arch model.py:build).")

    @torch.no_grad()
    def _takes(self, frames: int, batch: int = 2) -> bool:
        """Whether clips of so many frames give finite outputs: views and chunks of a clip are shorter than it."""
        with contextlib.suppress(Exception):  # the vendor's code may raise anything
            output = self._call(probe(batch, self.card.frontend.rows, frames))
            return bool(clip_output(output, batch, self.card.classes).isfinite().all())
        return False

    def _to_length(self, log_mel: Tensor) -> Tensor:
        given, fixed = log_mel.shape[-1], self.taps.fixed_frames
        wanted = fixed or min(max(given, self.lengths[0]), self.lengths[1])
        return log_mel if wanted == given else log_mel.repeat(1, 1, -(-wanted // given))[..., :wanted]

    @torch.enable_grad()
    def _ends_in_sigmoid(self, batch: Tensor) -> bool:
        """Values between 0 and 1 alone do not tell: a network that has not learnt much gives such logits."""
        output = clip_output(self._call(batch.clone().requires_grad_()), len(batch), self.card.classes)
        return any("Sigmoid" in name for name in _behind(output.grad_fn, LAST_OPERATIONS))

    @torch.no_grad()
    def _check_output_kind(self) -> None:
        """A card that names the wrong kind would distil log-probabilities of probabilities."""
        batch = probe(2, self.card.frontend.rows, self.card.frames)
        values = clip_output(self._call(batch), 2, self.card.classes).float()
        found = output_kind(values)
        declared = self.card.output
        if found == "logits" and bool(((values >= 0) & (values <= 1)).all()) and self._ends_in_sigmoid(batch):
            raise FramiError("The network ends in a sigmoid: one decision for each class, and they do not sum to 1.",
                             "A student is taught one class for each clip. Where just one is right, let the code that "
                             "builds the network return what goes into the sigmoid (--arch model.py:build).")
        if found != declared and not (found == "log_softmax" and declared == "logits"):  # those are logits too
            raise FramiError(f"The card says output = \"{declared}\", and the network gives {found}: a row of its "
                             f"output sums to {float(values.sum(1)[0]):.3g}.",
                             f"Write output = \"{found}\" in the card.")


def _behind(node: Any, depth: int) -> Iterator[str]:
    """Names of the operations that an output comes from, at most ``depth`` of them back."""
    if node is not None and depth:
        yield node.name()
        for before, _ in node.next_functions:
            yield from _behind(before, depth - 1)


def output_kind(values: Tensor) -> OutputKind:
    """What rows (batch, classes) are: softmax (they sum to one), log_softmax or logits."""
    kinds: tuple[tuple[OutputKind, Tensor], ...] = (("softmax", values), ("log_softmax", values.exp()))
    for kind, rows in kinds:
        if bool((rows >= 0).all()) and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-3):
            return kind
    return "logits"
