"""One student learning from one teacher, step by step."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from frami_edge.compute import Compute
from frami_edge.distillation import losses
from frami_edge.errors import FramiError
from frami_edge.muon import optimizers
from frami_edge.networks.base import Network
from frami_edge.processes import ALONE, Alone
from frami_edge.recipe import Distillation, Phase
from frami_edge.teacher.taps import Teacher

POOL = 48  # lessons kept for replay


class Lesson(NamedTuple):
    """A batch with the teacher's answers."""

    x: Tensor  # (batch, rows, frames), normalised
    logits: Tensor  # (batch, classes)
    frames: Tensor | None  # (batch, F_t, T'), where a reuse loss needs them

    def split(self, views: int) -> list["Lesson"]:
        """One lesson for each of the ``views`` views of a sample, which lie next to each other."""
        x, logits, frames = self
        return [Lesson(x[view::views], logits[view::views], None if frames is None else frames[view::views])
                for view in range(views)]


class ReuseMaps(nn.Module):
    """W_m and W_v: affine maps from the student's features to the teacher's. They are dropped at export."""

    def __init__(self, student_features: int, teacher_features: int) -> None:
        super().__init__()
        self.means = nn.Linear(student_features, teacher_features)
        self.variances = nn.Linear(student_features, teacher_features)

    def forward(self, student_frames: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, F_s, T') -> W_m H_n (batch, F_t, count), and mean and variance over time mapped, (batch, F_t)."""
        bins = losses.pseudo_means(student_frames, count).transpose(1, 2)
        mean, variance = losses.utterance_statistics(student_frames)
        return self.means(bins).transpose(1, 2), self.means(mean), self.variances(variance)


class Replay:
    """Teacher passes that are used several times: a pass costs four times what a small student's step costs.

    :meth:`draw` gives each new lesson once, then as often as is left of ``times`` random ones of the last
    :data:`POOL`; then new ones are ``wanted``.
    """

    def __init__(self, times: int) -> None:
        self.times, self.left = times, 0
        self.new: deque[Lesson] = deque()
        self.lessons: deque[Lesson] = deque(maxlen=POOL)

    def wanted(self) -> bool:
        return not self.left

    def add(self, lessons: Sequence[Lesson]) -> None:
        self.new.extend(lessons)
        self.left += self.times * len(lessons)

    def draw(self) -> Lesson:
        self.left -= 1
        if self.new:
            lesson = self.new.popleft()
            if self.times > 1:
                frames = None if lesson.frames is None else lesson.frames.bfloat16()
                self.lessons.append(lesson._replace(frames=frames))
            return lesson
        lesson = self.lessons[int(torch.randint(len(self.lessons), ()))]
        return lesson if lesson.frames is None else lesson._replace(frames=lesson.frames.float())


class Distiller:
    """Trains ``student`` to imitate ``teacher`` (Eqs. 6-11): SGD, or Muon for its convolutions and SGD for the rest.

    Args:
        schedule: "cosine", "one-cycle" (a rise over the first 30 %, then cosine), or "constant".
        total_steps: length of the schedule.
        processes: that each learn from lessons of their own, with the mean of their gradients.
    """

    def __init__(self, teacher: Teacher, student: Network, settings: Distillation, phase: Phase, total_steps: int,
                 compute: Compute, schedule: str = "cosine", processes: Alone = ALONE) -> None:
        self.teacher, self.student, self.phase, self.compute = teacher, compute.place(student), phase, compute
        self.optimizers = optimizers(student, phase.lr, phase.muon_lr, settings.momentum, settings.weight_decay)
        self.schedules = [_schedule(optimizer, schedule, max(1, total_steps)) for optimizer in self.optimizers]
        self.reuses = phase.frame_reuse > 0 or phase.utterance_reuse > 0
        self.maps: ReuseMaps | None = None
        if self.reuses:
            self.maps = ReuseMaps(student.features, teacher_features(teacher, compute)).to(compute.device)
            self.maps_optimizer = torch.optim.Adam(self.maps.parameters(), lr=settings.lr_reuse)
            self._map = processes.wrap(self.maps, "forward")
        self.processes, self._forward = processes, processes.wrap(self.student, "forward_hidden")

    @torch.no_grad()
    def ask(self, x: Tensor) -> Lesson:
        """The teacher's answers to normalised log-Mels (batch, n_mels, frames)."""
        with self.compute.autocast():
            hidden = self.teacher.forward_hidden(x) if self.reuses else None
            logits = hidden.logits if hidden else self.teacher(x)
        if self.phase.consensus > 1:
            logits = losses.consensus(logits, self.phase.consensus)
        return Lesson(x, logits, hidden.frames if hidden else None)

    def learn(self, lesson: Lesson) -> dict[str, float]:
        """One step; returns its losses and the agreement on the batch.

        Raises:
            FramiError: a loss is NaN or infinite; the student is left as it was before the step.
        """
        self.student.train()
        with self.compute.autocast():
            hidden = self._forward(lesson.x)
        terms = {"kd": losses.kd_loss(hidden.logits, lesson.logits, self.phase.temperature)}
        total = terms["kd"]
        if self.maps is not None and lesson.frames is not None:
            count = losses.draw_count(hidden.frames.shape[2], lesson.frames.shape[2])
            bins, mean, variance = self._map(hidden.frames, count)
            terms["frame_reuse"] = losses.frame_reuse_loss(bins, lesson.frames, count)
            terms["utterance_reuse"] = losses.utterance_reuse_loss(mean, variance, lesson.frames)
            total = (total + self.phase.frame_reuse * terms["frame_reuse"]
                     + self.phase.utterance_reuse * terms["utterance_reuse"])
        if not total.isfinite():
            found = ", ".join(f"{name} {float(value.detach()):.3g}" for name, value in terms.items())
            raise FramiError(f"The losses of the distillation are not finite ({found}).",
                             "A lower rate helps where the student diverged: --set distillation.alternate.lr=0.02, and "
                             "finish.lr likewise; --precision float32 where numbers became too large.")
        self._update(total)
        agreement = (hidden.logits.argmax(1) == lesson.logits.argmax(1)).float().mean()
        return {name: float(value.detach()) for name, value in terms.items()} | {"agreement": float(agreement)}

    def state_dict(self) -> dict[str, Any]:
        state = {"student": self.student.state_dict(),
                 "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                 "schedules": [schedule.state_dict() for schedule in self.schedules]}
        if self.maps is not None:
            state |= {"maps": self.maps.state_dict(), "maps_optimizer": self.maps_optimizer.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        if self.maps is not None:
            self.maps.load_state_dict(state["maps"])
            self.maps_optimizer.load_state_dict(state["maps_optimizer"])

    def _update(self, total: Tensor) -> None:
        self.student.zero_grad(set_to_none=True)
        if self.maps is not None:
            self.maps_optimizer.zero_grad(set_to_none=True)
        self.processes.backward(total)
        if self.phase.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.phase.clip_norm)
        with self.compute.autocast():  # for Muon's products
            for optimizer in self.optimizers:
                optimizer.step()
        if self.maps is not None:
            self.maps_optimizer.step()
        for schedule in self.schedules:
            schedule.step()


def _schedule(optimizer: Optimizer, kind: str, steps: int) -> LRScheduler:
    """Of the rate, which is set anew for each step."""
    if kind == "one-cycle":
        return OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], total_steps=steps + 1, cycle_momentum=False)
    return ConstantLR(optimizer, 1.0) if kind == "constant" else CosineAnnealingLR(optimizer, steps)


@torch.no_grad()
def teacher_features(teacher: Teacher, compute: Compute) -> int:
    """F_t of the teacher's frame-level hidden state."""
    probe = torch.zeros(2, teacher.card.frontend.rows, teacher.card.frames, device=compute.device)
    return teacher.forward_hidden(probe).frames.shape[1]
