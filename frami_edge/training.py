"""Training on labelled recordings: teachers, students, and students that imitate a teacher on the recordings.

These are the rows that a data-free student is compared with. Nothing is selected: the weights of the last epoch are
what is kept.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.compute import Compute
from frami_edge.datasets import Dataset
from frami_edge.distillation.losses import kd_loss
from frami_edge.errors import EXIT_USAGE, FramiError
from frami_edge.features import Features
from frami_edge.muon import optimizers
from frami_edge.networks.base import Network
from frami_edge.recordings import Recordings, spec_augment
from frami_edge.teacher.taps import Teacher

LEAST_EPOCHS, LEAST_STEPS = 40, 1600  # of a training whose length the user did not give


@dataclass(frozen=True)
class Settings:
    """How to train; ``epochs`` 0 means enough for :data:`LEAST_EPOCHS` and :data:`LEAST_STEPS`."""

    epochs: int = 0
    batch_size: int = 64
    lr: float = 0.1
    muon_lr: float = 0.0  # of the convolutions; 0: SGD for them too
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 1.0  # largest norm of the gradient (Pascanu et al. 2013); 0 for none
    temperature: float = 4.0  # of the imitation of a teacher
    hard_weight: float = 0.0  # of the cross-entropy to the labels beside it; without a teacher there is only that
    seed: int = 0

    def __post_init__(self) -> None:
        at_least = {"epochs": 0, "batch_size": 2, "muon_lr": 0, "momentum": 0, "weight_decay": 0, "clip_norm": 0,
                    "hard_weight": 0}
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise FramiError(f"{name} is {getattr(self, name)}; at least {least} is needed.", exit_code=EXIT_USAGE)
        for name in ("lr", "temperature"):
            if not getattr(self, name) > 0:
                raise FramiError(f"{name} is {getattr(self, name)}; it must be above 0.", exit_code=EXIT_USAGE)


class Progress(NamedTuple):
    """Told to the caller after each step. Loss and accuracy are means over the epoch so far, on augmented clips."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float


class Training:
    """Trains ``network`` in place.

    Args:
        network: freshly built after ``torch.manual_seed``, or anything else that shall be trained further.
        teacher: whose logits are imitated, KL * T^2; without one the labels are learned.
        recordings: of the training groups only.
        card: front-end, normalisation, length of the clips, and whether they may be rolled.
    """

    def __init__(self, network: Network, recordings: Recordings, card: TeacherCard, settings: Settings,
                 compute: Compute, teacher: Teacher | None = None) -> None:
        if len(recordings) < 2:
            raise FramiError("One recording is not enough to train on.")
        self.network, self.card, self.settings, self.compute = compute.place(network), card, settings, compute
        self.teacher = None if teacher is None else compute.place(teacher)
        self.recordings = recordings.to(compute.device)
        self.normalise = Features(card.frontend).to(compute.device)
        self.batch_size = min(settings.batch_size, len(recordings))
        self.steps_per_epoch = len(recordings) // self.batch_size
        self.epochs = settings.epochs or max(LEAST_EPOCHS, math.ceil(LEAST_STEPS / self.steps_per_epoch))
        self.steps = self.epochs * self.steps_per_epoch
        self.epochs_done, self.seconds = 0, 0.0
        self.optimizers = optimizers(network, settings.lr, settings.muon_lr, settings.momentum, settings.weight_decay)
        self.schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
                          for optimizer in self.optimizers]

    def run(self, report: Callable[[Progress], object] = lambda progress: None) -> Network:
        """All epochs; returns the network in eval mode on the CPU.

        An interruption (Ctrl-C) is raised on; the network then has the weights of the last whole epoch, and
        ``epochs_done`` says how many there were.
        """
        whole, started = self._weights(), time.monotonic()
        try:
            while self.epochs_done < self.epochs:
                self._epoch(report)
                whole = self._weights()
                self.epochs_done += 1
        finally:
            self.network.load_state_dict(whole)
            self.network.cpu().eval()
            self.seconds = time.monotonic() - started
        return self.network

    def _epoch(self, report: Callable[[Progress], object]) -> None:
        self.network.train()
        order = torch.randperm(len(self.recordings)).to(self.compute.device)
        loss_sum = accuracy_sum = 0.0
        for step in range(self.steps_per_epoch):
            clips = order[step * self.batch_size : (step + 1) * self.batch_size]
            loss, accuracy = self._step(clips)
            loss_sum, accuracy_sum = loss_sum + loss, accuracy_sum + accuracy
            if not math.isfinite(loss):
                raise FramiError(f"The loss became {loss} in epoch {self.epochs_done + 1}.", "Lower --lr.")
            done = self.epochs_done * self.steps_per_epoch + step + 1
            report(Progress(done, self.steps, self.epochs_done + 1, self.epochs, loss_sum / (step + 1),
                            accuracy_sum / (step + 1)))

    def _step(self, clips: Tensor) -> tuple[float, float]:
        """One step on ``clips`` (batch,); its loss and the accuracy on the batch."""
        log_mel, labels = self._batch(clips), self.recordings.labels[clips]
        with self.compute.autocast():
            logits = self.network(log_mel)
        loss = self._loss(log_mel, logits, labels)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        if self.settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        with self.compute.autocast():  # for Muon's products
            for optimizer in self.optimizers:
                optimizer.step()
        for schedule in self.schedules:
            schedule.step()
        return float(loss.detach()), float((logits.argmax(1) == labels).float().mean())

    def _batch(self, clips: Tensor) -> Tensor:
        """Augmented, normalised log-Mels (batch, n_mels, frames)."""
        floor = self.card.frontend.log_floor
        log_mel = self.recordings.draw(clips, self.card.frames, self.card.time_dependent, floor)
        return self.normalise(spec_augment(log_mel, floor))

    def _loss(self, log_mel: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        if self.teacher is None:
            return F.cross_entropy(logits, labels)
        with torch.no_grad(), self.compute.autocast():
            taught = self.teacher(log_mel)
        loss = kd_loss(logits, taught, self.settings.temperature)
        if self.settings.hard_weight:
            loss = loss + self.settings.hard_weight * F.cross_entropy(logits, labels)
        return loss

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}


def default_card(dataset: Dataset) -> TeacherCard:
    """The card of a classifier trained without one: 16 kHz, 40 Mels, 25 ms windows every 10 ms, natural logarithm.

    Words are centred in a clip and brought to one level; of other sounds random stretches are heard as they are.
    The normalisation is still to be measured: :meth:`Recordings.normalisation`.
    """
    words = dataset.time_dependent
    clip = Clip(sample_rate=16000, seconds=dataset.seconds, preparation="center-pad" if words else "crop",
                level="peak" if words else "none")
    if len(dataset.labels) < 2:
        raise FramiError(f"{dataset.name} has one class, '{dataset.labels[0]}'; two are needed to tell apart.")
    return TeacherCard(labels=dataset.labels, time_dependent=words, clip=clip, frontend=MelSpec())


def with_normalisation(card: TeacherCard, recordings: Recordings) -> TeacherCard:
    """The card with mean and standard deviation measured on the training part."""
    frontend = card.frontend.model_copy(update={"normalisation": recordings.normalisation()})
    return card.model_copy(update={"frontend": frontend})
