"""What the inversion optimises: a generator and its noise, a clone of a meta-generator, or the log-Mels themselves."""

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from frami_edge.card import TeacherCard
from frami_edge.compute import Compute
from frami_edge.inversion import views
from frami_edge.inversion.generator import Generator
from frami_edge.recipe import Inversion

BETAS = (0.5, 0.999)  # of Adam for generator and noise, as in CMI
BETAS_ADI = (0.5, 0.99)  # for the samples themselves, as in its port in CMI's repository
JITTER = 2  # frames; DeepInversion shifts its images by as many pixels


class Source(ABC):
    """Makes one batch after another; between ``begin`` and ``end`` it is optimised, a step after each backward."""

    def __init__(self, card: TeacherCard, settings: Inversion, compute: Compute) -> None:
        self.card, self.settings, self.compute = card, settings, compute

    @abstractmethod
    def begin(self) -> None:
        """Start a batch."""

    @abstractmethod
    def draw(self) -> Tensor:
        """The batch as it is now: log-Mel (batch, n_mels, frames) in [floor, ceiling], differentiable."""

    @abstractmethod
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Of the batch at hand."""

    def step(self) -> None:
        for optimizer in self.optimizers():
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad(set_to_none=True)

    def end(self) -> None:  # noqa: B027 - most sources have nothing to do here
        """Finish a batch."""

    def state_dict(self) -> dict[str, Any]:
        """What is carried from one batch to the next."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        pass


class GeneratorSource(Source):
    """A generator and its noise z, both optimised (CMI, FRAMI).

    The generator is carried over from batch to batch, or drawn anew for each where the recipe says ``restart``.
    """

    def __init__(self, card: TeacherCard, settings: Inversion, compute: Compute) -> None:
        super().__init__(card, settings, compute)
        self.started = False
        self._new_generator()

    def begin(self) -> None:
        if self.started and self.settings.restart:
            self._new_generator()
        self.started = True
        self._new_noise()

    def draw(self) -> Tensor:
        with self.compute.autocast():
            return self.generator(self.noise)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer, self.noise_optimizer]

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.state_dict(), "optimizer": self.optimizer.state_dict(),
                "started": self.started}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.started = state["started"]

    def _new_generator(self) -> None:
        spec, settings = self.card.frontend, self.settings
        generator = Generator(spec.n_mels, self.card.frames, spec.log_floor, spec.log_ceiling, settings.nz,
                              settings.ngf, settings.smooth)
        self.generator: nn.Module = self.compute.place(generator).train()
        self.optimizer = self._adam(self.generator, settings.lr_generator)

    def _new_noise(self) -> None:
        settings = self.settings
        self.noise = torch.randn(settings.batch_size, settings.nz, device=self.compute.device, requires_grad=True)
        self.noise_optimizer = torch.optim.Adam([self.noise], lr=settings.lr_z, betas=BETAS)

    @staticmethod
    def _adam(generator: nn.Module, lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(generator.parameters(), lr=lr, betas=BETAS)


class MetaGeneratorSource(GeneratorSource):
    """Fast-DFKD (Fang et al. 2022, arXiv:2112.15278): each batch starts from a meta-generator.

    A clone of it takes the steps, with fresh noise; the meta-generator then takes one first-order MAML step along the
    sum of the clone's gradients, at a rate of lr_generator * steps. Their one-off redraw of the first layer, halfway
    through 240 epochs, is left out.
    """

    def begin(self) -> None:
        self.started = True
        self.clone = copy.deepcopy(self.generator)
        self.clone_optimizer = self._adam(self.clone, self.settings.lr_generator)
        self.gradients = [torch.zeros_like(weight) for weight in self.generator.parameters()]
        self._new_noise()

    def draw(self) -> Tensor:
        with self.compute.autocast():
            return self.clone(self.noise)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.clone_optimizer, self.noise_optimizer]

    def step(self) -> None:
        for total, weight in zip(self.gradients, self.clone.parameters(), strict=True):
            if weight.grad is not None:
                total += weight.grad
        super().step()

    def end(self) -> None:
        for weight, gradient in zip(self.generator.parameters(), self.gradients, strict=True):
            weight.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _new_generator(self) -> None:
        super()._new_generator()
        self.optimizer = self._adam(self.generator, self.settings.lr_generator * self.settings.steps)


class LogMelSource(Source):
    """The log-Mels themselves (DeepInversion, Yin et al. 2020, arXiv:1912.08795), kept within [floor, ceiling].

    Where DeepInversion jitters its images before each pass, time-independent sounds are rolled by any number of
    frames here, others shifted by two at most; what was passed is what is kept.
    """

    def begin(self) -> None:
        spec, settings = self.card.frontend, self.settings
        self.low, self.high = spec.log_floor, spec.log_ceiling
        self.centre, self.spread = usual_levels(self.card)
        start = torch.randn(settings.batch_size, spec.n_mels, self.card.frames, device=self.compute.device)
        self.scaled = start.requires_grad_()  # in units of the spread, so that lr_z means the same for every front-end
        self._limit()
        self.optimizer = torch.optim.Adam([self.scaled], lr=settings.lr_z, betas=BETAS_ADI)

    def draw(self) -> Tensor:
        log_mel = self.centre + self.spread * self.scaled
        # _limit leaves nothing to clamp but roundings, for which a value must not lose its gradient
        log_mel = log_mel + (log_mel.clamp(self.low, self.high) - log_mel).detach()
        if not self.card.time_dependent:
            return views.roll(log_mel)
        return log_mel.roll(int(torch.randint(-JITTER, JITTER + 1, ())), dims=2)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer]

    def step(self) -> None:
        super().step()
        self._limit()

    @torch.no_grad()
    def _limit(self) -> None:
        """Back into the range: the gradient through a clamp is zero outside, from where nothing would return."""
        self.scaled.clamp_((self.low - self.centre) / self.spread, (self.high - self.centre) / self.spread)


def usual_levels(card: TeacherCard) -> tuple[float, float]:
    """Mean and standard deviation of log-Mels as the teacher expects them: of its normalisation, else mid-range.

    A normalisation of anything but the log-Mel itself (MFCCs, decibels below a clip's peak) says nothing of it.
    """
    spec = card.frontend
    normalisation = spec.normalisation
    if spec.plain and normalisation.kind == "global":
        return normalisation.mean, normalisation.std
    if spec.plain and normalisation.kind == "per-band":
        mean, std = torch.tensor(normalisation.band_mean), torch.tensor(normalisation.band_std)
        return float(mean.mean()), float((std.square() + (mean - mean.mean()).square()).mean().sqrt())
    return (spec.log_floor + spec.log_ceiling) / 2, (spec.log_ceiling - spec.log_floor) / 6
