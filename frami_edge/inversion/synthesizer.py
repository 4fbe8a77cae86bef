"""What every synthesizer is: one call makes one batch of samples for the bank."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frami_edge.compute import Compute
from frami_edge.features import Features
from frami_edge.inversion import views
from frami_edge.inversion.bank import Bank, Samples
from frami_edge.inversion.embedding import stage_statistics
from frami_edge.inversion.lengths import ClipLengths
from frami_edge.networks.base import Network
from frami_edge.recipe import Inversion
from frami_edge.teacher.taps import Teacher

Told = Callable[[int, dict[str, float]], None]  # steps of the batch done, and the losses of the last one


def nobody(step: int, losses: dict[str, float]) -> None:
    """Told to nobody."""


class Synthesized(NamedTuple):
    samples: Samples
    losses: dict[str, float]  # of the step that was kept


class Synthesizer(ABC):
    """Makes batches of log-Mels that a frozen teacher takes for sounds of its classes.

    The methods (``inversion.method``) differ in this alone: views, bank and distillation are the same for all.
    """

    def __init__(self, teacher: Teacher, settings: Inversion, compute: Compute) -> None:
        self.teacher, self.settings, self.compute = teacher, settings, compute
        self.card = teacher.card
        self.features = Features(self.card.frontend).to(compute.device)
        self.lengths = ClipLengths(self.card.frames).to(compute.device)

    @abstractmethod
    def synthesize(self, student: Network | None, bank: Bank, told: Told = nobody, until: float = math.inf
                   ) -> Synthesized:
        """One batch.

        Args:
            student: frozen and in eval mode here, to be provoked by L_adv; None leaves L_adv out (warm-up).
            bank: gives the negatives of the contrast.
            told: called after each step.
            until: no step but the first begins after this time of :func:`time.monotonic`.

        Raises:
            FramiError: no step gave finite losses.
        """

    def state_dict(self) -> dict[str, Any]:
        """What is carried from one batch to the next."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - some carry nothing
        pass

    def normalise(self, log_mel: Tensor) -> Tensor:
        """What the teacher hears of log-Mels: the card's normalisation, and what else it has after the logarithm."""
        return self.features(log_mel)

    @torch.no_grad()
    def silence(self, log_mel: Tensor) -> Tensor | float:
        """What silence within each of these is to the teacher."""
        return self.features.silence(log_mel)

    def prepared(self, log_mel: Tensor, lengths: Tensor) -> Tensor:
        """With the clip preparation of the card, where the recipe wants it; ``lengths`` in frames, (batch, 1)."""
        if not self.settings.prepare:
            return log_mel
        return views.prepare(log_mel, self.card.clip.preparation, self.card.frontend.log_floor, lengths)

    def embed(self, x: Tensor) -> Tensor:
        """Un-projected stage statistics (batch, d) of normalised log-Mels; one pass through the teacher."""
        with self.compute.autocast():
            stages = self.teacher.forward_hidden(x).stages
        return stage_statistics(stages)


def make_synthesizer(teacher: Teacher, settings: Inversion, compute: Compute) -> Synthesizer:
    """The synthesizer of ``settings.method``."""
    from frami_edge.inversion.inverter import Inverter
    from frami_edge.inversion.noise import NoiseSynthesizer
    from frami_edge.inversion.sources import GeneratorSource, LogMelSource, MetaGeneratorSource

    if settings.method == "noise":
        return NoiseSynthesizer(teacher, settings, compute)
    sources = {"frami": GeneratorSource, "cmi": GeneratorSource, "fastdfkd": MetaGeneratorSource, "adi": LogMelSource}
    return Inverter(teacher, settings, compute, sources[settings.method](teacher.card, settings, compute))


class Labels:
    """The classes that batches are asked for: each as often as any other, up to one.

    Within a batch where it has room for all; else over batches, by going on where the one before ended.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.waiting = torch.empty(0, dtype=torch.long)  # of a permutation that a batch had no room for

    def draw(self, count: int) -> Tensor:
        """``count`` labels; which classes get one more, and their order, is random."""
        drawn = [self.waiting]
        while sum(map(len, drawn)) < count:
            drawn.append(torch.randperm(self.classes))
        labels = torch.cat(drawn)
        self.waiting = labels[count:].clone() if self.classes > count else self.waiting
        return labels[:count]
